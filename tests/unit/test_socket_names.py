"""Names of the ends of sockets, from the kernel and from peers, and their text."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.socket_names import Inet, UnixName, inet, inet_name, is_loopback, unix_name


class Inets(SynchronousTestCase):
    def test_loopback_has_more_than_one_form(self) -> None:
        for host in ("127.0.0.1", "127.255.255.254", "::1", "::1%lo", "::ffff:127.0.0.1", "localhost"):
            self.assertTrue(is_loopback(host), host)
        for host in ("", "*", "128.0.0.1", "::", "::ffff:10.0.0.1", "fe80::1%lo", "localhost.example"):
            self.assertFalse(is_loopback(host), host)

    def test_a_mapped_host_is_ipv4(self) -> None:
        for host, shown in (
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::FFFF:192.0.2.1", "192.0.2.1"),
            ("::ffff:c000:201", "192.0.2.1"),
            ("::ffff:0:1:2", "::ffff:0:1:2"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1%eth0"),
        ):
            self.assertEqual(inet(host, 7), Inet(shown, 7), host)

    def test_the_name_of_a_socket_has_its_zone(self) -> None:
        for name, shown in (
            (("192.0.2.1", 7), "192.0.2.1:7"),
            (("2001:db8::1", 7, 0, 0), "[2001:db8::1]:7"),
            (("fe80::1", 7, 0, 1), "[fe80::1%lo]:7"),
            (("fe80::1%lo", 7, 0, 1), "[fe80::1%lo]:7"),
            (("fe80::1", 7, 0, 999_999), "[fe80::1%999999]:7"),  # the interface has gone
            (("::ffff:192.0.2.1", 7, 0, 0), "192.0.2.1:7"),
        ):
            self.assertEqual(str(inet_name(name)), shown)

    def test_a_host_that_is_not_an_address_keeps_its_text(self) -> None:
        for host in ("", "echo.example", "::ffff:", "::ffff:echo", "::ffff:1.2.3"):
            self.assertEqual(inet(host, 7), Inet(host, 7))

    def test_a_socket_address_is_shown_as_in_a_url(self) -> None:
        self.assertEqual(str(Inet("192.0.2.1", 7)), "192.0.2.1:7")
        self.assertEqual(str(Inet("fe80::1%eth0", 7)), "[fe80::1%eth0]:7")

    @settings(max_examples=200, deadline=None)
    @given(st.one_of(st.text(st.characters()), st.text("0123456789abcdef:.%").map("::ffff:{}".format)))
    def test_any_text_can_be_a_host(self, host: str) -> None:
        self.assertEqual(inet(host, 7).port, 7)
        self.assertIn(is_loopback(host), (True, False))


class UnixNames(SynchronousTestCase):
    def test_the_names_of_unix_sockets(self) -> None:
        names: tuple[tuple[str | bytes | None, str, str], ...] = (
            ("/run/s", "/run/s", "/run/s"),
            (b"\0auto", "@auto", "@auto"),
            ("\0auto", "@auto", "@auto"),
            (b"/r\xff", "/r\udcff", r"/r\xff"),
            ("", "", "(unnamed)"),
            (b"", "", "(unnamed)"),
            (None, "", "(unnamed)"),
        )
        for name, path, shown in names:
            self.assertEqual(unix_name(name), UnixName(path))
            self.assertEqual(str(unix_name(name)), shown)

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=108))
    def test_the_name_that_a_peer_chose_is_safe_to_print(self, name: bytes) -> None:
        self.assertTrue(str(unix_name(name)).isprintable())

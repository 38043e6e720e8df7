"""Parsing of addresses: accepted and refused texts, error messages, and that printing reverses parsing."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.address import UNIX_PATH_MAX, Address, AddressError, needs_interface, parse
from echod.address_options import CONNECTING, source_of
from echod.shape import Shape
from echod.transports.registry import SCHEMES


def refused(text: str, *, client: bool = False) -> str:
    """Why an address is refused."""
    try:
        address = parse(text, client=client)
    except AddressError as error:
        return str(error)
    raise AssertionError(f"{text!r} is read as {address!r}")


# Addresses as `parse` makes them.

_label = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,20}[a-z0-9_])?", fullmatch=True)
_name = st.lists(_label, min_size=1, max_size=4).map(".".join).filter(lambda name: not re.fullmatch(r"[0-9.]+", name))
_ipv6 = st.ip_addresses(v=6).map(str).filter(lambda host: not host.startswith("::ffff:"))  # is IPv4
_interface = st.one_of(
    st.from_regex(r"[A-Za-z0-9_.-]{1,15}", fullmatch=True),
    st.from_regex(r"[0-9a-f]{2}[0-9a-z.]{0,9}", fullmatch=True),  # could be part of an IPv4 address in a URL
    st.sampled_from(["eth0", "12", "25", "2", "25x", "2525", "br-1.100"]),
)
_scoped = st.builds("{}%{}".format, _ipv6, _interface)
_host = st.one_of(st.just("*"), _name, st.ip_addresses(v=4).map(str), _ipv6, _scoped)
_bytes = st.binary(min_size=1, max_size=100).map(lambda data: data.decode("utf-8", "surrogateescape"))
_path = st.builds("{}{}".format, st.sampled_from("/@"), _bytes.filter(lambda path: "\0" not in path)).filter(
    lambda path: path != "//"
)
_word = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S"), exclude_characters="/:"), min_size=1, max_size=15
)
_option: dict[str, st.SearchStrategy[str | int | bool]] = {
    "backlog": st.integers(1, 65535),
    "interface": _word,
    "dscp": st.integers(0, 63),
    "df": st.sampled_from(("do", "want", "dont")),
    "ttl": st.integers(1, 255),
    "mptcp": st.booleans(),
    "fastopen": st.booleans(),
    "freebind": st.booleans(),
    "retry": st.sampled_from(("1s", "500ms", "2m", "1h")),
    "v6only": st.booleans(),
    "proxy": st.sampled_from(["v1", "v2", "any"]),
    "as": st.sampled_from(["tls", "ws", "wss"]),
    "mode": st.integers(0, 0o777),
    "user": _word,
    "group": _word,
}


@st.composite
def addresses(draw: st.DrawFn) -> Address:
    scheme = draw(st.sampled_from([*SCHEMES, "systemd", "endpoint"]))
    if scheme == "systemd":
        name = draw(st.from_regex(r"[!-.0-9;<>@-~][!-9;<>@-~]{0,254}", fullmatch=True))
        optional = {name: _option[name] for name in ("as", "proxy")}
        return Address(scheme, path=name, options=draw(st.fixed_dictionaries({}, optional=optional)))
    if scheme == "endpoint":
        return Address(scheme, path=draw(st.from_regex(r"tcp6?:[0-9A-Za-z]([ -9;-~]{0,30}[!-9;-~])?", fullmatch=True)))
    known = SCHEMES[scheme]
    options = draw(
        st.fixed_dictionaries({}, optional={name: _option[name] for name in sorted(known.options - CONNECTING)})
    )
    if known.has_path:
        path = draw(_path)
        if path.startswith("@"):  # an abstract name has no file to give these to
            options = {name: value for name, value in options.items() if name not in ("mode", "user", "group")}
        return Address(scheme, path=path, options=options)
    path = draw(st.just("") | _bytes.map("/{}".format)) if known.has_url_path else ""
    host = draw(_host)
    if ":" in host and "%" not in host and needs_interface(host):
        host += "%eth0"
    if re.fullmatch("[0-9.]+", host):
        options.pop("v6only", None)
    return Address(scheme, host, draw(st.integers(0, 65535)), path, options)


_anything = st.text(st.characters(), max_size=20)  # control characters and surrogates included
_fragments = st.sampled_from(
    [
        *("tcp://", "udp://", "ws://", "unix://", "unix-dgram:///", "tls://", "systemd:", "haproxy:", "tcp:", "tcp6:"),
        *("localhost", "127.0.0.1", "[::1]", "[fe80::1%25", "[", "]", "*", ":", ":7", ":65536", "/", "@", "?", "#"),
        *("=", "&", "%", "%00", "%FF", "%25", "backlog=", "mode=0660", "interface=", "dscp=ef", "proxy=any", "é", "１"),
        *("。", "ß", "\u0661", "\u202e", "\u2028", "\ud800", "\udcff", "\0", "\n", "\x1b[31m", "\x7f", "\x9b", " "),
    ]
)
_texts = st.lists(st.one_of(_fragments, _fragments, _fragments, _anything), max_size=8).map("".join)


class Reading(SynchronousTestCase):
    def test_what_people_write(self) -> None:
        for text, meant in (
            ("tcp://127.0.0.1:7", Address("tcp", "127.0.0.1", 7)),
            ("tcp://[::1]:7", Address("tcp", "::1", 7)),
            ("tcp://[2001:DB8:0::0:1]:7/", Address("tcp", "2001:db8::1", 7)),
            ("tcp://*:0", Address("tcp", "*", 0)),
            ("udp://Echo.Example:00007", Address("udp", "echo.example", 7)),
            ("udp://my_host.:65535", Address("udp", "my_host.", 65535)),
            ("tcp://bücher.example:7", Address("tcp", "xn--bcher-kva.example", 7)),
            ("ws://127.0.0.1:8007/echo", Address("ws", "127.0.0.1", 8007, "/echo")),
            ("wss://h:1/a%20b?backlog=5", Address("wss", "h", 1, "/a b", {"backlog": 5})),
            ("unix:///run/echo.sock", Address("unix", path="/run/echo.sock")),
            ("unix-dgram://@name", Address("unix-dgram", path="@name")),
            ("unix-seqpacket:///a%3Fb%23%FF", Address("unix-seqpacket", path="/a?b#\udcff")),
            ("unix:///r%C3%A9/é", Address("unix", path="/ré/é")),
            ("systemd:echo", Address("systemd", path="echo")),
            ("systemd:echo?as=tls&proxy=v2", Address("systemd", path="echo", options={"as": "tls", "proxy": "v2"})),
            ("systemd:domain=INET:index=0", Address("endpoint", path="systemd:domain=INET:index=0")),
            ("tcp6:7", Address("endpoint", path="tcp6:7")),
            ("tcp:7:interface=my host", Address("endpoint", path="tcp:7:interface=my host")),
        ):
            self.assertEqual(parse(text), meant, text)

    def test_a_scope_is_written_as_it_is_or_with_its_percent_sign_encoded(self) -> None:
        for scope in ("eth0", "ae0", "bat0", "cali12", "0", "12", "25", "255", "br-1.100"):
            meant = Address("tcp", f"fe80::1%{scope}", 7)
            self.assertEqual(parse(f"tcp://[fe80::1%25{scope}]:7"), meant, scope)
            if not (scope.startswith("25") and scope != "25"):  # %255 is the scope 5: RFC 6874
                self.assertEqual(parse(f"tcp://[fe80::1%{scope}]:7"), meant, scope)

    def test_a_mapped_address_is_the_ipv4_address_it_is(self) -> None:
        self.assertEqual(parse("tcp://[::ffff:127.0.0.1]:7"), parse("tcp://127.0.0.1:7"))

    def test_every_option(self) -> None:
        for text, meant in (
            ("tcp://h:1?", {}),
            ("tcp://h:1?backlog=1", {"backlog": 1}),
            ("tcp://h:1?backlog=65535&proxy=v1", {"backlog": 65535, "proxy": "v1"}),
            ("tcp://h:1?interface=eth0.1", {"interface": "eth0.1"}),
            ("tcp://h:1?interface=a%2Bb", {"interface": "a+b"}),
            ("udp://h:1?dscp=0", {"dscp": 0}),
            ("udp://h:1?dscp=63", {"dscp": 63}),
            ("udp://h:1?dscp=EF", {"dscp": 46}),
            ("udp://h:1?dscp=le", {"dscp": 1}),
            ("udp://h:1?dscp=df", {"dscp": 0}),
            ("udp://h:1?dscp=cs1", {"dscp": 8}),
            ("udp://h:1?dscp=AF41", {"dscp": 34}),
            ("udp://h:1?dscp=af13", {"dscp": 14}),
            ("tcp://*:1?v6only=yes", {"v6only": True}),
            ("tcp://*:1?v6only=0", {"v6only": False}),
            ("tcp://h:1?proxy=any", {"proxy": "any"}),
            ("unix:///s?mode=0660&user=echod&group=1000", {"mode": 0o660, "user": "echod", "group": "1000"}),
            ("unix:///s?mode=600", {"mode": 0o600}),
            ("unix:///s?mode=000", {"mode": 0}),
        ):
            self.assertEqual(parse(text).options, meant, text)

    def test_the_longest_path_is_the_kernels(self) -> None:
        path = "/" + "é" * ((UNIX_PATH_MAX - 1) // 2)
        self.assertEqual(len(path.encode()), UNIX_PATH_MAX)
        self.assertEqual(parse(f"unix://{path}").path, path)
        self.assertIn(f"has {UNIX_PATH_MAX + 1} bytes", refused(f"unix://{path}x"))

    def test_link_local_addresses_have_an_interface(self) -> None:
        for text in ("tcp://[fe80::1%eth0]:7", "udp://[fe80::1]:7?interface=eth0", "tcp://[::ffff:169.254.0.1]:7"):
            parse(text)
            parse(text, client=True)

    def test_equal_addresses_are_one_address(self) -> None:
        one = parse("tcp://h:1?backlog=5&dscp=ef")
        other = parse("tcp://H:01?dscp=46&backlog=5")
        self.assertEqual({one}, {other})
        self.assertNotEqual(one, parse("tcp://h:1?backlog=6&dscp=ef"))


class Refusing(SynchronousTestCase):
    def test_every_message_states_the_error(self) -> None:
        for text, words in (
            ("", "the address is empty"),
            (" \t", "the address is empty"),
            ("haproxy:tcp:7", "write tcp://…?proxy=any instead"),
            ("systemd:", "1 to 255 visible ASCII characters"),
            ("systemd:a:b", "no colon"),
            ("systemd:?as=tls", "1 to 255 visible ASCII characters"),
            ("systemd:a?as=tcp", "as=tcp must be tls, ws or wss"),
            ("systemd:a?backlog=5", "unknown option backlog; systemd: takes as, proxy"),
            ("systemd:a?b", "after the ? write options as name=value"),
            ("systemd:é", "visible ASCII characters"),
            (f"systemd:{'x' * 256}", "1 to 255"),
            ("echo", "not an address; write one such as tcp://127.0.0.1:10007"),
            ("7:tcp", "not an address"),
            ("localhost", "the scheme and the port are missing; write tcp://localhost:PORT"),
            ("192.0.2.1", "the scheme and the port are missing; write tcp://192.0.2.1:PORT"),
            ("[::1]", "the scheme and the port are missing; write tcp://[::1]:PORT"),
            ("/run/echod/admin.sock", "the scheme is missing; write unix:///run/echod/admin.sock"),
            ("tcp://[fe80::1]:7", "a link-local address needs its interface; write [fe80::1%eth0]"),
            ("tcp:7\n8", r"'\x0a' is not allowed in an address"),
            ("tcp:\u202e7", r"'\u{202e}' is not allowed in an address"),
            ("tcp:/127.0.0.1:7", "write tcp://127.0.0.1:7"),
            ("udp:[::1]:7", "write udp://[::1]:7"),
            ("tcp://a b:7", "' ' is not allowed in an address; write it as %20"),
            ("unix:///a\x7f", r"'\x7f' is not allowed in an address; write it as %7F"),
            ("unix:///a\udcff", r"'\xff' is not allowed in an address; write it as %FF"),
            ("unix:///a\u2028", r"'\u{2028}' is not allowed in an address; write it as %E2%80%A8"),
            ("tpc://h:7", "unknown scheme tpc; did you mean tcp://?"),
            ("TCP://h:7", "unknown scheme TCP; did you mean tcp://?"),
            ("http://h:7/echo", "http:// has no path; leave out /echo"),
            ("HTTPS://h:7", "unknown scheme HTTPS; did you mean wss:// or tls://?"),
            ("ssl://h:7", "unknown scheme ssl; did you mean tls://?"),
            ("gopher://h:7", "unknown scheme gopher; expected one of: tcp, udp, tls"),
            ("://h:7", "unknown scheme ''"),
            ("systemd://echo", "write systemd:echo"),
            ("tcp://h:7#top", "write # as %23"),
            ("unix://echo.sock", "the path must be absolute; write unix:///run/echod/echo.sock"),
            ("unix:///", "the path must be absolute"),
            ("unix://@", "the path must be absolute"),
            ("unix://@name?mode=0600", "mode cannot be set here: an abstract name has no file"),
            ("unix-dgram://@name?group=adm", "group cannot be set here"),
            ("unix://@name?backlog=5&user=adm", "user cannot be set here"),
            ("unix:///a%00b", "cannot contain a NUL"),
            ("tcp://h:7/echo", "tcp:// has no path; leave out /echo"),
            ("tcp://user@h:7", "no user name"),
            ("tcp://[::1:7", "write an IPv6 address as [::1]:7"),
            ("tcp://[::1]7", "write an IPv6 address as [::1]:7"),
            ("tcp://[::g]:7", "::g is not an IPv6 address"),
            ("tcp://[127.0.0.1]:7", "127.0.0.1 is not an IPv6 address"),
            ("tcp://[fe80::1%]:7", "'' is not the name of an interface"),
            ("tcp://[fe80::1%25]x]:7", "write an IPv6 address as [::1]:7"),
            ("tcp://[fe80::1%25a%2Fb]:7", "a%2Fb is not the name of an interface"),
            ("tcp://[fe80::1%sixteen-letters-]:7", "is not the name of an interface"),
            ("tcp://::1:7", "in brackets"),
            ("tcp://::1", "in brackets"),
            ("tcp://a:b:7", "in brackets"),
            ("tcp://:7", "the host is missing; write it before the port (* is every interface)"),
            ("tcp://127.0.0.01:7", "127.0.0.01 is not an IPv4 address"),
            ("tcp://127.1:7", "127.1 is not an IPv4 address"),
            ("tcp://１２７.1:7", "is not an IPv4 address"),
            ("tcp://-a:7", "-a is not a host name"),
            ("tcp://a..b:7", "a..b is not a host name"),
            ("tcp://é..b:7", "é..b is not a host name"),
            (f"tcp://{'x' * 64}:7", "is not a host name"),
            (f"tcp://{'x.' * 127}x:7", "is not a host name"),
            ("tcp://%41:7", "%41 is not a host name"),
            ("tcp://h", "the port is missing (0–65535)"),
            ("tcp://[::1]", "the port is missing"),
            ("tcp://h:", "the port is missing"),
            ("tcp://h:http", "port http is not a number (0–65535)"),
            ("tcp://h:65536", "port 65536 is out of range (0–65535)"),
            ("tcp://h:-1", "port -1 is not a number (0–65535)"),
            ("tcp://h:٣", "port ٣ is not a number (0–65535)"),
            ("tcp://h:1?backlog", "options as name=value, joined by &"),
            ("tcp://h:1?backlog=1&", "options as name=value, joined by &"),
            ("tcp://h:1?back-log=1", "unknown option back-log; did you mean backlog?"),
            (
                "udp://h:1?x=1",
                "unknown option x; udp:// takes df, dscp, freebind, interface, proxy, retry, ttl, v6only",
            ),
            ("unix:///s?interface=eth0", "unix:// takes backlog, group, mode, user"),
            ("tcp://h:1?backlog=1&backlog=1", "the option backlog is given twice"),
            ("tcp://h:1?backlog=0", "backlog=0 must be a number from 1 to 65535"),
            ("tcp://h:1?backlog=", "backlog='' must be a number"),
            ("tcp://h:1?backlog=99999999999", "must be a number from 1 to 65535"),
            ("tcp://h:1?interface=sixteen-letters-", "must be the name of an interface, such as eth0"),
            ("tcp://h:1?dscp=64", "dscp=64 must be a number from 0 to 63, or a name such as ef, cs1, af41"),
            ("tcp://h:1?dscp=cs8", "dscp=cs8 must be"),
            ("tcp://h:1?dscp=af14", "dscp=af14 must be"),
            ("tcp://127.0.0.1:1?v6only=yes", "v6only is for IPv6 addresses and *; leave it out"),
            ("udp://[ff02::7]:1", "a link-local address needs its interface; write [ff02::7%eth0]"),
            ("tcp://h:1?v6only=maybe", "v6only=maybe must be yes or no"),
            ("tcp://h:1?proxy=v3", "proxy=v3 must be v1, v2 or any"),
            ("unix:///s?mode=0888", "mode=0888 must be three octal digits, such as 0660"),
            ("unix:///s?mode=1777", "mode=1777 must be three octal digits"),
            ("unix:///s?user=a:b", "must be a user's name or number"),
            ("unix:///s?group=", "group='' must be a group's name or number"),
        ):
            self.assertIn(words, refused(text), text)

    def test_endpoint_strings_that_are_not_served(self) -> None:
        for text, words in (
            ("unix:/run/echo.sock", "write unix:///run/echo.sock"),
            ("unix:/tmp/my key.sock:lockfile=0", "write unix:///tmp/my%20key.sock"),
            ("unix:run/echo.sock", "write unix:///PATH"),
            ("stdio:", "standard input and output are not an address"),
            ("haproxy:tcp:7", "write tcp://…?proxy=any instead"),
            ("ssl:7", "ssl: and tls: endpoints are not supported; an address with TLS is tls://HOST:PORT"),
            ("tls:127.0.0.1:7", "ssl: and tls: endpoints are not supported; an address with TLS is tls://HOST:PORT"),
        ):
            self.assertIn(words, refused(text), text)
            self.assertIn(words, refused(text, client=True), text)

    def test_white_space_around_it(self) -> None:
        for text in ("tcp://h:7 ", " tcp://h:7", "tcp://h:7\n"):
            self.assertIn("white space around the address; write tcp://h:7", refused(text))

    def test_a_client_of_a_websocket_may_send_a_query(self) -> None:
        address = parse("ws://h:7/a?x=1&dscp=8&é=%26&y", client=True)
        self.assertEqual((address.path, address.query, address.options), ("/a", "x=1&é=%26&y", {"dscp": 8}))
        self.assertEqual(str(address), "ws://h:7/a?x=1&é=%26&y&dscp=8")
        self.assertEqual(parse(str(address), client=True), address)
        self.assertNotEqual(parse("ws://h:7/a?x=2&dscp=8", client=True), address)
        self.assertEqual(parse("wss://h/?x", client=True).label, "wss://h:443/?x")
        self.assertIn("unknown option x", refused("ws://h:7/a?x=1"))
        self.assertIn("unknown option x", refused("tcp://h:7?x=1", client=True))
        self.assertIn("dscp=x must be", refused("ws://h:7/a?y=1&dscp=x", client=True))

    def test_a_client_refuses_options_for_listening(self) -> None:
        for text in ("tcp://h:7?backlog=5", "unix:///s?mode=0600", "unix-dgram:///s?user=a", "udp://h:7?v6only=no"):
            parse(text)
            option = text.partition("?")[2].partition("=")[0]
            self.assertIn(f": {option} is an option for listening; leave it out", refused(text, client=True))
        parse("udp://h:7?dscp=ef&interface=eth0", client=True)

    def test_ranges_of_ports(self) -> None:
        address = parse("tcp://*:7000-7010?backlog=5")
        self.assertEqual((address.port, address.last_port, address.label), (7000, 7010, "tcp://*:7000-7010"))
        self.assertEqual(parse(str(address)), address)
        self.assertEqual([one.port for one in address.each], list(range(7000, 7011)))
        self.assertEqual({one.options["backlog"] for one in address.each}, {5})
        self.assertEqual(parse("udp://*:7").each, (parse("udp://*:7"),))
        self.assertEqual(len(parse("udp://[::1]:1-1024").each), 1024)
        for ports in ("7-7", "7-6", "1-1025"):
            self.assertIn("a range of ports goes upwards, and has at most 1024 ports", refused(f"tcp://*:{ports}"))
        self.assertIn("port 0 is out of range (1–65535)", refused("tcp://*:0-5"))
        self.assertIn("port 5-6 is not a number (1–65535)", refused("tcp://*:4-5-6"))
        self.assertIn("a range of ports is for listening; name one port", refused("tcp://h:4-5", client=True))

    def test_source_is_for_clients(self) -> None:
        for value, source in (
            ("192.0.2.1", ("192.0.2.1", 0, 0)),
            ("192.0.2.1:5000", ("192.0.2.1", 5000, 5000)),
            ("*:5000-5009", ("*", 5000, 5009)),
            ("[::1]:5000-65535", ("::1", 5000, 65535)),
            ("2001:db8::1", ("2001:db8::1", 0, 0)),
            ("[fe80::1%eth0]", ("fe80::1%eth0", 0, 0)),
        ):
            self.assertEqual(source_of(str(parse(f"tcp://h:7?source={value}", client=True).options["source"])), source)
        for value in (
            "*",
            "host",
            "192.0.2.1:0",
            "192.0.2.1:5-4",
            "1.2.3.4:65536",
            "300.1.1.1",
            "[::1",
            ":5000",
            "1.2.3.4:",
            "",
        ):
            said = refused(f"udp://h:7?source={value}", client=True)
            self.assertIn("must be an address, a port or both, such as 192.0.2.1, *:5000 or [::1]:5000-5009", said)
        self.assertIn(": source is an option for connecting; leave it out", refused("tcp://*:7?source=192.0.2.1"))

    def test_the_range_of_ttl(self) -> None:
        for value in ("0", "256", "-1", "x", ""):
            self.assertIn(
                f"ttl={value or chr(39) * 2} must be a number from 1 to 255", refused(f"udp://*:7?ttl={value}")
            )

    def test_host_and_port_alone_miss_their_scheme(self) -> None:
        for text in ("127.0.0.1:7", "localhost:7", "[::1]:7", "[fe80::1%eth0]:7", "echo.example:7"):
            said = refused(text)
            self.assertEqual(said, f"{text}: the scheme is missing; write tcp://{text}")
            parse(f"tcp://{text}")

    def test_what_a_message_tells_to_write_can_be_written(self) -> None:
        for text in (
            "tcp:/127.0.0.1:7",
            "tcp:[::1]:7",
            "[::1]:7",
            "::1",
            "tcp://::1",
            "tcp://a:b:7",
            "tcp://[::1",
            "x",
        ):
            said = refused(text).removeprefix(text)
            for hint in re.findall(r"\S+://\S+", said) + [f"tcp://{place}" for place in re.findall(r" (\[\S+)", said)]:
                parse(hint)

    def test_a_client_can_reach_neither_everything_nor_port_0(self) -> None:
        self.assertIn("* is for listening; name the host to reach", refused("tcp://*:7", client=True))
        self.assertIn("port 0 is out of range (1–65535)", refused("tcp://h:0", client=True))
        said = refused("tcp://:7", client=True)
        self.assertIn("the host is missing", said)
        self.assertNotIn("*", said)
        self.assertEqual(parse("tcp://h:7", client=True), Address("tcp", "h", 7))

    def test_what_is_shown_of_an_address_is_safe_to_print(self) -> None:
        for text in (
            "localhost:7\n\x1b[31m",
            "tcp:/\u202e127.0.0.1",
            "127.0.0.1:7\u2028",
            "tcp:[\x9b",
            "tcp://a:b\u202e:7",
            "tcp://\ud800:7",
            "unix:///\ud800",
            "\ud800",
            "tcp://h\n:7",
        ):
            self.assertTrue(refused(text).isprintable(), ascii(refused(text)))

    @settings(max_examples=600, deadline=None)
    @given(_texts, st.booleans())
    def test_any_text_is_an_address_or_an_error_of_one_line(self, text: str, client: bool) -> None:
        try:
            address = parse(text, client=client)
        except AddressError as error:
            said = str(error)
            self.assertTrue(said.isprintable(), ascii(said))
            self.assertTrue(said.strip(), ascii(text))
        else:
            self.assertTrue(str(address).isprintable(), ascii(text))
            self.assertEqual(parse(str(address), client=client), address)


class Printing(SynchronousTestCase):
    @settings(max_examples=400, deadline=None)
    @given(addresses())
    def test_is_the_reverse_of_reading(self, address: Address) -> None:
        self.assertEqual(parse(str(address)), address)
        self.assertTrue(str(address).isprintable())
        self.assertTrue(str(address).startswith(address.label))

    def test_has_the_usual_form(self) -> None:
        for text in (
            "tcp://[::1]:7",
            "tcp://*:7",
            "tcp://[fe80::1%eth0]:7?backlog=5&interface=eth0&dscp=46&v6only=yes&proxy=v1",
            "tcp://[::]:7?v6only=no",
            "unix:///run/echod/echo.sock?mode=0660&group=echod",
            "unix://@echo",
            "ws://h:1/a%20b",
            "systemd:echo",
            "systemd:echo?as=tls&proxy=any",
            "tcp6:7",
        ):
            self.assertEqual(str(parse(text)), text)

    def test_a_label_has_no_options(self) -> None:
        self.assertEqual(parse("tcp://h:1?backlog=5").label, "tcp://h:1")
        self.assertEqual(parse("unix:///a%3Fb?mode=0600").label, "unix:///a%3Fb")


class Knowing(SynchronousTestCase):
    def test_what_an_address_carries(self) -> None:
        for text, shape in (
            ("tcp://h:1", Shape.STREAM),
            ("udp://h:1", Shape.DATAGRAM),
            ("ws://h:1", Shape.MESSAGE),
            ("unix-dgram:///s", Shape.DATAGRAM),
            ("tcp6:7", Shape.STREAM),
        ):
            self.assertIs(parse(text).shape, shape, text)

    def test_only_loopback_and_unix_are_reached_from_this_machine_alone(self) -> None:
        for text in ("tcp://127.0.0.1:1", "tcp://127.1.2.3:1", "udp://[::1]:1", "tcp://LocalHost:1", "unix:///s"):
            self.assertTrue(parse(text).loopback, text)
        for text in (
            "tcp://*:1",
            "tcp://[::]:1",
            "tcp://0.0.0.0:1",
            "tcp://localhost.example:1",
            "systemd:a",
            "tcp6:7",
        ):
            self.assertFalse(parse(text).loopback, text)


class UsualPorts(SynchronousTestCase):
    def test_a_client_needs_no_port_for_websocket(self):
        urls = ("ws://h.example/echo", "wss://[::1]/echo", "wss://h.example?dscp=ef", "ws://h.example:81")
        self.assertEqual([parse(url, client=True).port for url in urls], [80, 443, 443, 81])

    def test_other_addresses_need_a_port(self):
        self.assertIn("the port is missing", refused("ws://localhost/echo"))
        for url in ("ws://localhost:/echo", "tls://localhost", "tcp://localhost"):
            self.assertIn("the port is missing", refused(url, client=True))

    def test_a_client_has_no_http(self):
        said = refused("http://127.0.0.1:8080", client=True)
        self.assertIn("echoctl has no HTTP client; use curl, or ws:// for a WebSocket", said)

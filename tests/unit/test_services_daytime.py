"""Daytime (RFC 867): one line for people, the same in every locale."""

import locale

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.model import Context, End, Peer, Reply
from echod.services.daytime import Daytime, line
from echod.socket_names import Inet

PEER = Peer("tcp", Inet("127.0.0.1", 13), Inet("192.0.2.1", 40_000))
RFC = 383_276_263.9  # the RFC's example was 17:37:43 in California: here it is UTC


class Lines(SynchronousTestCase):
    def test_have_the_form_of_the_rfc(self) -> None:
        for seconds, said in (
            (RFC, b"Tuesday, February 23, 1982 01:37:43-UTC\r\n"),
            (0, b"Thursday, January 1, 1970 00:00:00-UTC\r\n"),
            (951_782_400, b"Tuesday, February 29, 2000 00:00:00-UTC\r\n"),
            (2**31, b"Tuesday, January 19, 2038 03:14:08-UTC\r\n"),
            (4_102_444_799, b"Thursday, December 31, 2099 23:59:59-UTC\r\n"),
        ):
            self.assertEqual(line(seconds), said)

    @settings(max_examples=100, deadline=None)
    @given(st.floats(0, 2**35))
    def test_are_one_line_of_ascii(self, seconds: float) -> None:
        said = line(seconds)
        self.assertTrue(said.endswith(b"\r\n"))
        self.assertTrue(said[:-2].decode("ascii").isprintable())
        self.assertLess(len(said), 64)

    def test_know_no_locale(self) -> None:
        self.addCleanup(locale.setlocale, locale.LC_ALL, locale.setlocale(locale.LC_ALL))
        for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "C"):
            try:
                locale.setlocale(locale.LC_ALL, name)
            except locale.Error:
                continue  # not on this machine
            self.assertEqual(line(RFC), b"Tuesday, February 23, 1982 01:37:43-UTC\r\n")


class Saying(SynchronousTestCase):
    def test_the_date_of_the_moment_goes_to_streams_and_datagrams(self) -> None:
        service = Daytime(context=Context(wall_clock=iter((0.0, 1.0)).__next__))
        session = service.session(PEER, lambda _reply: None)
        self.assertEqual(session.opened(), Reply(line(0), end=End.CLOSE))
        self.assertEqual(service.answer(b"", PEER), line(1))

"""Discard (RFC 863): everything is read and nothing is answered."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.model import CLOSE, NOTHING, Context, Peer, Service
from echod.names import Inet
from echod.services.discard import Discard, DiscardOptions

PEER = Peer("tcp", Inet("127.0.0.1", 9), Inet("192.0.2.1", 40_000))


class Discarding(SynchronousTestCase):
    def setUp(self) -> None:
        self.lines: list[str] = []

    def service(self, show: Any) -> Service:
        return Discard(DiscardOptions(show=show), Context(show=self.lines.append))

    @settings(max_examples=50, deadline=None)
    @given(st.sampled_from(["no", "text", "hex"]), st.lists(st.binary(min_size=1)))
    def test_a_stream_gets_no_octet_and_the_close_when_it_has_ended(self, how: str, pieces: list[bytes]) -> None:
        session = self.service(how).session(PEER, lambda _reply: None)
        self.assertEqual(session.opened(), NOTHING)
        self.assertEqual([session.received(piece) for piece in pieces], [NOTHING] * len(pieces))
        self.assertEqual(session.ended(), CLOSE)
        session.lost()

    @settings(max_examples=50, deadline=None)
    @given(st.sampled_from(["no", "text", "hex"]), st.binary())
    def test_a_datagram_gets_no_answer(self, how: str, datagram: bytes) -> None:
        self.assertIsNone(self.service(how).answer(datagram, PEER))

    def test_nothing_is_shown_unless_asked_for(self) -> None:
        for show in ("no", None):
            service = self.service(show)
            service.session(PEER, lambda _reply: None).received(b"hello")
            service.answer(b"hello", PEER)
        self.assertEqual(self.lines, [])

    def test_each_message_is_shown_with_its_peer(self) -> None:
        for how, shown in (("text", "hi"), ("hex", "68 69")):
            service = self.service(how)
            session = service.session(PEER, lambda _reply: None)
            session.received(b"hi")
            session.received(b"hi")
            service.answer(b"hi", PEER)
            self.assertEqual(self.lines, [f"tcp 192.0.2.1:40000: {shown}"] * 3)
            self.lines.clear()

"""Discard (RFC 863): everything is read and no reply is sent."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.model import CLOSE, NOTHING, Peer, Service
from echod.services.discard import Discard
from echod.socket_names import Inet

PEER = Peer("tcp", Inet("127.0.0.1", 9), Inet("192.0.2.1", 40_000))


class Discarding(SynchronousTestCase):
    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.binary(min_size=1)))
    def test_a_stream_gets_no_byte_and_the_close_when_it_has_ended(self, pieces: list[bytes]) -> None:
        session = Discard().session(PEER, lambda _reply: None)
        self.assertEqual(session.opened(), NOTHING)
        self.assertEqual([session.received(piece) for piece in pieces], [NOTHING] * len(pieces))
        self.assertEqual(session.ended(), CLOSE)
        session.lost()

    @settings(max_examples=50, deadline=None)
    @given(st.binary())
    def test_a_datagram_gets_no_reply(self, datagram: bytes) -> None:
        service: Service = Discard()
        self.assertIsNone(service.answer(datagram, PEER))

"""Echo (RFC 862): every byte comes back, in order, and every datagram."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.model import CLOSE, NOTHING, End, Peer, identity
from echod.services.echo import Echo
from echod.socket_names import Inet

PEER = Peer("tcp", Inet("127.0.0.1", 7), Inet("127.0.0.1", 40_000))


class Streams(SynchronousTestCase):
    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.binary(min_size=1)))
    def test_come_back_whole_and_in_order_however_they_are_cut(self, pieces: list[bytes]) -> None:
        session = Echo().session(PEER, lambda _reply: None)
        self.assertEqual(session.opened(), NOTHING)
        replies = [session.received(piece) for piece in pieces]
        self.assertEqual(b"".join(reply.data or b"" for reply in replies), b"".join(pieces))
        self.assertEqual({(reply.end, reply.more) for reply in replies}, {(End.NOTHING, None)} if pieces else set())
        self.assertEqual(session.ended(), CLOSE)


class Datagrams(SynchronousTestCase):
    @settings(max_examples=100, deadline=None)
    @given(st.binary())
    def test_come_back_unchanged(self, datagram: bytes) -> None:
        self.assertEqual(Echo().answer(datagram, PEER), datagram)

    def test_come_back_empty_and_at_their_largest(self) -> None:
        for datagram in (b"", bytes(65_507)):
            self.assertEqual(Echo().answer(datagram, PEER), datagram)


class Transform(SynchronousTestCase):
    def test_is_the_one_that_may_be_carried_unread(self) -> None:
        self.assertIs(Echo.transform, identity)

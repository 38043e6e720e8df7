"""Ack: replies `received`."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.model import CLOSE, NOTHING, End, Peer, Reply, Session
from echod.services.ack import RECEIPT, Ack, AckOptions
from echod.socket_names import Inet

PEER = Peer("tcp", Inet("127.0.0.1", 7), Inet("192.0.2.1", 40_000))


class Acknowledging(SynchronousTestCase):
    def service(self, **options: Any) -> Ack:
        return Ack(AckOptions(**options))

    def session(self, **options: Any) -> Session:
        return self.service(**options).session(PEER, lambda _reply: None)

    def test_the_receipt_is_the_word(self) -> None:
        self.assertEqual(RECEIPT, b"received")

    def test_the_first_data_gets_a_reply_and_then_comes_the_close(self) -> None:
        session = self.session()
        self.assertEqual(session.opened(), NOTHING)
        self.assertEqual(session.received(b"hello\n"), Reply(RECEIPT, end=End.CLOSE))
        self.assertEqual(session.received(b"more"), NOTHING)
        self.assertEqual(session.ended(), CLOSE)
        session.lost()

    def test_who_sends_nothing_gets_no_receipt(self) -> None:
        session = self.session()
        self.assertEqual([session.opened(), session.ended()], [NOTHING, CLOSE])

    def test_without_the_close_every_read_gets_a_receipt(self) -> None:
        session = self.session(close=False)
        self.assertEqual([session.received(b"a"), session.received(b"b")], [Reply(RECEIPT), Reply(RECEIPT)])
        self.assertEqual(session.ended(), CLOSE)

    def test_each_datagram_gets_one(self) -> None:
        service = self.service()
        self.assertEqual([service.answer(datagram, PEER) for datagram in (b"one", b"", b"two")], [RECEIPT] * 3)

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.binary(min_size=1), min_size=1))
    def test_there_is_one_receipt_however_the_stream_is_cut(self, pieces: list[bytes]) -> None:
        session = self.session()
        replies = [session.received(piece) for piece in pieces]
        self.assertEqual(replies, [Reply(RECEIPT, end=End.CLOSE)] + [NOTHING] * (len(pieces) - 1))

    def test_sessions_know_nothing_of_each_other(self) -> None:
        service = self.service()
        for _ in range(2):
            session = service.session(PEER, lambda _reply: None)
            self.assertEqual(session.received(b"x"), Reply(RECEIPT, end=End.CLOSE))

"""Ack: shows what came and says `received`."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.model import CLOSE, NOTHING, Context, End, Peer, Reply, Session
from echod.names import Inet
from echod.services.ack import RECEIPT, Ack, AckOptions

PEER = Peer("tcp", Inet("127.0.0.1", 7), Inet("192.0.2.1", 40_000))


class Acknowledging(SynchronousTestCase):
    def setUp(self) -> None:
        self.lines: list[str] = []

    def service(self, **options: Any) -> Ack:
        return Ack(AckOptions(**{"show": "text", **options}), Context(show=self.lines.append))

    def session(self, **options: Any) -> Session:
        return self.service(**options).session(PEER, lambda _reply: None)

    def test_the_receipt_is_the_word(self) -> None:
        self.assertEqual(RECEIPT, b"received")

    def test_the_first_data_is_shown_and_answered_and_then_comes_the_close(self) -> None:
        session = self.session()
        self.assertEqual(session.opened(), NOTHING)
        self.assertEqual(session.received(b"hello\n"), Reply(RECEIPT, end=End.CLOSE))
        self.assertEqual(session.received(b"more"), NOTHING)
        self.assertEqual(session.ended(), CLOSE)
        session.lost()
        self.assertEqual(self.lines, ["tcp 192.0.2.1:40000: hello"])

    def test_who_sends_nothing_gets_no_receipt(self) -> None:
        session = self.session()
        self.assertEqual([session.opened(), session.ended()], [NOTHING, CLOSE])
        self.assertEqual(self.lines, [])

    def test_without_the_close_every_read_gets_a_receipt(self) -> None:
        session = self.session(close=False, show="hex")
        self.assertEqual([session.received(b"a"), session.received(b"b")], [Reply(RECEIPT), Reply(RECEIPT)])
        self.assertEqual(session.ended(), CLOSE)
        self.assertEqual(self.lines, ["tcp 192.0.2.1:40000: 61", "tcp 192.0.2.1:40000: 62"])

    def test_nothing_is_shown_where_nothing_is_asked_for(self) -> None:
        self.session(show="no").received(b"hello")
        self.service(show="no").answer(b"hello", PEER)
        self.assertEqual(self.lines, [])

    def test_each_datagram_gets_one(self) -> None:
        service = self.service()
        self.assertEqual([service.answer(datagram, PEER) for datagram in (b"one", b"", b"two")], [RECEIPT] * 3)
        self.assertEqual([line.rpartition(": ")[2] for line in self.lines], ["one", "", "two"])

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

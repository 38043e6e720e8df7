"""Upper: ASCII letters in upper case, for any division of the input, and never longer."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.model import CLOSE, Peer
from echod.services.upper import Upper
from echod.socket_names import Inet

PEER = Peer("tcp", Inet("127.0.0.1", 7), Inet("127.0.0.1", 40_000))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces, cut at these places."""
    at = [0, *sorted({place for place in places if 0 < place < len(data)}), len(data)]
    return [data[begin:end] for begin, end in pairwise(at) if begin < end]


class Letters(SynchronousTestCase):
    def test_of_ascii_change_and_nothing_else_does(self) -> None:
        for data, answer in (
            (b"Hello, world 7\r\n", b"HELLO, WORLD 7\r\n"),
            ("straße éΐ\u0149".encode(), b"STRA" + "ße éΐ\u0149".encode().replace(b"e", b"E")),
            (bytes(range(256)), bytes(range(97)) + bytes(range(65, 91)) + bytes(range(123, 256))),
            (b"", b""),
        ):
            self.assertEqual(Upper().answer(data, PEER), answer)

    @settings(max_examples=100, deadline=None)
    @given(st.one_of(st.binary(), st.text().map(str.encode)))
    def test_never_make_the_answer_longer_or_shorter(self, data: bytes) -> None:
        answer = Upper().answer(data, PEER)
        assert answer is not None
        self.assertEqual(len(answer), len(data))
        self.assertEqual(answer.lower(), data.lower())

    @settings(max_examples=100, deadline=None)
    @given(st.text().map(str.encode), st.lists(st.integers(0, 100)))
    def test_do_not_depend_on_the_chunks(self, data: bytes, places: list[int]) -> None:
        session = Upper().session(PEER, lambda _reply: None)
        self.assertIsNone(session.opened().data)
        answer = b"".join(session.received(piece).data or b"" for piece in cut(data, places))
        self.assertEqual(answer, Upper().answer(data, PEER))
        self.assertEqual(session.ended(), CLOSE)

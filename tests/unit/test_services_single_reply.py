"""A service with a single reply sends it once."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.model import CLOSE, NOTHING, End, Reply
from echod.services.single_reply import Once


class Saying(SynchronousTestCase):
    @settings(max_examples=50, deadline=None)
    @given(st.binary(), st.lists(st.binary(min_size=1)))
    def test_is_sent_first_and_then_nothing(self, data: bytes, pieces: list[bytes]) -> None:
        session = Once(data)
        self.assertEqual(session.opened(), Reply(data, end=End.CLOSE))
        self.assertEqual([session.received(piece) for piece in pieces], [NOTHING] * len(pieces))
        self.assertEqual(session.ended(), CLOSE)
        session.lost()

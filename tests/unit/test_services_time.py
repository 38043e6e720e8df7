"""Time (RFC 868): four bytes, now and after the overflow."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.model import Context, End, Peer, Reply
from echod.services.time import Time, encoded
from echod.socket_names import Inet

PEER = Peer("tcp", Inet("127.0.0.1", 37), Inet("192.0.2.1", 40_000))


class TimeReply(SynchronousTestCase):
    def test_are_the_rfcs_examples(self) -> None:
        for seconds, number in (
            (0, 2_208_988_800),  # 00:00  1 Jan 1970 GMT
            (189_302_400, 2_398_291_200),  # 00:00  1 Jan 1976 GMT
            (315_532_800, 2_524_521_600),  # 00:00  1 Jan 1980 GMT
            (420_595_200, 2_629_584_000),  # 00:00  1 May 1983 GMT
        ):
            self.assertEqual(int.from_bytes(encoded(seconds), "big"), number)

    def test_begin_again_in_2036(self) -> None:
        last = 2_085_978_495  # 2036-02-07 06:28:15
        self.assertEqual([encoded(last), encoded(last + 0.9), encoded(last + 1)], [b"\xff" * 4, b"\xff" * 4, bytes(4)])

    @settings(max_examples=100, deadline=None)
    @given(st.floats(-(2**33), 2**40))
    def test_are_four_at_any_time(self, seconds: float) -> None:
        self.assertEqual(len(encoded(seconds)), 4)


class Saying(SynchronousTestCase):
    def test_the_time_of_the_moment_goes_to_streams_and_datagrams(self) -> None:
        service = Time(context=Context(wall_clock=iter((0.0, 1.0)).__next__))
        session = service.session(PEER, lambda _reply: None)
        self.assertEqual(session.opened(), Reply(encoded(0), end=End.CLOSE, text=False))
        self.assertEqual(service.answer(b"", PEER), encoded(1))

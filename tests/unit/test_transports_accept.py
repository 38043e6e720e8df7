"""What follows when accept fails: pauses that grow and end, and a log that a client cannot fill."""

import errno
import os

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echod.transports.stream_port import LONGEST_PAUSE, PAUSE, TOLD_EVERY, Reluctance, Reserve


class Pauses(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[tuple[str, object]] = []
        reserve = Reserve()
        self.addCleanup(reserve.give_up)
        self.reluctance = Reluctance("tcp://*:7", reserve, self.tell, self.clock.seconds)

    def tell(self, event: str, **fields: object) -> None:
        self.told.append((event, fields.get("error", fields.get("refused"))))

    def fail(self, number: int = errno.EMFILE, refused: int = 1) -> float:  # type: ignore[override]
        return self.reluctance.pause_after(OSError(number, os.strerror(number)), lambda: refused)

    def test_grow_to_a_bound_and_begin_anew_behind_a_success(self) -> None:
        pauses = [self.fail() for _ in range(6)]
        self.assertEqual(pauses, [PAUSE, 2 * PAUSE, 4 * PAUSE, 8 * PAUSE, LONGEST_PAUSE, LONGEST_PAUSE])
        self.reluctance.succeeded()
        self.assertEqual(self.fail(), PAUSE)

    def test_do_not_follow_one_connection_that_went_wrong(self) -> None:
        for number in (errno.ECONNABORTED, errno.EINTR, errno.EPROTO, errno.EPERM):
            self.assertEqual(self.fail(number), 0, number)
            self.reluctance.succeeded()
        self.assertEqual(self.told, [])
        self.assertEqual([self.fail(errno.EINTR) for _ in range(3)], [0, PAUSE, 2 * PAUSE])
        self.assertEqual(self.told, [("accept.paused", "EINTR")])

    def test_are_told_when_they_begin_and_when_they_are_over(self) -> None:
        for _ in range(3):
            self.fail()
        self.assertEqual(self.told, [("accept.paused", "EMFILE")])
        self.reluctance.succeeded()
        self.reluctance.succeeded()
        self.assertEqual(self.told[1:], [("accept.resumed", 3)])

    def test_that_come_and_go_are_told_once_in_a_while_and_refusals_are_all_in_it(self) -> None:
        for _ in range(100):
            self.fail()
            self.reluctance.succeeded()
        self.assertEqual(self.told, [("accept.paused", "EMFILE"), ("accept.resumed", 1)])
        self.clock.advance(TOLD_EVERY)
        self.fail()
        self.reluctance.succeeded()
        self.assertEqual(self.told[2:], [("accept.paused", "EMFILE"), ("accept.resumed", 100)])

    def test_that_last_are_told_even_if_they_began_in_silence(self) -> None:
        self.fail()
        self.reluctance.succeeded()
        self.fail()
        self.clock.advance(TOLD_EVERY - 1)
        self.fail()
        self.assertEqual(len(self.told), 2)
        self.clock.advance(1)
        self.fail()
        self.assertEqual(self.told[2:], [("accept.paused", "EMFILE")])

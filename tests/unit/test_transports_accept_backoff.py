"""Errors of accept: pauses that grow and end, and a bounded number of log lines."""

import errno
import os

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echod.transports.accept_backoff import LONGEST_PAUSE, PAUSE, REPORTED_EVERY, AcceptBackoff, SpareDescriptor


class Pauses(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.logged: list[tuple[str, object]] = []
        reserve = SpareDescriptor()
        self.addCleanup(reserve.give_up)
        self.reluctance = AcceptBackoff("tcp://*:7", reserve, self.tell, self.clock.seconds)

    def tell(self, event: str, **fields: object) -> None:
        self.logged.append((event, fields.get("error", fields.get("refused"))))

    def pause(self, number: int = errno.EMFILE, refused: int = 1) -> float:
        return self.reluctance.pause_after(OSError(number, os.strerror(number)), lambda: refused)

    def test_grow_to_a_bound_and_restart_after_a_success(self) -> None:
        pauses = [self.pause() for _ in range(6)]
        self.assertEqual(pauses, [PAUSE, 2 * PAUSE, 4 * PAUSE, 8 * PAUSE, LONGEST_PAUSE, LONGEST_PAUSE])
        self.reluctance.succeeded()
        self.assertEqual(self.pause(), PAUSE)

    def test_do_not_follow_the_error_of_one_connection(self) -> None:
        for number in (errno.ECONNABORTED, errno.EINTR, errno.EPROTO, errno.EPERM):
            self.assertEqual(self.pause(number), 0, number)
            self.reluctance.succeeded()
        self.assertEqual(self.logged, [])
        self.assertEqual([self.pause(errno.EINTR) for _ in range(3)], [0, PAUSE, 2 * PAUSE])
        self.assertEqual(self.logged, [("accept.paused", "EINTR")])

    def test_are_logged_when_they_begin_and_end(self) -> None:
        for _ in range(3):
            self.pause()
        self.assertEqual(self.logged, [("accept.paused", "EMFILE")])
        self.reluctance.succeeded()
        self.reluctance.succeeded()
        self.assertEqual(self.logged[1:], [("accept.resumed", 3)])

    def test_that_alternate_are_logged_at_intervals_with_all_refusals(self) -> None:
        for _ in range(100):
            self.pause()
            self.reluctance.succeeded()
        self.assertEqual(self.logged, [("accept.paused", "EMFILE"), ("accept.resumed", 1)])
        self.clock.advance(REPORTED_EVERY)
        self.pause()
        self.reluctance.succeeded()
        self.assertEqual(self.logged[2:], [("accept.paused", "EMFILE"), ("accept.resumed", 100)])

    def test_that_last_are_logged_even_if_their_start_was_not(self) -> None:
        self.pause()
        self.reluctance.succeeded()
        self.pause()
        self.clock.advance(REPORTED_EVERY - 1)
        self.pause()
        self.assertEqual(len(self.logged), 2)
        self.clock.advance(1)
        self.pause()
        self.assertEqual(self.logged[2:], [("accept.paused", "EMFILE")])

"""A ping's schedule: it does not drift, it waits for nobody, and it makes up for a second at most."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echod.client.ping import Schedule


class Turns(SynchronousTestCase):
    def begin(self, interval: float, takes: float = 0.0) -> None:
        """A schedule whose turns take so long; `at` holds when each began."""
        self.clock = Clock()
        self.clock.advance(1000)
        self.at: list[float] = []

        def turn() -> None:
            self.at.append(round(self.clock.seconds() - 1000, 6))
            self.clock.rightNow += takes

        self.schedule = Schedule(self.clock, self.clock.seconds, interval, turn)
        self.schedule.start()

    def pump(self, seconds: float, step: float = 0.01) -> None:
        for _ in range(round(seconds / step)):
            self.clock.advance(step)

    def test_begin_at_once_and_stand_on_a_grid(self) -> None:
        self.begin(0.5)
        self.clock.advance(0)
        self.assertEqual(self.at, [0])
        self.pump(1.6)
        self.assertEqual(self.at, [0, 0.5, 1, 1.5])

    def test_that_take_long_do_not_move_the_next(self) -> None:
        self.begin(0.5, takes=0.3)
        self.clock.advance(0)
        self.pump(2.5)
        for planned, was in zip((0, 0.5, 1, 1.5, 2), self.at, strict=False):
            self.assertAlmostEqual(planned, was, delta=0.011)

    @given(st.lists(st.floats(0.001, 0.9), min_size=1, max_size=30))
    def test_do_not_drift_however_late_the_reactor_is(self, steps: list[float]) -> None:
        self.begin(0.1)
        for step in steps:
            self.clock.advance(step)
            self.clock.pump([0] * 12)
        self.assertEqual(len(self.at), int(sum(steps) / 0.1 + 1e-6) + 1)

    def test_that_were_missed_for_longer_than_a_second_are_left_out(self) -> None:
        self.begin(0.1)
        self.clock.advance(0)
        self.clock.rightNow += 3600
        self.clock.pump([0] * 50)
        self.assertLess(len(self.at), 5)
        self.pump(1.0)
        self.assertAlmostEqual(self.at[-1] % 0.1, 0.05, delta=0.0501)
        self.assertLess(len(self.at), 16)

    def test_come_no_more_behind_the_end(self) -> None:
        self.begin(0.5)
        self.clock.advance(0)
        self.schedule.stop()
        self.schedule.stop()
        self.pump(2)
        self.assertEqual(self.at, [0])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_can_end_themselves(self) -> None:
        self.begin(0.5)
        self.schedule._turn = self.schedule.stop
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

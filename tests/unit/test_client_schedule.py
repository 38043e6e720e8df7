"""A ping's schedule: it does not drift, does not wait for replies, and makes up for a second at most."""

import random
from collections.abc import Callable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echod.client.schedule import Schedule
from echod.client.timers import ReactorTimer

A_LITTLE = 2**-7  # seconds, which a float holds exactly


class Turns(SynchronousTestCase):
    def begin(self, interval: float, takes: float = 0.0) -> None:
        """A schedule whose turns take so long; `at` holds when each began."""
        self.clock = Clock()
        self.at: list[float] = []

        def turn() -> None:
            self.at.append(self.clock.seconds())
            self.clock.rightNow += takes

        self.schedule = Schedule(ReactorTimer(self.clock), self.clock.seconds, interval, turn)
        self.schedule.start()
        self.clock.advance(0)

    def pass_time(self, seconds: float) -> None:
        while seconds > 0:
            self.clock.advance(A_LITTLE)
            seconds -= A_LITTLE

    def test_start_at_once_and_stay_on_the_grid(self) -> None:
        self.begin(0.5)
        self.assertEqual(self.at, [0])
        self.pass_time(1.75)
        self.assertEqual(self.at, [0, 0.5, 1, 1.5])

    def test_that_take_long_do_not_delay_the_next(self) -> None:
        self.begin(0.5, takes=0.375)
        self.pass_time(1.0)
        self.assertEqual(self.at, [turn * 0.5 for turn in range(9)])  # the turns themselves took 3 seconds of 4

    @given(st.lists(st.floats(0.001, 0.9), min_size=1, max_size=30))
    def test_do_not_drift_if_the_reactor_is_late(self, steps: list[float]) -> None:
        self.begin(0.125)
        for step in steps:
            self.clock.advance(step)
            self.clock.pump([0] * 12)
        self.assertEqual(len(self.at), int(self.clock.seconds() / 0.125) + 1)

    def test_missed_for_more_than_a_second_are_left_out(self) -> None:
        self.begin(0.125)
        self.clock.rightNow += 3600.0625
        self.clock.pump([0] * 50)
        self.assertEqual(self.at, [0, 3600.0625, 3600.0625])  # the turn that was waited for, and the one due now
        self.pass_time(0.25)
        self.assertEqual(self.at[3:], [3600.125, 3600.25])

    def test_stop_after_the_end(self) -> None:
        self.begin(0.5)
        self.schedule.stop()
        self.schedule.stop()
        self.pass_time(2)
        self.assertEqual(self.at, [0])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_can_stop_the_schedule(self) -> None:
        self.begin(0.5)
        self.schedule._turn = self.schedule.stop
        self.pass_time(0.5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def poisson(self, interval: float) -> None:
        self.clock = Clock()
        self.at = []
        self.late: list[float] = []
        self.schedule = Schedule(
            ReactorTimer(self.clock),
            self.clock.seconds,
            interval,
            lambda: self.at.append(self.clock.seconds()),
            chance=random.Random(7),
            lateness=self.late.append,
        )
        self.schedule.start()
        self.clock.advance(0)

    def test_are_exponentially_distributed_around_the_interval(self) -> None:
        self.poisson(0.5)
        self.pass_time(1000)
        gaps = [later - earlier for earlier, later in pairwise(self.at)]
        self.assertApproximates(sum(gaps) / len(gaps), 0.5, 0.05)
        self.assertGreater(len([gap for gap in gaps if gap < 0.25]), len(gaps) / 4)
        self.assertGreater(max(gaps), 1.5)
        self.assertTrue(all(0 <= seconds < 0.01 for seconds in self.late))

    def test_missed_for_more_than_a_second_are_left_out_too(self) -> None:
        self.poisson(0.5)
        self.clock.rightNow += 3600
        self.clock.pump([0] * 50)
        self.assertLess(len(self.at), 5)

    def test_may_follow_a_reply(self) -> None:
        self.begin(5)
        self.pass_time(1)
        self.schedule.hurry()
        self.clock.advance(0)
        self.pass_time(5.5)
        self.assertEqual(self.at, [0, 1, 6])
        self.schedule.stop()
        self.schedule.hurry()
        self.clock.advance(0)
        self.assertEqual(self.at, [0, 1, 6])

    def test_of_short_intervals_are_awaited_in_a_loop(self) -> None:
        """Each reading of the clock takes a microsecond, so that the loop ends."""
        now = [0.0]

        def clock() -> float:
            now[0] += 1e-6
            return now[0]

        at: list[float] = []
        late: list[float] = []
        timer = Recorder()
        schedule = Schedule(timer, clock, 0.0001, lambda: at.append(now[0]), lateness=late.append)
        schedule.start()
        timer.call()
        self.assertEqual(len(at), 16)  # then the reactor reads replies
        self.assertTrue(all(0 <= seconds < 0.00001 for seconds in late))
        timer.call()
        self.assertEqual(len(at), 32)
        schedule.stop()
        self.assertTrue(timer.stopped)


class Recorder:
    """A timer that the test fires."""

    stopped = False

    def wake(self, seconds: float, call: Callable[[], None]) -> None:
        self.call = call

    def stop(self) -> None:
        self.stopped = True

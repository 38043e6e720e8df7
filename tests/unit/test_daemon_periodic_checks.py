"""echod.daemon.periodic_checks: the checks are made until the stop, also after one has failed."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echod.daemon.periodic_checks import PeriodicChecks


class Checks(SynchronousTestCase):
    def test_each_is_made_at_the_start_and_then_at_its_interval_until_the_stop(self) -> None:
        clock, made = Clock(), list[str]()
        checks = PeriodicChecks(clock)
        checks.add(1.0, lambda: made.append("often"))
        checks.add(3.0, lambda: made.append("seldom"))
        checks.start()
        clock.pump([1.0] * 3)
        checks.stop()
        clock.pump([1.0] * 3)
        self.assertEqual((made.count("often"), made.count("seldom")), (4, 2))
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_one_that_fails_is_logged_and_made_again(self) -> None:
        clock, made = Clock(), list[int]()

        def check() -> None:
            made.append(1)
            if len(made) == 1:
                raise RuntimeError("once")

        checks = PeriodicChecks(clock)
        checks.add(1.0, check)
        checks.start()
        clock.pump([1.0] * 2)
        checks.stop()
        self.assertEqual(len(made), 3)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

"""Token buckets: they grant exactly their rate and burst, and the number of buckets is bounded."""

import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.gate.buckets import TABLE, Buckets
from echod.gate.limits import AUTO_NEW_PER_CLIENT, AUTO_RATE, Rate

_rates = st.builds(
    Rate,
    st.one_of(st.sampled_from([0.1, 0.3, 1.0, 3.0, 200.0, 300.0]), st.floats(0.01, 1e6)),
    st.one_of(st.integers(1, 10).map(float), st.floats(1, 1000)),
)
_WHOLE = [(0.1, 1), (0.3, 1), (1, 1), (3, 3), (7, 1), (7, 7), (300, 1), (300, 600), (1000, 1), (1000, 2000)]
_uptime = st.floats(0, 3e7)  # seconds; a year
_steps = st.lists(st.tuples(st.floats(0, 2), st.sampled_from([0.0, 0.5, 1.0, 1.0, 1.0, 3.0])), max_size=60)


class Taking(SynchronousTestCase):
    def rounding(self, rate: Rate) -> float:
        """Tokens that floats may err by: a hundredth, and of what flows in a microsecond."""
        return 0.011 + 1e-6 * rate.per_second

    def test_a_burst_is_granted_and_then_the_rate(self) -> None:
        buckets: Buckets[str] = Buckets(Rate(10, 3))
        self.assertEqual([buckets.take("a", 0) for _ in range(5)], [True, True, True, False, False])
        self.assertEqual([buckets.take("a", 0.1) for _ in range(2)], [True, False])
        self.assertEqual([buckets.take("a", 100) for _ in range(4)], [True, True, True, False])

    def test_keys_have_buckets_of_their_own(self) -> None:
        buckets: Buckets[str] = Buckets(Rate(1, 1))
        self.assertTrue(buckets.take("a", 0))
        self.assertTrue(buckets.take("b", 0))
        self.assertFalse(buckets.take("a", 0))

    def test_an_amount_above_the_balance_takes_nothing(self) -> None:
        buckets: Buckets[str] = Buckets(Rate(1, 10))
        self.assertFalse(buckets.take("a", 0, 11))
        self.assertTrue(buckets.take("a", 0, 10))
        self.assertFalse(buckets.take("a", 0, 1))
        self.assertTrue(buckets.take("a", 0, 0))

    @settings(max_examples=200, deadline=None)
    @given(st.sampled_from([AUTO_RATE, AUTO_NEW_PER_CLIENT, *(Rate(*rate) for rate in _WHOLE)]), _uptime)
    def test_a_full_bucket_grants_its_whole_burst_however_late_it_is(self, rate: Rate, now: float) -> None:
        buckets: Buckets[str] = Buckets(rate)
        self.assertEqual(sum(buckets.take("a", now) for _ in range(int(rate.burst) + 3)), rate.burst)

    @settings(max_examples=200, deadline=None)
    @given(_rates, _uptime, _steps)
    def test_no_window_holds_more_than_the_burst_and_its_share(
        self, rate: Rate, start: float, steps: list[tuple[float, float]]
    ) -> None:
        buckets: Buckets[str] = Buckets(rate)
        now, granted = start, [(start, 0.0)]
        for wait, cost in steps:
            now += wait
            if buckets.take("a", now, cost):
                granted.append((now, cost))
        for index, (begin, _) in enumerate(granted):
            total = 0.0
            for at, cost in granted[index:]:
                total += cost
                self.assertLessEqual(total, rate.burst + rate.per_second * (at - begin) + self.rounding(rate))


class Tables(SynchronousTestCase):
    @settings(max_examples=100, deadline=None)
    @given(st.integers(1, 5), st.lists(st.integers(0, 9)))
    def test_forget_the_key_that_is_silent_for_longest(self, size: int, keys: list[int]) -> None:
        buckets: Buckets[int] = Buckets(Rate(1, 1000), size)
        recent: list[int] = []
        for key in keys:
            buckets.take(key, 0)
            recent = [*(other for other in recent if other != key), key][-size:]
            self.assertEqual(len(buckets), len(recent))
        self.assertEqual(list(buckets._full_at), recent)

    def test_a_refused_key_counts_as_recent(self) -> None:
        buckets: Buckets[str] = Buckets(Rate(1, 1), size=2)
        buckets.take("a", 0)
        buckets.take("b", 0)
        self.assertFalse(buckets.take("a", 0))
        buckets.take("c", 0)
        self.assertFalse(buckets.take("a", 0))
        self.assertTrue(buckets.take("b", 0))

    def test_hold_the_default_number_of_keys(self) -> None:
        buckets: Buckets[int] = Buckets(Rate(1, 1))
        for key in range(TABLE + 10):
            buckets.take(key, 0)
        self.assertEqual(len(buckets), TABLE)

    def test_pushing_the_oldest_out_costs_the_same_however_often_it_was_done(self) -> None:
        buckets: Buckets[int] = Buckets(Rate(1, 1))
        for key in range(TABLE):
            buckets.take(key, 0)
        spent = []
        for window in range(20):
            begin = time.thread_time()  # what others do on this machine does not count
            for key in range(3000):
                buckets.take(TABLE + window * 3000 + key, 0)
            spent.append(time.thread_time() - begin)
        self.assertLess(sorted(spent)[15], 3 * min(spent), spent)  # 1.1 of a linked list, 10 of a dict

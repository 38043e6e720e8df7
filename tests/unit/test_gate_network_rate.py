"""Rates of networks are token buckets, four for each datagram. They decide like plain buckets."""

from collections import Counter
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.gate import network_rate
from echod.gate.buckets import Buckets
from echod.gate.limits import Rate
from echod.gate.network_rate import BYTES, SAME, TOTAL, TOTAL_BYTES, WATCHED_ABOVE, Shares, Total, network_of
from echod.gate.refusal import Refusal

HIGH = 40_000
HOSTS = (bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2]), bytes([192, 0, 3, 1]))
_times = st.sampled_from([0.0, 0.0, 0.001, 0.1, 1.0, 100.0])


class Taking(SynchronousTestCase):
    @settings(max_examples=200, deadline=None)
    @given(
        st.sampled_from([Rate(5, 10), Rate(200, 400), Rate(0.1, 1)]),
        st.floats(0, 3e7),
        st.lists(st.tuples(_times, st.sampled_from(HOSTS), st.sampled_from([0, 1, 1000, 60_000])), max_size=SAME - 1),
    )
    def test_decisions_are_those_of_plain_buckets(
        self, rate: Rate, now: float, steps: list[tuple[float, bytes, int]]
    ) -> None:
        answers: Buckets[bytes] = Buckets(rate)
        byte_count: Buckets[bytes] = Buckets(BYTES)
        taking = Shares(rate, Total())
        for wait, host, size in steps:
            now += wait
            expected = None
            if not answers.take(network_of(host), now):
                expected = Refusal.RATE
            elif not byte_count.take(network_of(host), now, size):
                expected = Refusal.BYTES
            self.assertIs(taking.take(host, HIGH, bytes(size), now), expected)

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.tuples(_times, st.sampled_from([1, 10_000, 30_000]), st.sampled_from([0, 1 << 20, 1 << 24]))))
    def test_the_total_decides_like_plain_buckets(self, steps: list[tuple[float, int, int]]) -> None:
        answers: Buckets[None] = Buckets(TOTAL)
        byte_count: Buckets[None] = Buckets(TOTAL_BYTES)
        total, now = Total(), 0.0
        for wait, count, size in steps:
            now += wait
            before = dict(answers._full_at)
            expected = answers.take(None, now, count) and byte_count.take(None, now, size)
            if not expected:
                answers._full_at.update(before)
            self.assertIs(total.take(count, size, now), expected)


class Runs(SynchronousTestCase):
    def test_runs_are_refused_together_only_if_no_token_is_left(self) -> None:
        taking = Shares(Rate(10, 20), Total())
        watched = int(20 * WATCHED_ABOVE)
        self.assertIs(taking.take_run(HOSTS[0], HIGH, watched, 0, 5.0), True)
        for number in range(watched):
            self.assertIs(taking.take_run(HOSTS[0], HIGH, 30, 0, 5.0), False)
            self.assertIsNone(taking.take(HOSTS[0], HIGH, b"%d" % number, 5.0))
        self.assertIs(taking.take_run(HOSTS[0], HIGH, 30, 0, 5.0), Refusal.RATE)
        self.assertIs(taking.take_run(HOSTS[1], HIGH, 1, 0, 5.05), Refusal.RATE)
        self.assertIs(taking.take_run(HOSTS[1], HIGH, 30, 0, 5.1), False)
        self.assertIs(taking.take_run(HOSTS[2], HIGH, watched, 0, 5.0), True)


class Tables(SynchronousTestCase):
    def test_a_refused_network_counts_as_recently_used(self) -> None:
        with mock.patch.object(network_rate, "TABLE", 2):
            for refused in (
                lambda taking: taking.take(HOSTS[0], HIGH, b"", 0),
                lambda taking: taking.take_run(HOSTS[0], HIGH, 5, 0, 0),
            ):
                taking = Shares(Rate(0.001, 1), Total())
                for network in (1, 2):
                    taking.take(bytes([192, 0, network, 1]), HIGH, b"", 0)
                taking.take(HOSTS[0], HIGH, b"", 0)
                taking.take(HOSTS[2], HIGH, b"", 0)
                self.assertIs(refused(taking), Refusal.RATE)
                taking.take(bytes([192, 0, 4, 1]), HIGH, b"", 0)
                self.assertIs(refused(taking), Refusal.RATE)
                self.assertEqual(len(taking._table), 2)

    def test_tables_hold_their_maximum(self) -> None:
        with mock.patch.object(network_rate, "TABLE", 10):
            taking = Shares(Rate(0.001, 1), Total())
            said = Counter(taking.take(bytes([10, 0, number, 1]), HIGH, b"", 0) for number in range(50))
            self.assertEqual(said, {None: 50})
            self.assertEqual(list(taking._table), [bytes([10, 0, number]) for number in range(40, 50)])

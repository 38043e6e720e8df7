"""Bursts, outages, and the interval of a loss."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echod.client.loss_pattern import LossPattern, Outage, confidence


def after(fates):
    pattern, outages = LossPattern(), []
    for number, fate in enumerate(fates, 1):
        if fate == "x":
            pattern.lost(number, float(number))
        elif (outage := pattern.received(float(number))) is not None:
            outages.append(outage)
    pattern.finish()
    return pattern, outages


def test_bursts_are_counted_by_their_length():
    pattern, outages = after("..x..xx.x.")
    assert (pattern.bursts, pattern.longest, outages) == ({1: 2, 2: 1}, 2, [])


def test_three_lost_probes_are_an_outage_from_the_first_one_to_the_next_reply():
    pattern, outages = after(".xxx..xxxxx.")
    assert outages == [Outage(2, 3, 3.0), Outage(7, 5, 5.0)]
    assert (pattern.outages, pattern.outage_seconds) == (2, 8.0)


def test_an_outage_at_the_end_lasts_at_least_until_its_last_probe():
    pattern, outages = after("..xxxx")
    assert (pattern.outages, pattern.outage_seconds, pattern.bursts, outages) == (1, 3.0, {4: 1}, [])
    pattern, outages = after("xxx.xx")
    assert (pattern.outages, pattern.outage_seconds, outages) == (1, 3.0, [Outage(1, 3, 3.0)])


@settings(max_examples=100, deadline=None)
@given(st.text(".x", max_size=200))
def test_the_bursts_contain_every_loss(fates):
    pattern, _ = after(fates)
    assert pattern.longest == max(map(len, fates.split(".")), default=0)
    if pattern.longest <= 64:
        assert sum(length * count for length, count in pattern.bursts.items()) == fates.count("x")


@pytest.mark.parametrize(
    ("lost", "of", "low", "high"),
    [(0, 0, 0, 100), (0, 10, 0, 27.753), (10, 10, 72.247, 100), (1, 10, 1.787, 40.415), (50, 1000, 3.813, 6.531)],
)
def test_the_interval_is_wilsons(lost, of, low, high):
    assert confidence(lost, of) == pytest.approx((low, high), abs=0.001)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 1000))
def test_the_interval_contains_the_percentage(lost, of):
    low, high = confidence(min(lost, of), of)
    assert 0 <= low <= 100 * min(lost, of) / of <= high <= 100

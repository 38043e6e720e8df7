"""Timestamps of test packets: both formats, their eras, and Error Estimates."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from echod.measurement.timestamps import (
    A_SECOND,
    EPOCH,
    ErrorEstimate,
    error_estimate,
    estimate_of,
    from_ntp,
    from_ptp,
    ntp,
    ptp,
    time_of,
)

TIMES = st.integers(0, 2**34 * A_SECOND)  # from 1970, over several eras


def test_ntp_timestamps_of_known_times():
    for nanoseconds, timestamp in (
        (0, EPOCH << 32),
        (A_SECOND // 2, EPOCH << 32 | 0x8000_0000),
        (-EPOCH * A_SECOND, 0),  # 1900-01-01
        ((2**32 - EPOCH) * A_SECOND, 0),  # 2036-02-07 06:28:16
        (999_999_999, EPOCH << 32 | 0xFFFF_FFFB),
    ):
        assert ntp(nanoseconds) == timestamp


def test_ptp_timestamps_of_known_times():
    for nanoseconds, timestamp in ((0, 0), (1_500_000_000, 1 << 32 | 500_000_000), (2**32 * A_SECOND + 7, 7)):
        assert ptp(nanoseconds) == timestamp


@settings(max_examples=200, deadline=None)
@given(TIMES, st.integers(-(60 * A_SECOND), 60 * A_SECOND))
@example((2**32 - EPOCH) * A_SECOND, -A_SECOND)  # the end of an era of NTP
@example(2**32 * A_SECOND, A_SECOND)  # and of PTP
def test_a_time_survives_both_formats_to_the_nanosecond(nanoseconds, distance):
    near = nanoseconds + distance
    assert from_ntp(ntp(nanoseconds), near) == nanoseconds
    assert from_ptp(ptp(nanoseconds), near) == nanoseconds
    assert time_of(ntp(nanoseconds), error_estimate(0, synchronized=True).word, near) == nanoseconds
    assert time_of(ptp(nanoseconds), error_estimate(0, synchronized=True, is_ptp=True).word, near) == nanoseconds


@settings(max_examples=100, deadline=None)
@given(TIMES, TIMES)
def test_later_times_have_later_ntp_timestamps_within_an_era(one, other):
    era = (one // A_SECOND + EPOCH) >> 32
    if era == (other // A_SECOND + EPOCH) >> 32 and one < other:
        assert ntp(one) < ntp(other)


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 1e9), st.booleans(), st.booleans())
@example(0.0, True, False)
@example(16.0, False, False)
def test_an_error_estimate_is_never_below_the_error_and_at_most_one_step_above(seconds, synchronized, is_ptp):
    estimate = error_estimate(seconds, synchronized=synchronized, is_ptp=is_ptp)
    assert estimate.is_valid  # a Multiplier of 0 is forbidden (RFC 4656 4.1.2)
    assert estimate.seconds >= seconds
    assert estimate.seconds <= max(seconds * (1 + 1 / 127), 2.0**-32) + 2.0**-32
    assert (estimate.synchronized, estimate.is_ptp) == (synchronized, is_ptp)
    assert estimate_of(estimate.word) == estimate


def test_an_error_that_does_not_fit_is_the_largest():
    assert error_estimate(1e30, synchronized=False) == ErrorEstimate(False, False, 63, 255)


def test_the_bits_of_an_error_estimate():
    assert ErrorEstimate(True, False, 0, 1).word == 0x8001
    assert ErrorEstimate(False, True, 63, 255).word == 0x7FFF
    assert not estimate_of(0x8F00).is_valid

"""A load over time: every message is in one step and in one second."""

from hypothesis import given
from hypothesis import strategies as st

from echod.client.load.counts import LoadCounts
from echod.client.load.slices import Slices

steps_of = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.booleans()), min_size=1, max_size=60)


@given(steps_of)
def test_the_seconds_and_both_series_have_every_message_once(steps: list[tuple[int, int, bool]]) -> None:
    counts = LoadCounts()
    slices = Slices(counts, fine=True)
    seconds = []
    for number, (received, lost, ends) in enumerate(steps, 1):
        counts.sent += received + lost
        counts.received += received
        counts.lost += lost
        counts.bytes_received += 64 * received
        for _ in range(received):
            counts.recent.record(1_000 * number)
        times, failed = slices.step(number / 10)
        assert (times.total, failed) == (received, lost)
        if ends:
            seconds.append(slices.second(number / 10))
    seconds.append(slices.second(len(steps) / 10))
    assert sum(second.sent for second in seconds) == counts.sent
    assert (
        sum(second.received for second in seconds) == sum(second.times.total for second in seconds) == counts.received
    )
    assert sum(second.failed for second in seconds) == counts.lost
    assert sum(second.bytes_received for second in seconds) == counts.bytes_received
    assert [second.begin for second in seconds[1:]] == [second.end for second in seconds[:-1]]
    assert slices.plotted is not None
    for series in (slices.series, slices.plotted):
        assert sum(interval.times.total for _, interval in series) == counts.received
        assert sum(interval.lost for _, interval in series) == counts.lost
    assert counts.latencies.total == counts.received


def test_a_warm_up_does_not_belong_to_the_first_second() -> None:
    counts = LoadCounts()
    slices = Slices(counts, fine=False)
    counts.sent, counts.received = 9, 9
    counts.recent.record(5)
    counts.reset()
    slices.restart()
    counts.sent, counts.received = 2, 2
    counts.recent.record(7)
    counts.recent.record(7)
    slices.step(1.0)
    second = slices.second(1.0)
    assert (second.sent, second.received, second.times.total, second.duration) == (2, 2, 2, 1.0)
    assert slices.plotted is None

"""The figures of a load, and what is said about them."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from echod.client.histogram import Histogram
from echod.client.load.counts import LoadCounts, cause_of
from echod.client.load.figures import byte_rate, figures, lines, milliseconds, second_line
from echod.client.load.processor_usage import Usage, usage
from echod.client.load.slices import Second

USED = Usage(100_000_000, 0, 2_000_000_000)


def measured(rate: float | None = None, used: Usage = USED, **changes: Any) -> dict[str, Any]:
    counts = LoadCounts()
    counts.sent, counts.bytes_sent, counts.bytes_received, counts.connections = 12, 640, 640, 2
    counts.received, counts.wrong, counts.lost, counts.abandoned = 9, 1, 1, 1
    for value in range(1, 10):
        counts.recent.record(value * 1_000_000)
        counts.lateness.record(0)
    counts.turn()
    for name, value in changes.items():
        setattr(counts, name, value)
    return figures(counts, 2.0, used, 0, rate)


def test_each_message_has_one_fate() -> None:
    found = measured()
    fates = ("received", "wrong", "lost", "abandoned", "awaited")
    assert found["sent"] == sum(found[name] for name in fates)


def test_rates_and_percentiles() -> None:
    found = measured()
    assert (found["messages_per_second"], found["bytes_per_second"]) == (4.5, 320.0)
    assert (found["min_ms"], found["max_ms"]) == (1, 9)
    assert abs(found["p50_ms"] - 5) < 0.01
    assert abs(found["p9999_ms"] - 9) < 0.01
    assert found["generator"]["us_per_message"] == round(100_000 / 9, 3)


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=20))
def test_the_figures_of_a_histogram_are_in_ascending_order(values: list[int]) -> None:
    times = Histogram()
    for value in values:
        times.record(value)
    found = milliseconds(times)
    shown = [found[f"{name}_ms"] or 0 for name in ("min", "p50", "p90", "p99", "p999", "p9999", "max")]
    assert shown == sorted(shown)
    assert shown[0] <= (found["avg_ms"] or 0) <= shown[-1]
    assert (shown[0], shown[-1]) == (min(values) / 1e6, max(values) / 1e6)


def test_without_a_reply_there_are_no_times() -> None:
    found = figures(LoadCounts(), 0, Usage(0, 0, 0), 0, None)
    assert (found["p50_ms"], found["connecting"], found["lateness"], found["messages_per_second"]) == (
        None,
        None,
        None,
        0,
    )
    assert lines(found, None, datagrams=True) == ["0 sent, 0 received, 0 lost, 0 wrong, 0 duplicated, 0 reordered"]
    assert lines(figures(LoadCounts(), 0, Usage(0, 0, 0), 0, 5.0), 5.0, datagrams=False)


def test_the_lines_of_a_summary() -> None:
    said = lines(measured(), None, datagrams=False)
    assert said[0] == "12 sent, 9 received, 1 lost, 1 wrong, 1 abandoned"
    assert said[1] == "4 messages/s, 320 B/s each way"
    assert said[2].startswith("latency min/p50/p90/p99/p99.9/p99.99/max = 1.000/")
    assert (
        said[-1] == "generator: 11111.11 µs of processor time a message; ran 5% of the time, waited for a processor 0%"
    )


def test_a_generator_that_was_the_limit_is_reported_for_a_closed_loop_only() -> None:
    used = Usage(600_000_000, 1_300_000_000, 2_000_000_000)
    said = lines(measured(used=used), None, datagrams=False)[-1]
    expected = "the generator was the limit, not the service: it ran, or waited for a processor, 95% of the time"
    assert said == f"warning: {expected}"
    assert not any(line.startswith("warning") for line in lines(measured(100, used), 100, datagrams=False))
    nothing = figures(LoadCounts(), 0.01, used, 0, None)
    assert not any(line.startswith("warning") for line in lines(nothing, None, datagrams=False)), "it only waited"


def test_the_shares_of_the_generator_belong_to_the_whole_run() -> None:
    """The 2 s of the throughput end with the last message. Then the generator waits for replies that were lost."""
    generator = measured(used=Usage(1_000_000_000, 2_000_000_000, 4_000_000_000))["generator"]
    assert (generator["running_percent"], generator["waiting_percent"]) == (25, 50)


def test_late_and_unsent_messages_of_a_schedule_are_reported() -> None:
    late = Histogram()
    late.record(5_000_000)
    said = lines(measured(100, lateness=late) | {"unsent": 7}, 100, datagrams=False)
    assert any("7 planned messages were not sent" in line for line in said)
    assert any("1% of the messages were sent more than 5.0" in line for line in said)


def test_connections_and_datagrams_have_lines_of_their_own() -> None:
    connecting = Histogram()
    connecting.record(2_000_000)
    said = lines(measured(connecting=connecting, reordered=3), None, datagrams=True)
    assert "connecting min/p50/p99/max = 2.000/2.000/2.000/2.000 ms" in said
    assert said[0].endswith("0 duplicated, 3 reordered, 1 abandoned")


def test_failures_are_listed_by_cause() -> None:
    counts = LoadCounts()
    assert counts.fail("reset", "the first") is True
    assert counts.fail("reset", "the second") is False
    counts.fail("refused", "another")
    counts.reset()
    assert counts.first == {"reset": "the first", "refused": "another"}
    assert "failures: 1 refused, 2 reset" in lines(figures(counts, 1, Usage(0, 0, 0), 0, None), None, datagrams=False)


def test_a_turn_moves_the_latencies_of_a_second() -> None:
    counts = LoadCounts()
    counts.recent.record(7)
    assert counts.turn().total == 1
    assert (counts.turn().total, counts.latencies.total) == (0, 1)


def test_causes_of_errors_of_the_system() -> None:
    found = [cause_of(OSError(number, "")) for number in (111, 104, 32, 110, 90, 101, 0)]
    assert found == ["refused", "reset", "reset", "timed out", "message too large", "ENETUNREACH", "unknown error"]


def test_the_line_of_a_second() -> None:
    times = Histogram()
    second = Second(0.0, 1.0, 0, 0, 0, 0, 0, times)
    assert second_line(second) == "    1 s          0 messages/s        0 B/s"
    for value in (1, 2, 3):
        times.record(value * 1_000_000)
    line = second_line(Second(11.5, 12.0, 3, 3, 2, 5_000, 4_000, times))
    assert line.startswith("   12 s          6 messages/s   10.00 kB/s  p50 2.00")
    assert line.endswith(" ms  2 failed")


def test_byte_rates_have_the_unit_that_fits() -> None:
    assert [byte_rate(size) for size in (0, 999, 1e3, 2.5e6, 3e9)] == [
        *("0 B/s", "999 B/s", "1.00 kB/s", "2.50 MB/s", "3.00 GB/s")
    ]


def test_the_use_of_the_processor_grows() -> None:
    begun = usage()
    for _ in range(100_000):
        pass
    used = usage() - begun
    assert used.running > 0
    assert used.waiting >= 0
    assert used.elapsed > 0

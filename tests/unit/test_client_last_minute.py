"""The display of the last minute: it fits any terminal, and forgets what is older."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from echod.client.histogram import Histogram
from echod.client.plots.last_minute import LastMinute
from echod.client.plots.terminal_plot import NARROWEST, text

results = some.tuples(some.floats(0, 100), some.floats(0, 1000) | some.none())
HOSTILE = "udp://h:7 \x1b[31m\u202e"


def shown(minute, now, columns=80, rows=24):
    return [text(line, colored=False) for line in minute.lines(now, columns, rows)]


def measured(seconds):
    """A minute with a request each second, of which every tenth is lost."""
    minute = LastMinute(HOSTILE)
    for second in range(seconds):
        if second % 10 == 9:
            minute.lost(second)
            minute.notice = f"seq={second} lost: \x1b[31m"
        else:
            minute.received(second, 0.001 * (second + 1))
    return minute


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("rows", [13, 24, 60])
@pytest.mark.parametrize("seconds", [0, 1, 90])
def test_it_fills_the_terminal_and_no_more(columns, rows, seconds):
    lines = shown(measured(seconds), seconds, columns, rows)
    assert rows - 3 <= len(lines) <= max(rows, 17)
    assert max(map(len, lines)) <= columns
    assert all(line.isprintable() for line in lines)


def test_only_the_last_minute_is_drawn_and_its_percentiles_are_named():
    lines = shown(measured(90), 90)
    assert lines[1] == "81 received,  9 lost (10.00%)"
    assert lines[2].startswith("  6 lost ")
    assert "last minute:  min 32 ms  p50 61.1 ms  p90 84.4 ms  max 89 ms" in lines
    assert "since the start:  min 1 ms  p50 45.0 ms  p90 81.0 ms  max 89 ms" in lines
    assert lines[-1] == "seq=89 lost: \\x1b[31m"


def test_after_a_minute_without_replies_the_graph_is_empty():
    lines = shown(measured(10), 100)
    assert "last minute:  no reply" in lines
    assert lines[1] == "9 received,  1 lost (10.00%)"
    assert not re.search("[\u2801-\u28ff×]", "".join(lines))


def test_many_requests_are_merged():
    times = Histogram()
    times.record(2_000_000, 99)
    minute = LastMinute("tcp://h:7")
    minute.merge(5, times, lost=1)
    lines = shown(minute, 6)
    assert lines[1] == "99 received,  1 lost (1.00%)"
    assert "last minute:  min 2 ms  p50 2 ms  p90 2 ms  max 2 ms" in lines


@settings(max_examples=30)
@given(
    some.lists(some.tuples(some.floats(0, 100), some.floats(0, 1000) | some.none()), max_size=30), some.integers(1, 300)
)
def test_any_minute_can_be_drawn(requests, columns):
    minute = LastMinute("udp://h:7")
    for at, seconds in requests:
        if seconds is None:
            minute.lost(at)
        else:
            minute.received(at, seconds)
    assert max(map(len, shown(minute, 100, columns))) <= max(columns, NARROWEST)

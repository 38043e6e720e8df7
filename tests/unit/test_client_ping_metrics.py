"""The metrics of `ping --serve`: counters that outlive a run, and the page that lists them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from prometheus_client import CollectorRegistry, generate_latest

from echod.client.directions import OneWay
from echod.client.loss_pattern import Outage
from echod.client.ping_metrics import BOUNDS, PingCollector, TargetMetrics
from echod.client.ping_output import Silent
from echod.client.probe_ledger import ProbeResult, ReplyClass

PAGE = Path(__file__).parents[2] / "docs/MEASURING.md"
NOTHING = {"sent": 0, "forward": None, "backward": None, "clock": None}
REFLECTED = {
    "sent": 4,
    "forward": {"lost": 2},
    "backward": {"lost": 1},
    "clock": {"offset_ms": -1.5, "uncertainty_ms": 0.25},
}


def target() -> TargetMetrics:
    return TargetMetrics("udp://127.0.0.1:7", 2, Silent())


def received(one: TargetMetrics, seconds: float, kind: ReplyClass = ReplyClass.RECEIVED, **more: Any) -> None:
    one.reply(ProbeResult(kind, 1, 64, seconds, **more), "127.0.0.1:7", connecting=False)


def lost(one: TargetMetrics, count: int) -> None:
    for _ in range(count):
        one.lost(1, "no reply within 5s", "127.0.0.1:7")


def values(one: TargetMetrics, figures: Mapping[str, object]) -> dict[str, float]:
    """Each time series with its labels except those of the target, and its value."""
    registry = CollectorRegistry()
    registry.register(PingCollector([one], lambda: [figures]))
    text = generate_latest(registry).decode()
    own = 'flow="2",target="udp://127.0.0.1:7"'
    series = (line for line in text.splitlines() if not line.startswith("#"))
    assert all(own in line or 'flow="2",' in line for line in text.splitlines() if not line.startswith("#"))
    return {
        re.sub(r'flow="2",|target="[^"]*",?', "", line).rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in series
    }


def test_the_page_lists_every_metric():
    names = {family.name: family.type for family in PingCollector([target()], lambda: [REFLECTED]).collect()}
    listed = re.findall(r"^\| `(echoctl_ping_\w+)` \| (\w+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert dict(listed) == {f"{name}_total" if kind == "counter" else name: kind for name, kind in names.items()}


def test_round_trip_times_are_in_buckets_that_count_all_below_them():
    one = target()
    for seconds in (0.00001, 0.0009, 0.001, 0.0011, 11.0):
        received(one, seconds)
    received(one, 0.5, ReplyClass.REORDERED)
    received(one, 7.0, ReplyClass.LATE)
    found = values(one, NOTHING)
    prefix = "echoctl_ping_rtt_seconds"
    buckets = {f"{bound:g}": found[f'{prefix}_bucket{{le="{bound:g}",}}'] for bound in BOUNDS}
    assert [buckets[bound] for bound in ("1e-05", "0.0005", "0.001", "0.0025", "0.5", "10")] == [1, 1, 3, 4, 5, 5]
    assert found[f"{prefix}_count{{}}"] == found[f'{prefix}_bucket{{le="+Inf",}}'] == 6
    assert round(found[f"{prefix}_sum{{}}"], 5) == 11.50301
    results = ("received", "reordered", "late", "wrong")
    assert [found[f'echoctl_ping_replies_total{{result="{name}",}}'] for name in results] == [5, 1, 1, 0]


def test_three_losses_in_a_row_are_an_outage_and_a_reply_ends_it():
    one = target()
    states = [one.is_up]
    for losses in (0, 2, 3, 1):
        lost(one, losses)
        states.append(one.is_up)
        received(one, 0.1)
        states.append(one.is_up)
    assert states == [False, False, True, True, True, False, True, True, True]
    one.outage(Outage(3, 3, 2.5))
    found = values(one, NOTHING)
    names = ("probes_lost_total", "outages_total", "outage_seconds_total", "up")
    assert [found[f"echoctl_ping_{name}{{}}"] for name in names] == [6, 1, 2.5, 1]


def test_delays_losses_and_clocks_of_a_reflector():
    one = target()
    for _ in range(2):
        received(one, 0.5, one_way=OneWay(0.25, 0.125, 0.0625))
    found = values(one, REFLECTED)
    for name, delay, losses in (("forward", 0.25, 2), ("backward", 0.125, 1)):
        assert found[f'echoctl_ping_delay_seconds_sum{{direction="{name}",}}'] == 2 * delay
        assert found[f'echoctl_ping_delay_seconds_count{{direction="{name}",}}'] == 2
        assert found[f'echoctl_ping_direction_lost_probes{{direction="{name}",}}'] == losses
    assert found['echoctl_ping_delay_seconds_sum{direction="server",}'] == 0.125
    assert found["echoctl_ping_clock_offset_seconds{}"] == -0.0015
    assert found["echoctl_ping_clock_uncertainty_seconds{}"] == 0.00025


def test_counters_outlive_a_run():
    one = target()
    received(one, 0.1)
    one.earlier_sent += 7
    one.failed()
    found = values(one, REFLECTED)
    names = ("probes_sent_total", "failures_total", "up", "rtt_seconds_count")
    assert [found[f"echoctl_ping_{name}{{}}"] for name in names] == [11, 1, 0, 1]


def test_events_are_passed_on():
    output = mock.Mock()
    one = TargetMetrics("url", 1, output)
    received(one, 0.1)
    lost(one, 1)
    one.outage(Outage(1, 3, 1.0))
    one.started("url", "64 bytes", 1.0)
    one.outstanding(3)
    one.summary("url", ["line"], bad=True)
    one.facts({})
    assert [call[0] for call in output.method_calls] == [
        *("reply", "lost", "outage", "started", "outstanding", "summary", "facts")
    ]

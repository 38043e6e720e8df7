"""Every counter in Prometheus' text formats: plain integers, collected when somebody asks.

docs/METRICS.md lists the names; a test holds the page to this file.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from echod.events import Tally
from echod.version import VERSION

WHERE: Final = ("service", "address")
SLICE: Final = 32  #: listeners whose samples of one family are encoded at once: about 0.2 ms
END: Final = b"# EOF\n"  #: the last line of OpenMetrics

COUNTERS: Final[Mapping[str, tuple[str, Callable[[Tally], int]]]] = {
    "echod_connections_accepted": ("Connections that were admitted.", lambda tally: tally.accepted),
    "echod_messages_received": ("Datagrams that came.", lambda tally: tally.datagrams_in),
    "echod_messages_sent": ("Datagrams that were answered.", lambda tally: tally.datagrams_out),
    "echod_received_bytes": ("Payload that came.", lambda tally: tally.bytes_in),
    "echod_sent_bytes": ("Payload that the kernel took.", lambda tally: tally.bytes_out),
    "echod_held_back": ("Connections that were stuck above total-buffer.", lambda tally: tally.held_back),
}
REASONS: Final[Mapping[str, tuple[str, Callable[[Tally], Mapping[Any, int]]]]] = {
    "echod_connections_closed": ("Connections that ended, by why.", lambda tally: tally.closed),
    "echod_refusals": ("Connections and datagrams that got no service, by why.", lambda tally: tally.refused),
}


@dataclass(frozen=True)
class ProcessFigures:
    """What is counted of the daemon as a whole."""

    started: float  #: seconds since 1970
    ready: bool
    lines_lost: int  #: of the log and of what services show
    lines_suppressed: int  #: of one class that came too often
    events_lost: int
    internal_errors: int  #: failures that nobody handled
    unsent: int  #: bytes that wait to be sent to all connections, outboxes included
    missed: int  #: lines that outboxes dropped, because their readers were too slow
    readers_ended: int  #: that stayed behind
    reloads: Mapping[str, int]  #: by verdict, "kept" or "refused"
    last_reload_took: bool  #: whether the last one was not refused


class Figures(Collector):
    """Collects what `tallies` and `process` say at that moment; `tallies` are (service, address, Tally)."""

    def __init__(
        self, tallies: Callable[[], Iterable[tuple[str, str, Tally]]], process: Callable[[], ProcessFigures]
    ) -> None:
        self._tallies = tallies
        self._process = process
        self._system = ProcessCollector(registry=None)

    def collect(self) -> Iterator[Metric]:
        """Every family, in parts of SLICE listeners: the parts of one family follow each other."""
        tallies = list(self._tallies())
        parts = [tallies[at : at + SLICE] for at in range(0, len(tallies), SLICE)] or [[]]
        for name, (text, of) in COUNTERS.items():
            for part in parts:
                family = CounterMetricFamily(name, text, labels=WHERE)
                for service, address, tally in part:
                    family.add_metric((service, address), of(tally))
                yield family
        for name, (text, by_reason) in REASONS.items():
            for part in parts:
                family = CounterMetricFamily(name, text, labels=(*WHERE, "reason"))
                for service, address, tally in part:
                    for reason, count in by_reason(tally).items():
                        family.add_metric((service, address, str(reason)), count)
                yield family
        for part in parts:
            now = GaugeMetricFamily("echod_connections_open", "Connections that are open.", labels=WHERE)
            for service, address, tally in part:
                now.add_metric((service, address), tally.open)
            yield now
        yield from self._of_the_process()
        yield from self._system.collect()

    def _of_the_process(self) -> Iterator[Metric]:
        figures = self._process()
        yield GaugeMetricFamily(
            "echod_start_time_seconds", "When the daemon started, in seconds since 1970.", figures.started
        )
        yield GaugeMetricFamily("echod_ready", "Whether everything is served.", int(figures.ready))
        yield CounterMetricFamily("echod_log_lines_lost", "Lines that could not be written.", figures.lines_lost)
        yield CounterMetricFamily(
            "echod_log_lines_suppressed", "Lines of one class that came too often.", figures.lines_suppressed
        )
        yield CounterMetricFamily("echod_internal_errors", "Failures that nobody handled.", figures.internal_errors)
        yield GaugeMetricFamily("echod_unsent_bytes", "What waits to be sent to all connections.", figures.unsent)
        yield CounterMetricFamily("echod_missed_lines", "Lines that slow readers were not sent.", figures.missed)
        yield CounterMetricFamily("echod_readers_ended", "Readers that stayed behind.", figures.readers_ended)
        yield CounterMetricFamily("echod_events_lost", "Events that could not be told.", figures.events_lost)
        reloads = CounterMetricFamily("echod_reloads", "Reloads of the configuration.", labels=("verdict",))
        for verdict, count in figures.reloads.items():
            reloads.add_metric((verdict,), count)
        yield reloads
        yield GaugeMetricFamily(
            "echod_last_reload_successful", "Whether the last reload was not refused.", int(figures.last_reload_took)
        )
        built = GaugeMetricFamily("echod_build_info", "The version that runs.", labels=("version", "python"))
        built.add_metric((VERSION, platform.python_version()), 1)
        yield built


def exposition(figures: Collector, accept: str) -> tuple[Iterator[bytes], str]:
    """All of it, a piece for each part of a family, and the content type: OpenMetrics if the client accepts it, else
    the text format of Prometheus."""
    encode, content_type = choose_encoder(accept)
    return _encoded(figures, encode), content_type


def _encoded(figures: Collector, encode: Callable[[Any], bytes]) -> Iterator[bytes]:
    name, end = "", b""
    for family in figures.collect():
        text = encode(_Part(family))
        if text.endswith(END):
            text, end = text.removesuffix(END), END
        if family.name == name:  # HELP and TYPE of a family stand once
            text = b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(b"#"))
        name = family.name
        yield text
    yield end


class _Part:
    """A registry of a single part, for an encoder that takes registries only."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        """The part."""
        yield self._family

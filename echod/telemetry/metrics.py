"""The counters in the text formats of Prometheus, collected at each request.

docs/ADMIN.md lists the names. A test compares the page with this file.
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

from echod.events import Counters
from echod.version import VERSION

WHERE: Final = ("service", "address")
SLICE: Final = 32  #: listeners per encoded part of a family: encoding one takes about 0.2 ms
END: Final = b"# EOF\n"  #: the last line of OpenMetrics

COUNTERS: Final[Mapping[str, tuple[str, Callable[[Counters], int]]]] = {
    "echod_connections_accepted": ("Connections that were admitted.", lambda counters: counters.accepted),
    "echod_messages_received": ("Datagrams received.", lambda counters: counters.datagrams_in),
    "echod_messages_sent": ("Datagrams replied to.", lambda counters: counters.datagrams_out),
    "echod_received_bytes": ("Payload received.", lambda counters: counters.bytes_in),
    "echod_sent_bytes": ("Payload that the kernel accepted for sending.", lambda counters: counters.bytes_out),
    "echod_held_back": (
        "Connections that blocked while total-buffer was exceeded.",
        lambda counters: counters.held_back,
    ),
}
REASONS: Final[Mapping[str, tuple[str, Callable[[Counters], Mapping[Any, int]]]]] = {
    "echod_connections_closed": ("Connections that ended, by reason.", lambda counters: counters.closed),
    "echod_refusals": ("Connections and datagrams that were refused, by reason.", lambda counters: counters.refused),
}


@dataclass(frozen=True)
class ProcessMetrics:
    """The counters and gauges of the daemon as a whole."""

    started: float  #: seconds since 1970
    ready: bool
    lines_lost: int  #: lines of the log and of services that could not be written
    lines_suppressed: int  #: lines that the rate limit of their class suppressed
    events_lost: int
    internal_errors: int  #: unhandled exceptions
    unsent: int  #: bytes of pending output of all connections, including outboxes
    missed: int  #: lines that outboxes dropped because their readers were slow
    readers_ended: int  #: readers that were disconnected because they were too slow
    reloads: Mapping[str, int]  #: by verdict, "kept" or "refused"
    last_reload_took: bool  #: whether the last one was not refused
    workers: int = 0  #: worker processes that serve; 0 without workers
    workers_ended: int = 0  #: worker processes that were killed, or that failed
    bus: Mapping[str, Any] | None = None  #: the status of the bus; None without one


class MetricsCollector(Collector):
    """Collects the values of `all_counters`, `process` and `expiries` at each scrape.

    `all_counters` are (service, address, Counters). `expiries` are (service, file, name, seconds since 1970) of each
    certificate.
    """

    def __init__(
        self,
        all_counters: Callable[[], Iterable[tuple[str, str, Counters]]],
        process: Callable[[], ProcessMetrics],
        expiries: Callable[[], Iterable[tuple[str, str, str, float]]] = tuple,
    ) -> None:
        self._all_counters = all_counters
        self._process = process
        self._expiries = expiries
        self._system = ProcessCollector(registry=None)

    def collect(self) -> Iterator[Metric]:
        """Every family, in parts of SLICE listeners: the parts of one family follow each other."""
        all_counters = list(self._all_counters())
        parts = [all_counters[at : at + SLICE] for at in range(0, len(all_counters), SLICE)] or [[]]
        for name, (text, of) in COUNTERS.items():
            for part in parts:
                family = CounterMetricFamily(name, text, labels=WHERE)
                for service, address, counters in part:
                    family.add_metric((service, address), of(counters))
                yield family
        for name, (text, by_reason) in REASONS.items():
            for part in parts:
                family = CounterMetricFamily(name, text, labels=(*WHERE, "reason"))
                for service, address, counters in part:
                    for reason, count in by_reason(counters).items():
                        family.add_metric((service, address, str(reason)), count)
                yield family
        for part in parts:
            family = CounterMetricFamily("echod_faults", "Injected faults, by key.", labels=(*WHERE, "fault"))
            for service, address, counters in part:
                for fault, count in counters.faults.items():
                    family.add_metric((service, address, fault), count)
            yield family
        for part in parts:
            now = GaugeMetricFamily("echod_connections_open", "Connections that are open.", labels=WHERE)
            for service, address, counters in part:
                now.add_metric((service, address), counters.open)
            yield now
        expiries = list(self._expiries())
        for at in range(0, len(expiries) or 1, SLICE):
            ends = GaugeMetricFamily(
                "echod_certificate_expiry_timestamp_seconds",
                "When a served certificate expires, in seconds since 1970.",
                labels=("service", "source", "name"),
            )
            for service, source, name, until in expiries[at : at + SLICE]:
                ends.add_metric((service, source, name), until)
            yield ends
        yield from self._of_the_process()
        yield from self._system.collect()

    def _of_the_process(self) -> Iterator[Metric]:
        figures = self._process()
        yield GaugeMetricFamily(
            "echod_start_time_seconds", "When the daemon started, in seconds since 1970.", figures.started
        )
        yield GaugeMetricFamily("echod_ready", "1 if all listeners are served, else 0.", int(figures.ready))
        yield CounterMetricFamily("echod_log_lines_lost", "Lines that could not be written.", figures.lines_lost)
        yield CounterMetricFamily(
            "echod_log_lines_suppressed", "Lines that a rate limit suppressed.", figures.lines_suppressed
        )
        yield CounterMetricFamily("echod_internal_errors", "Unhandled exceptions.", figures.internal_errors)
        yield GaugeMetricFamily("echod_unsent_bytes", "Pending output of all connections.", figures.unsent)
        yield CounterMetricFamily("echod_missed_lines", "Lines dropped for slow readers.", figures.missed)
        yield CounterMetricFamily("echod_readers_ended", "Readers disconnected for being slow.", figures.readers_ended)
        yield CounterMetricFamily("echod_events_lost", "Events that could not be delivered.", figures.events_lost)
        yield GaugeMetricFamily("echod_workers", "Worker processes that serve; 0 with one process.", figures.workers)
        yield CounterMetricFamily(
            "echod_workers_ended", "Worker processes that ended unexpectedly.", figures.workers_ended
        )
        if figures.bus is not None:
            yield from _of_the_bus(figures.bus)
        reloads = CounterMetricFamily("echod_reloads", "Reloads of the configuration.", labels=("verdict",))
        for verdict, count in figures.reloads.items():
            reloads.add_metric((verdict,), count)
        yield reloads
        yield GaugeMetricFamily(
            "echod_last_reload_successful", "1 if the last reload was applied, else 0.", int(figures.last_reload_took)
        )
        built = GaugeMetricFamily("echod_build_info", "The running version.", labels=("version", "python"))
        built.add_metric((VERSION, platform.python_version()), 1)
        yield built


def _of_the_bus(bus: Mapping[str, Any]) -> Iterator[Metric]:
    yield GaugeMetricFamily("echod_bus_connected", "1 if the bus is connected, else 0.", int(bus["connected"]))
    yield CounterMetricFamily("echod_bus_outages", "Connections to the bus that were lost.", bus["outages"])
    yield CounterMetricFamily("echod_bus_messages_sent", "Messages sent to the bus.", bus["sent"])
    yield CounterMetricFamily("echod_bus_messages_received", "Messages received from the bus.", bus["received"])
    yield CounterMetricFamily(
        "echod_bus_messages_unconfirmed", "Messages that the bus did not return.", bus["unconfirmed"]
    )


def exposition(figures: Collector, accept: str) -> tuple[Iterator[bytes], str]:
    """The encoded metrics, in one piece for each part of a family, and their content type.

    The format is OpenMetrics if the client accepts it, else the text format of Prometheus.
    """
    encode, content_type = choose_encoder(accept)
    return _encoded(figures, encode), content_type


def _encoded(figures: Collector, encode: Callable[[Any], bytes]) -> Iterator[bytes]:
    name, end = "", b""
    for family in figures.collect():
        text = encode(_Part(family))
        if text.endswith(END):
            text, end = text.removesuffix(END), END
        if family.name == name:  # HELP and TYPE of a family appear once
            text = b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(b"#"))
        name = family.name
        yield text
    yield end


class _Part:
    """A registry of a single part, for an encoder that accepts only registries."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        """The part."""
        yield self._family

"""Rates of listeners, services and connections, from two answers of the daemon. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

KEPT: Final = 60  #: samples of the history that a sparkline shows
BARS: Final = "▁▂▃▄▅▆▇█"

Identity = tuple[str, ...]  # the names of a row: service and address; service; or service, address and peer
Figures = Mapping[str, int]

COUNTED: Final = ("new", "datagrams", "in", "out", "refused")
"""The figures of a listener or a service that only grow. `open` is a number, and has no rate."""
ORDERS: Final = ("busy", "name", "open", *COUNTED)
"""The orders of listeners and services. `busy` is received bytes and refusals."""
CONNECTION_ORDERS: Final = ("bytes", "in", "out", "unsent")
"""The orders of connections: the daemon chooses the largest ones."""


@dataclass(frozen=True)
class Row:
    """A listener, a service or a connection with its figures, its rates, and the history of its traffic."""

    identity: Identity
    figures: Figures
    a_second: Mapping[str, float]
    history: Sequence[float] = ()  #: received and sent bytes a second, the newest last


def listeners(status: Mapping[str, Any]) -> dict[Identity, Figures]:
    """The counters and open connections of each listener, by service and address."""
    return {
        (service["name"], one["address"]): {
            "open": one["open"],
            "new": one["accepted"],
            "datagrams": one["datagrams_in"],
            "in": one["bytes_in"],
            "out": one["bytes_out"],
            "refused": sum(one["refused"].values()),
        }
        for service in status["services"]
        for one in service["listeners"]
    }


def services(status: Mapping[str, Any]) -> dict[Identity, Figures]:
    """The same for each service: the sums of its listeners."""
    sums: dict[Identity, dict[str, int]] = {}
    for (name, _), figures in listeners(status).items():
        known = sums.setdefault((name,), dict.fromkeys(figures, 0))
        for key, value in figures.items():
            known[key] += value
    return dict(sums)


def connections(listed: Iterable[Mapping[str, Any]]) -> dict[Identity, Figures]:
    """The bytes of each connection, by service, address and peer. Unix clients without a name have a number."""
    found: dict[Identity, Figures] = {}
    for one in listed:
        identity = (str(one["service"]), str(one["address"]), str(one["peer"]))
        again = 2
        while identity in found:
            identity = (*identity[:2], f"{one['peer']} #{again}")
            again += 1
        found[identity] = {"in": one["bytes_in"], "out": one["bytes_out"], "unsent": one["unsent"]}
    return found


class Rates:
    """The rates between an answer and the one before it, with the history of each row."""

    def __init__(self) -> None:
        self._before: Mapping[Identity, Figures] = {}
        self._then: float | None = None
        self._history: dict[Identity, deque[float]] = {}

    def rows(self, after: Mapping[Identity, Figures], now: float) -> list[Row]:
        """A row for each of `after`, in its order; `now` is in seconds. A new row has no rate yet."""
        seconds = 0.0 if self._then is None else max(now - self._then, 1e-3)
        rows = [self._row(identity, figures, seconds) for identity, figures in after.items()]
        self._history = {row.identity: self._history[row.identity] for row in rows}
        self._before, self._then = after, now
        return rows

    def _row(self, identity: Identity, figures: Figures, seconds: float) -> Row:
        was = self._before.get(identity, figures)
        a_second = {key: max(figures[key] - was[key], 0) / seconds if seconds else 0.0 for key in figures}
        history = self._history.setdefault(identity, deque(maxlen=KEPT))
        if seconds:
            history.append(a_second["in"] + a_second["out"])
        return Row(identity, figures, a_second, tuple(history))


def ordered(rows: Iterable[Row], order: str, *, backwards: bool = False) -> list[Row]:
    """Listeners or services in one of ORDERS: the largest first, or names from A to Z; `backwards` reverses it."""

    def key(row: Row) -> tuple[Any, ...]:
        if order == "name":
            return row.identity
        if order == "open":
            return -row.figures["open"], *row.identity
        if order == "busy":
            return -(row.a_second["in"] + row.a_second["refused"]), *row.identity
        return -row.a_second[order], -row.figures[order], *row.identity

    return sorted(rows, key=key, reverse=backwards)


def sparkline(values: Sequence[float], width: int) -> str:
    """The last `width` values as bars of up to eight heights, the largest of them the highest."""
    shown = values[-width:] if width > 0 else ()
    highest = max(shown, default=0.0)
    return "".join(_bars(shown, highest))


def _bars(values: Iterable[float], highest: float) -> Iterator[str]:
    for value in values:
        yield BARS[min(int(value / highest * len(BARS)), len(BARS) - 1)] if highest > 0 else BARS[0]


def total(rows: Iterable[Row]) -> Row:
    """The sum of the rows, with the sum of their histories."""
    figures: dict[str, int] = {}
    a_second: dict[str, float] = {}
    history = [0.0] * KEPT
    longest = 0
    for row in rows:
        for key, value in row.figures.items():
            figures[key] = figures.get(key, 0) + value
            a_second[key] = a_second.get(key, 0.0) + row.a_second[key]
        longest = max(longest, len(row.history))
        for at, rate in enumerate(reversed(row.history), 1):
            history[-at] += rate
    return Row((), figures, a_second, tuple(history[KEPT - longest :]))

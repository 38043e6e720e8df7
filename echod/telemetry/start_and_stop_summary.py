"""Summaries for operators: one line for each service at the start, and one sentence at the end.

The first is used at a terminal, the second also in the journal. Programs read `log-format = "json"`, a text log in a
file, or the fields of the journal, which have all counters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from echod.escaping import counted


class Opened:
    """Collects the addresses opened at the start, for one line for each service."""

    def __init__(self) -> None:
        self._addresses: dict[str, list[str]] | None = {}  # by service, until the daemon is ready

    def lines(self, name: str, fields: Mapping[str, Any]) -> Iterable[str] | None:
        """The lines to write instead of the line of an event; None for the line of the event itself."""
        if name == "listener.opened" and self._addresses is not None:
            self._addresses.setdefault(str(fields["service"]), []).append(str(fields["address"]))
            return ()
        if name == "daemon.ready":
            addresses, self._addresses = self._addresses or {}, None
            ready = f"ready: {counted(fields['listeners'], 'listener', 'listeners')}"
            return [*(f"{service}  {'  '.join(addresses)}" for service, addresses in addresses.items()), ready]
        return None


def stopped(counters: Mapping[str, Mapping[str, int]]) -> str:
    """The totals as one sentence, from the counters of each service and address and of the daemon."""
    total: dict[str, int] = {}
    for of_one in counters.values():
        for name, count in of_one.items():
            total[name.partition(":")[0]] = total.get(name.partition(":")[0], 0) + count
    parts = [
        counted(total.get("accepted", 0), "connection", "connections"),
        counted(total.get("datagrams_in", 0), "datagram", "datagrams"),
        f"{counted(total.get('bytes_in', 0), 'byte', 'bytes')} received",
        f"{total.get('bytes_out', 0)} sent",
    ]
    for name, words in (("refused", "refused"), ("internal_errors", "internal errors")):
        if total.get(name):
            parts.append(f"{total[name]} {words}")
    return f"stopped: {', '.join(parts)}"

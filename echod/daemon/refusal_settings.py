"""Which key of the configuration would change a refusal, for the status of the daemon."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from echod.config.printing import Origins, setting
from echod.config.schema_check import DEFAULT
from echod.config.settings import ServiceConfig
from echod.gate.refusal import Refusal

KEYS: Final[Mapping[Refusal, str]] = MappingProxyType(
    {
        Refusal.DENIED: "allow",
        Refusal.PROXY: "proxy-from",
        Refusal.HEADER: "listen",
        Refusal.CONNECTIONS: "limits.connections",
        Refusal.PER_CLIENT: "limits.per-client",
        Refusal.NEW_PER_CLIENT: "limits.new-per-client",
        Refusal.SOURCE_PORT: "allow-source-ports",
        Refusal.RATE: "limits.rate",
        Refusal.BYTES: "limits.rate",
        Refusal.TOTAL: "limits.rate",
        Refusal.LARGER: "larger-answers-to",
        Refusal.CHALLENGED: "larger-answers-to",
        Refusal.CONSENT: "larger-answers-to",
        Refusal.OUTPUT: "larger-answers-to",
    }
)
"""The key of a service for each reason. The others are properties of the datagram or of the machine."""


def settings_of(service: ServiceConfig, reasons: Iterable[Refusal], origins: Origins) -> dict[str, dict[str, str]]:
    """The setting that causes each of these reasons, if there is one: its table, its line, and its origin.

    Of a denied host it is `allow`, with `deny` on a second line if that has a network: either may have decided.
    """
    found = {}
    for reason in reasons:
        if reason in KEYS:
            keys = [KEYS[reason]] + ["deny"] * (reason is Refusal.DENIED and bool(service.deny))
            tables, lines, files = zip(*(setting(service, key, origins) for key in keys), strict=True)
            named = [file for file in dict.fromkeys(files) if file != str(DEFAULT)] or [str(DEFAULT)]
            found[str(reason)] = {"table": tables[0], "line": "\n".join(lines), "origin": ", ".join(named)}
    return found

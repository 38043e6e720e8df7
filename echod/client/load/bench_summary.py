"""The summary object of a bench: the head, the parameters, the figures, the histogram and the seconds. Pure."""

from __future__ import annotations

import argparse
from typing import Any, Final

from echod.client.load.slices import Slices
from echod.client.summary_head import given_options, head, histogram_figures

PROGRAM: Final = "echoctl bench"
OPTIONS: Final = ("proxy", "insecure", "server_name")
"""The options that a summary names. Those with keys of their own, and what a peer must not learn, are left out."""


def summary(
    arguments: argparse.Namespace,
    found: dict[str, Any],
    slices: Slices,
    *,
    kind: str | None,
    remote: str | None,
    started: float,
    seconds: float,
    error: str | None,
) -> dict[str, Any]:
    """The object. `found` are the figures, `kind` is that of the service, `remote` its address if it was reached.

    `started` is in seconds since 1970. `seconds` is the time of measuring. `error` ended the load early.
    """
    options = given_options(arguments, OPTIONS)
    opening = head(PROGRAM, str(arguments.url), remote, started, seconds, options, error)
    parameters = {
        "service": kind,
        "connections": arguments.connections,
        "depth": arguments.depth,
        "sizes": list(arguments.size),
        "rate": arguments.rate,
        "count": arguments.count,
        "time_ms": None if arguments.time is None else round(arguments.time * 1000, 3),
        "warm_up_ms": round(arguments.warm_up * 1000, 3),
        "timeout_ms": round(arguments.timeout * 1000, 3),
        "connect": arguments.connect,
    }
    latencies = histogram_figures(slices.counts.latencies)
    return opening | parameters | found | {"histogram": latencies, "series": slices.series.figures()}

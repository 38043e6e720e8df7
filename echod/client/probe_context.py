"""The context that all probes of one command share: its arguments, the clock, and the callbacks for results."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from echod.address import Address
from echod.client.client_connection import Failed
from echod.client.probe_ledger import ProbeLedger, ProbeResult


@dataclass(frozen=True)
class ProbeContext:
    """The environment of the probes of one command, and its callbacks."""

    reactor: Any
    arguments: argparse.Namespace
    account: ProbeLedger
    clock: Callable[[], float]
    opened: Callable[[], None]  #: probes can start
    on_result: Callable[[ProbeResult], None]  #: a probe got a reply
    over: Callable[[Failed | None], None]  #: all probes end, with an error or because the peer closed the connection
    refused: Callable[[int | None, OSError], None]
    """A probe got a temporary error: its number, or None if it is unknown. The next probe may succeed."""

    @property
    def address(self) -> Address:
        """The address that is probed."""
        address: Address = self.arguments.url
        return address

"""Connections as probes: which errors end a ping."""

from __future__ import annotations

import argparse
import errno
import os
import socket
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock

from echod.address import parse
from echod.client.client_connection import Failed
from echod.client.connect_attempt import HandshakeFailed
from echod.client.connect_probe import Connections
from echod.client.probe_context import ProbeContext
from echod.client.probe_ledger import ProbeLedger, ProbeResult


class Run:
    """The probes to one address, and what they report."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.ledger = ProbeLedger(1.0)
        self.results: list[ProbeResult] = []
        self.ends: list[Failed | None] = []
        self.refused: list[tuple[int | None, str]] = []
        arguments = argparse.Namespace(url=parse("tcp://127.0.0.1:7", client=True), ip=None)
        self.probes = Connections(
            ProbeContext(
                self.clock,
                arguments,
                self.ledger,
                self.clock.seconds,
                lambda: None,
                self.results.append,
                self.ends.append,
                lambda number, error: self.refused.append((number, str(error))),
            )
        )

    def connect(self) -> None:
        attempt: Any = SimpleNamespace(target=(socket.AF_INET, ("127.0.0.1", 7)), began=0.0, connected_at=None)
        self.probes.won(self.ledger.send(0.0), attempt)

    def fail(self, error: OSError) -> None:
        self.probes.lost(self.ledger.send(0.0), error)


def test_a_failed_handshake_ends_the_ping_only_before_the_first_connection():
    run = Run()
    run.fail(HandshakeFailed("the server closed the connection within the handshake"))
    closed = "the server closed the connection within the handshake"
    assert [str(end) for end in run.ends] == [f"tcp://127.0.0.1:7: {closed}"]
    run = Run()
    run.connect()
    run.fail(HandshakeFailed(closed))
    assert (run.ends, run.refused) == ([], [(2, closed)])


def test_an_error_of_the_system_ends_the_ping_only_before_the_first_connection():
    run = Run()
    run.fail(PermissionError(errno.EPERM, os.strerror(errno.EPERM)))
    assert [str(end) for end in run.ends] == ["tcp://127.0.0.1:7: operation not permitted (EPERM)"]
    run = Run()
    run.connect()
    run.fail(PermissionError(errno.EPERM, os.strerror(errno.EPERM)))
    assert (run.ends, [number for number, _ in run.refused]) == ([], [2])


def test_a_probe_without_an_answer_is_left_to_the_timeout():
    run = Run()
    run.fail(TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))
    run.connect()
    run.fail(TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))
    assert (run.ends, run.refused) == ([], [])

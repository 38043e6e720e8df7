"""A reactor that a test turns by hand, and a daemon's hub and processes on it, connected by real sockets."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock

from echod.bus.local_bus import LocalBus
from echod.bus.local_hub import LocalHub
from echod.gate.work_budget import WorkBudget
from echod.model import Context
from echod.services.replicated_membership import Memberships, ReplicatedMembership


class HandTurnedReactor(Clock):
    """A Clock that also reads and writes descriptors, when `settle` is called."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: dict[Any, None] = {}
        self.writers: dict[Any, None] = {}
        self.stopped: set[Any] = set()  # descriptors that are not served: those of a process that does not run

    def addReader(self, reader: Any) -> None:
        self.readers[reader] = None

    def removeReader(self, reader: Any) -> None:
        self.readers.pop(reader, None)

    def addWriter(self, writer: Any) -> None:
        self.writers[writer] = None

    def removeWriter(self, writer: Any) -> None:
        self.writers.pop(writer, None)

    def settle(self, until: Callable[[], bool] = lambda: False) -> None:
        """Serve all descriptors and the calls that are due, until nothing is left to do, or `until` is true."""
        for _ in range(100_000):
            readers = [one for one in self.readers if one not in self.stopped]
            writers = [one for one in self.writers if one not in self.stopped]
            readable, writable, _none = select.select(readers, writers, [], 0)
            due = any(call.getTime() <= self.seconds() for call in self.getDelayedCalls())
            if until() or not (readable or writable or due):
                return
            for one in writable:
                if one in self.writers:
                    one.doWrite()
            for one in readable:
                if one in self.readers:
                    one.doRead()
            self.advance(0)
        raise AssertionError("it does not come to rest")


class Processes:
    """A hub, and the buses of processes. The first one is the parent's."""

    def __init__(self, number: int = 2, **limits: Any) -> None:
        self.reactor = HandTurnedReactor()
        self.limits = limits
        self.hub = LocalHub(self.reactor, **limits)
        self.started: list[LocalBus] = []
        self.buses = [self.start() for _ in range(number)]
        self.reactor.settle()

    def start(self) -> LocalBus:
        bus = LocalBus(self.reactor, WorkBudget(self.reactor.callLater), **self.limits)
        self.connect(bus)
        self.started.append(bus)
        return bus

    def connect(self, bus: LocalBus) -> None:
        """With a bound, the buffers of the kernel are small as well: it takes 4 KiB at least."""
        theirs = self.hub.connect()
        bus.connect(theirs)
        if "bound" in self.limits:
            newest = max(self.hub._nodes, key=lambda node: node.number)
            for end in (theirs, newest.socket._socket):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)

    def close(self) -> None:
        self.hub.close()
        for bus in self.started:
            bus.close()

    def settle(self) -> None:
        self.reactor.settle()

    def kill(self, bus: LocalBus) -> None:
        bus.close()
        self.settle()

    def stop(self, bus: LocalBus) -> None:
        """The process does not run from now on."""
        self.reactor.stopped.add(bus._socket)

    def go_on(self, bus: LocalBus) -> None:
        self.reactor.stopped.discard(bus._socket)
        self.settle()

    def context(self, **fields: Any) -> Context:
        reactor = self.reactor
        return Context(
            clock=reactor.seconds,
            wall_clock=reactor.seconds,
            later=reactor.callLater,
            work=WorkBudget(reactor.callLater),
            **fields,
        )

    def membership(self, bus: LocalBus, **fields: Any) -> ReplicatedMembership:
        return Memberships(bus).of("chat", self.context(**fields))


def alone(context: Context) -> ReplicatedMembership:
    """The membership of a process without a hub: all results are there when a method returns, as in LocalMembership."""
    return ReplicatedMembership(LocalBus(None, WorkBudget()), "service", context)

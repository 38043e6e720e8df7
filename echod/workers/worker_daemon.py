"""The daemon of a worker: serves what the parent assigns, reports to it, and ends with it."""

from __future__ import annotations

import os
import signal
import socket
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from math import ceil
from typing import Any, Final

from twisted.internet.task import Cooperator, LoopingCall
from twisted.logger import globalLogBeginner

from echod.bus.local_bus import LocalBus
from echod.daemon.assembly import Replacement
from echod.daemon.bind import specs_of
from echod.daemon.config_diff import ConfigurationRefused
from echod.daemon.daemon import Daemon
from echod.daemon.daemon_figures import flush_counters_in_steps, process_figures
from echod.daemon.landlock import forbid_execution
from echod.daemon.running_service import ResourceRefused, UnusableService
from echod.services.replicated_membership import Memberships
from echod.shared_memory.memory import SharedMemory
from echod.shared_memory.state import PUBLISH_EVERY, SharedMemoryState
from echod.workers.assignment import PassedSockets
from echod.workers.control_channel import open_channel
from echod.workers.forwarded_log import ForwardedLog, ForwardedOutput

EVERY: Final = 1.0  #: seconds between two messages that show that the process is alive
GRACE: Final = 10  #: seconds that it may take beyond `drain` when the parent has ended
EX_SOFTWARE: Final = 70  #: sysexits(3)
AT_ONCE: Final = 32  #: connections that are described in one step


class WorkerDaemon:
    """Connects a Daemon to the parent over `connected`."""

    def __init__(self, reactor: Any, connected: socket.socket) -> None:
        self._reactor = reactor
        self._channel = open_channel(reactor, connected, self._received, self._parent_ended)
        self._sockets = PassedSockets()
        self._daemon: Daemon | None = None
        self._replacement: Replacement | None = None
        self._beat = LoopingCall(self._report)
        self._publication = LoopingCall(self._publish)
        self._beat.clock = self._publication.clock = reactor
        self._state: SharedMemoryState | None = None
        self._bus = LocalBus(reactor, change=self._change_unsent)
        self._stopping = False
        self._ended = False
        self._cooperator = Cooperator(scheduler=lambda call: reactor.callLater(0, call))

    def begin(self) -> None:
        """Tell the parent that this process can get an assignment."""
        self._channel.send("ready")
        self._beat.start(EVERY, now=False)

    def _received(self, name: str, fields: Mapping[str, Any], data: bytes, descriptors: list[int]) -> None:
        try:
            self._obey(name, fields, data, descriptors)
        except Exception:  # a bug: another process must take the place of this one, which may serve only in part
            traceback.print_exc()
            os._exit(EX_SOFTWARE)

    def _obey(self, name: str, fields: Mapping[str, Any], data: bytes, descriptors: list[int]) -> None:
        match name:
            case "serve":
                self._serve(fields, data, descriptors)
            case "prepare":
                self._prepare(data, descriptors)
            case "commit":
                self._commit()
            case "cancel":
                self._cancel()
            case "collect":
                self._collect(fields["number"], fields["connections"], fields["order"])
            case "watch":
                self._watch_connections(fields["on"])
            case "drain":
                self._drain()
            case "abandon":
                if self._daemon is not None:
                    self._daemon.abandon()

    def _serve(self, fields: Mapping[str, Any], data: bytes, descriptors: list[int]) -> None:
        memory, bus, *sockets = descriptors
        self._memory, self._column = SharedMemory(memory), int(fields["column"])
        self._bus.connect(socket.socket(fileno=bus))
        assignment = self._sockets.unpack(data, sockets)
        configuration = assignment.configuration
        lines = ForwardedOutput(self._channel, "line", terminal=False)
        shown = ForwardedOutput(self._channel, "shown", terminal=fields["terminal"])
        log = ForwardedLog(lines, configuration.daemon.log_level, self._reactor.callLater)
        globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False, discardBuffer=True)
        bound = self._sockets.bind(specs_of(configuration.services), {}, ())
        try:
            self._daemon = Daemon(
                configuration, bound, self._reactor, log, shown, self._sockets.bind, make_state=self._make_state
            )
        except (ResourceRefused, UnusableService) as error:
            self._channel.send("failed", {"error": str(error)})
            self._end()
            return
        if configuration.daemon.landlock:
            with suppress(OSError):  # not available: the parent has logged it
                forbid_execution()
        self._daemon.startService()
        self._publication.start(PUBLISH_EVERY)
        self._channel.send("serving")

    def _watch_connections(self, on: bool) -> None:
        daemon = self._daemon
        if daemon is not None and isinstance(daemon.log, ForwardedLog):
            daemon.log.watched = on
            daemon.view.watch_connections(on)

    def _make_state(self, clock: Callable[[], float], tell: Callable[..., Any]) -> SharedMemoryState:
        self._state = SharedMemoryState(
            clock,
            tell,
            memory=self._memory,
            column=self._column,
            membership=Memberships(self._bus).of,
        )
        return self._state

    def _change_unsent(self, by: int) -> None:
        if self._state is not None:
            self._state.send_budget.change(by)

    def _publish(self) -> None:
        if self._state is not None:
            self._state.publish()

    def _prepare(self, data: bytes, descriptors: list[int]) -> None:
        daemon = self._daemon
        if daemon is None:
            return
        self._channel.send_now("preparing")
        try:
            configuration = self._sockets.unpack(data, descriptors).configuration
            self._replacement = daemon.prepare(configuration)
        except ConfigurationRefused as error:
            self._channel.send("refused", {"errors": list(error.lines), "code": error.code})
        except Exception as error:  # a bug; this process continues with the old configuration
            traceback.print_exc()
            self._channel.send("refused", {"errors": [f"{type(error).__name__}: {error}"], "code": EX_SOFTWARE})
        else:
            self._channel.send("prepared")

    def _commit(self) -> None:
        if self._daemon is not None and self._replacement is not None:
            self._daemon.apply(self._replacement)
            self._replacement = None

    def _cancel(self) -> None:
        if self._replacement is not None:
            self._replacement.undo()
            self._replacement = None

    def _collect(self, number: int, most: int, order: str) -> None:
        daemon = self._daemon
        if daemon is None:
            return
        found: list[dict[str, Any]] = []

        def steps() -> Iterator[None]:
            yield from flush_counters_in_steps(daemon)
            described = daemon.view.connections(most, order)
            while some := list(islice(described, AT_ONCE)):
                found.extend(one for one in some if one is not None)
                yield None

        def done(_: object) -> None:
            self._report(number=number, listed=found)

        self._cooperator.cooperate(steps()).whenDone().addBoth(done)

    def _report(self, **more: Any) -> None:
        daemon = self._daemon
        if daemon is None:
            self._channel.send("alive", more)
            return
        if self._channel.congested and not more:
            return
        self._publish()
        connections = sum(counters.open for counters in daemon.shared.all_counters.values())
        figures = {"connections": connections, **process_figures(daemon)}
        self._channel.send("report", {"figures": figures, **more})

    def _drain(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        if self._daemon is None:
            self._end()
        else:
            self._daemon.stopService().addBoth(lambda _: self._end())

    def _parent_ended(self) -> None:
        """The parent has ended, or has closed the channel because this process is not needed."""
        if self._ended:
            self._reactor.stop()
            return
        drain = self._daemon.configuration.daemon.drain if self._daemon is not None else 0.0
        signal.alarm(ceil(drain) + GRACE)  # it ends in any case, by SIGALRM: no parent is left that would kill it
        self._drain()

    def _end(self) -> None:
        """Send the last counters, and end."""
        self._ended = True
        for call in (self._beat, self._publication):
            if call.running:
                call.stop()
        self._report(last=True)
        self._channel.close()
        if not self._channel.is_open:
            self._reactor.stop()

"""The parent's side of all workers: starts them, replaces them, and carries out reload, drain and stop on them.

The parent reads no byte of a client. A spare process is kept that has imported everything, so that a worker which ended
is replaced within milliseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall

from echod.admin.access_control import AdminService
from echod.bus.local_bus import LocalBus
from echod.bus.local_hub import LocalHub
from echod.config.settings import Configuration
from echod.daemon.bind import BoundSocket
from echod.daemon.config_diff import ConfigurationRefused
from echod.daemon.privileges import Identity
from echod.services.replicated_membership import Memberships
from echod.shared_memory.memory import PARENT
from echod.shared_memory.state import SharedMemoryState
from echod.telemetry.log import LEVELS
from echod.workers.assignment import packed
from echod.workers.backoff import FIRST, Backoff
from echod.workers.forwarded_log import publish
from echod.workers.held_sockets import HeldSockets
from echod.workers.worker import Worker, check_programs, shared_memory, start_error

CHECKED: Final = 0.5  #: seconds between two checks for workers that do not respond
ANSWERED: Final = 2.0  #: seconds to wait for the figures of a worker; a hung one does not stop the admin interface
AGAIN: Final = 0.05  #: seconds until a change is tried again, if another one is being prepared
KILLED_AFTER: Final = 1.0  #: seconds between `abandon` and the kill of what is left
GAUGES: Final = ("connections", "plane", "native")  #: figures that end with their worker; the others only grow


class Supervisor:
    """A WorkerPool of `count` workers. `hub` orders the messages of their rooms and queues.

    Raises ConfigurationRefused if `identity`, the user that will serve, cannot start workers, or without memory.
    """

    def __init__(self, reactor: Any, count: int, hub: LocalHub | None = None, identity: Identity | None = None) -> None:
        check_programs(identity)
        self._reactor = reactor
        self._count = count
        self._memory = shared_memory(count)
        self._state: SharedMemoryState | None = None
        self._hub = hub or LocalHub(reactor)
        self._bus = LocalBus(reactor)
        self._workers: list[Worker] = []
        self._sockets = HeldSockets(count)
        self._backoff = Backoff()
        self._resting = False  # a replacement waits for the back-off
        self._daemon: Any = None
        self._ready: Callable[[], None] | None = None
        self._stopped: Deferred[None] | None = None
        self._preparing: Deferred[None] | None = None
        self._refusal: ConfigurationRefused | None = None
        self._past: Counter[str] = Counter()  # the figures of workers that have ended
        self._collections: dict[int, tuple[Deferred[None], Any]] = {}
        self._number = 0
        self._watched = False  # whether event streams show events of connections
        self._check = LoopingCall(self._check_all)
        self._check.clock = reactor

    def make_state(self, clock: Callable[[], float], tell: Callable[..., Any]) -> SharedMemoryState:
        """The state of the parent."""
        self._state = SharedMemoryState(
            clock, tell, memory=self._memory, column=PARENT, membership=Memberships(self._bus).of
        )
        self._hub.change = self._bus.change = self._state.send_budget.change
        self._hub.miss = self._state.send_budget.miss
        self._bus.connect(self._hub.connect())
        return self._state

    def hold(self, bound: Iterable[BoundSocket]) -> list[str]:
        """Hold these sockets for the workers; returns warnings.

        Call it before root privileges are dropped: all sockets of a UDP address must be of one user.
        """
        return list(self._sockets.add(one for one in bound if one.service.kind is not AdminService))

    # WorkerPool

    @property
    def connections(self) -> int:
        """As WorkerPool."""
        return sum(service.connections.open_elsewhere for service in self._daemon.assembly.services.values())

    def begin(self, daemon: Any, ready: Callable[[], None]) -> None:
        """As WorkerPool."""
        if not daemon.running:
            return
        self._daemon, self._ready = daemon, ready
        self._check.start(CHECKED, now=False)
        self._fill()

    def prepare(self, configuration: Configuration, bound: Iterable[BoundSocket]) -> Deferred[None]:
        """As WorkerPool."""
        bound = tuple(bound)
        if self._preparing is not None:  # for an address that was bound late
            later: Deferred[None] = Deferred()
            self._reactor.callLater(AGAIN, lambda: self.prepare(configuration, bound).chainDeferred(later))
            return later
        for warning in self.hold(bound):
            self._daemon.log.say("warn", warning)
        self._refusal = None
        preparing: Deferred[None] = Deferred()
        self._preparing = preparing
        for worker in self._serving():
            worker.prepared = False
            assert worker.number is not None
            for_clients = (one for one in bound if one.service.kind is not AdminService)
            data, descriptors = packed(configuration, self._sockets.of_worker(worker.number, for_clients))
            worker.channel.send_with("prepare", {}, data, descriptors)
        self._look_whether_prepared()
        return preparing

    def commit(self) -> None:
        """As WorkerPool."""
        for worker in self._serving():
            worker.channel.send("commit")
        self._fill()

    def stop(self, seconds: float) -> Deferred[None]:
        """As WorkerPool."""
        self._stopped = Deferred()
        self._sockets.gather()
        for worker in self._workers:
            if worker.number is None:
                worker.kill("it was spare")
            else:
                worker.channel.send("drain")
        self._look_whether_stopped()
        return self._stopped

    def abandon(self) -> None:
        """As WorkerPool."""
        if self._stopped is None or self._stopped.called:
            return
        for worker in self._workers:
            worker.channel.send("abandon")
        self._reactor.callLater(KILLED_AFTER, self._kill_rest)

    def watch_connections(self, on: bool) -> None:
        """As WorkerPool."""
        self._watched = on
        for worker in self._serving():
            worker.channel.send("watch", {"on": on})

    def collect(self, connections: int, order: str = "") -> Deferred[None]:
        """As WorkerPool."""
        now = self._reactor.seconds()
        asked = [worker for worker in self._serving() if worker.serving and not worker.is_silent(now)]
        if not asked:
            return succeed(None)
        self._number += 1
        collected: Deferred[None] = Deferred()
        self._collections[self._number] = collected, self._reactor.callLater(ANSWERED, self._collected, self._number)
        for worker in asked:
            worker.collecting.add(self._number)
            worker.channel.send("collect", {"number": self._number, "connections": connections, "order": order})
        return collected

    def listed(self) -> Iterator[dict[str, Any]]:
        """As WorkerPool."""
        for worker in self._workers:
            yield from ({"worker": worker.number, **one} for one in worker.connections)

    def status(self) -> list[dict[str, Any]]:
        """As WorkerPool."""
        now = self._reactor.seconds()
        return [
            {
                "worker": worker.number,
                "pid": worker.pid,
                "serving": worker.serving,
                "responding": not worker.is_silent(now),
                "connections": worker.figures.get("connections", 0),
                "uptime": round(now - worker.began, 3),
            }
            for worker in sorted(self._serving(), key=lambda one: one.number or 0)
        ]

    def processes(self) -> list[int]:
        """The numbers of all worker processes."""
        return [worker.pid for worker in self._workers]

    def figures(self) -> Mapping[str, int]:
        """As WorkerPool."""
        return sum((Counter(worker.figures) for worker in self._workers), Counter(self._past))

    # one worker after another

    def _serving(self) -> list[Worker]:
        """The workers that have an assignment."""
        return [worker for worker in self._workers if worker.number is not None]

    def _bound(self) -> list[BoundSocket]:
        return [listener.bound for listener in self._daemon.listeners if not listener.is_admin]

    def _fill(self) -> None:
        """Give each free place to a process that waits, and start processes: one for each place, and a spare one."""
        if self._stopped is not None or self._resting or self._preparing is not None:
            return
        taken = {worker.number for worker in self._workers}
        free = [number for number in range(self._count) if number not in taken]
        for worker in [one for one in self._workers if one.number is None and one.ready]:
            if free:
                self._assign(worker, free.pop(0))
        starting = sum(worker.number is None for worker in self._workers)
        wanted = len(free) + (not free and all(worker.serving for worker in self._serving()))
        for _ in range(wanted - starting):
            try:
                self._workers.append(Worker(self._reactor, self._received, self._ended))
            except OSError as error:
                self._daemon.log.say("error", start_error(error))
                self._rest(max(FIRST, self._backoff.ended(self._reactor.seconds())))
                return

    def _assign(self, worker: Worker, number: int) -> None:
        worker.number = number
        worker.column = self._memory.assign()
        data, descriptors = packed(self._daemon.configuration, self._sockets.of_worker(number, self._bound()))
        fields = {"terminal": self._daemon.shared.context.terminal, "column": worker.column}
        worker.bus = self._hub.connect()
        shared = [self._memory.descriptor, worker.bus.fileno()]
        worker.channel.send_with("serve", fields, data, [*shared, *descriptors])
        worker.channel.send("watch", {"on": self._watched})

    def _received(self, worker: Worker, name: str, fields: Mapping[str, Any]) -> None:
        match name:
            case "ready":
                worker.ready = True
                self._fill()
            case "serving":
                worker.serving = True
                worker.close_bus()
                self._daemon.events.tell("worker.started", worker=worker.name, pid=worker.pid)
                self._look_whether_ready()
                self._fill()
            case "failed":
                worker.kill(f"it cannot serve: {fields['error']}")
            case "report":
                self._report(worker, fields)
            case "prepared" | "refused":
                worker.prepared = True
                if name == "refused" and self._refusal is None:
                    self._refusal = ConfigurationRefused(fields["code"], fields["errors"])
                self._look_whether_prepared()
            case "event":
                publish(self._daemon.events, fields)
            case "line":
                if fields["level"] in LEVELS:
                    self._daemon.log.relay(fields["level"], fields["text"], fields["fields"])
            case "shown":
                self._daemon.shared.context.show(fields["text"])

    def _report(self, worker: Worker, fields: Mapping[str, Any]) -> None:
        worker.figures = fields["figures"]
        if "number" in fields:
            worker.connections = fields["listed"]
            worker.collecting.discard(fields["number"])
            self._look_whether_collected()

    def _ended(self, worker: Worker) -> None:
        self._workers.remove(worker)
        worker.close_bus()
        if worker.column and self._state is not None:
            self._state.collect()
            self._state.release(worker.column)
        self._past += Counter({name: count for name, count in worker.figures.items() if name not in GAUGES})
        self._look_whether_collected()
        self._look_whether_prepared()
        if self._stopped is not None:
            self._look_whether_stopped()
            return
        self._past["workers_ended"] += 1
        self._daemon.events.tell("worker.ended", worker=worker.name, pid=worker.pid, reason=worker.reason)
        if delay := self._backoff.ended(self._reactor.seconds()):
            self._rest(delay)
        self._fill()

    def _rest(self, seconds: float) -> None:
        """Start no process for some seconds."""
        if not self._resting:
            self._resting = True
            self._reactor.callLater(seconds, self._go_on)

    def _go_on(self) -> None:
        self._resting = False
        self._fill()

    def _check_all(self) -> None:
        now = self._reactor.seconds()
        for worker in self._workers:
            worker.check(now)
        if self._state is not None:
            self._state.send_budget.refresh()

    # what all of them have to do

    def _look_whether_ready(self) -> None:
        if self._ready is not None and sum(worker.serving for worker in self._workers) == self._count:
            ready, self._ready = self._ready, None
            ready()

    def _look_whether_prepared(self) -> None:
        if self._preparing is None or not all(worker.prepared for worker in self._serving()):
            return
        preparing, self._preparing = self._preparing, None
        if self._refusal is None:
            preparing.callback(None)
            return
        for worker in self._serving():
            worker.channel.send("cancel")
        preparing.errback(self._refusal)
        self._fill()

    def _look_whether_collected(self) -> None:
        for number in list(self._collections):
            if not any(number in worker.collecting for worker in self._workers):
                self._collected(number)

    def _collected(self, number: int) -> None:
        collected, timer = self._collections.pop(number)
        if timer.active():
            timer.cancel()
        if self._state is not None:
            self._state.collect()
        collected.callback(None)

    def _look_whether_stopped(self) -> None:
        if self._stopped is not None and not self._stopped.called and not self._workers:
            if self._check.running:
                self._check.stop()
            self._sockets.close()
            self._bus.close()
            self._hub.close()
            if self._state is not None:
                self._state.collect()
            self._stopped.callback(None)

    def _kill_rest(self) -> None:
        for worker in self._workers:
            worker.kill("it did not end")

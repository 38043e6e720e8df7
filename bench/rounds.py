"""The order of the measurements: in each round of a workload every server runs once; the next round is reversed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.build import NotBuilt
from bench.figures import Results
from bench.generator import Generator, LoadFailed
from bench.process import NotStarted, Running, start
from bench.servers import Kit, Server
from bench.workloads import Idle, Role, Workload

FORKED_CONNECTIONS = 64
"""Servers with a process per connection get at most this many connections, and no workload of short connections. A
backlog of ten, or a pause after fifty, would only measure waiting."""

FORKED_IDLE = 200
"""Connections of such a server in the memory row, which is enough to compute the cost of one."""


@dataclass(frozen=True)
class Plan:
    """Length and number of the measurements."""

    rounds: int
    seconds: float
    warm: float
    idle: int  #: connections of the memory row


class Bench:
    """One run. The caller must `stop` it in any case; `results` has what was measured until then."""

    def __init__(self, kit: Kit, generator: Generator, core: int, plan: Plan, say: Callable[[str], None]) -> None:
        self.results = Results()
        self._kit = kit
        self._generator = generator
        self._core = core
        self._plan = plan
        self._say = say
        self._running: dict[tuple[str, Role | None], Running] = {}
        self._unusable: set[str] = set()

    def load(self, workload: Workload, servers: Sequence[Server]) -> None:
        """Measure all rounds of one workload."""
        entrants = [server for server in servers if self._takes(server, workload)]
        for number in range(1, self._plan.rounds + 1):
            for server in entrants if number % 2 else reversed(entrants):
                if server.key in self._unusable or (number > 1 and server.key not in self._rows(workload)):
                    continue
                self._say(f"{workload.title}: round {number} of {self._plan.rounds}, {server.title}")
                running = self._get(server, workload.role)
                if running is not None:
                    self._turn(workload, running, number)

    def rest(self, row: Idle, servers: Sequence[Server]) -> None:
        """Measure a memory row: a new process of each server with many idle connections."""
        for server in servers:
            if row.role not in server.roles or server.key in self._unusable:
                continue
            connections = min(self._plan.idle, row.most, FORKED_IDLE if server.forks else row.most)
            title = row.title(connections)
            self._say(f"{title}: {server.title}")
            running = self._start(server, server.roles if server.together else frozenset({row.role}))
            if running is None:
                continue
            try:
                rest = self._generator.rest(row, running, connections)
                self.results.rests.setdefault(row.key, {})[server.key] = rest
            except LoadFailed as failure:
                self._leave_out(row.key, title, running, failure)
            finally:
                running.stop()

    def stop(self) -> None:
        """Stop every server."""
        for running in self._running.values():
            running.stop()
        self._running.clear()

    def _rows(self, workload: Workload) -> set[str]:
        return set(self.results.slices.get(workload.key, {}))

    @staticmethod
    def _takes(server: Server, workload: Workload) -> bool:
        many = workload.reconnects or workload.connections > FORKED_CONNECTIONS
        return workload.role in server.roles and not (server.forks and many)

    def _turn(self, workload: Workload, running: Running, number: int) -> None:
        try:
            one = self._generator.slice(workload, running, self._plan.seconds, self._plan.warm)
        except LoadFailed as failure:
            self._leave_out(workload.key, workload.title, running, failure)
            self._forget(running)
        else:
            self.results.add(workload.key, running.server.key, number, one)

    def _leave_out(self, key: str, title: str, running: Running, failure: LoadFailed) -> None:
        said = "" if running.alive else f"; it exited: {running.last_words()}"
        self.results.remarks.append(f"{running.server.title} left out of {title}: {failure}{said}")
        self.results.failed.add(running.server.key)
        self.results.drop(key, running.server.key)

    def _get(self, server: Server, role: Role) -> Running | None:
        key = (server.key, None if server.together else role)
        if key not in self._running:
            running = self._start(server, server.roles if server.together else frozenset({role}))
            if running is None:
                return None
            self._running[key] = running
        return self._running[key]

    def _start(self, server: Server, roles: frozenset[Role]) -> Running | None:
        try:
            return start(server, self._kit, roles, self._core)
        except (NotStarted, NotBuilt) as failure:
            self.results.remarks.append(str(failure))
            self.results.failed.add(server.key)
            self._unusable.add(server.key)
            return None

    def _forget(self, running: Running) -> None:
        """Stop a server that failed: its state is unknown, so the next workload starts a new one."""
        for key in [key for key, each in self._running.items() if each is running]:
            del self._running[key]
        running.stop()

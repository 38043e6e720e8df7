"""A server as a process: start it on its core, wait until it is ready, measure it, stop it."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from random import SystemRandom
from time import monotonic
from typing import Final

from bench import measure
from bench.build import build_peer
from bench.machine import on_core
from bench.servers import PEERS, Kit, Place, Server
from bench.workloads import Role

HOST: Final = "127.0.0.1"
PATIENCE: Final = 20.0  #: seconds to start; a busy machine's first `import twisted` takes three
GRACE: Final = 5.0  #: seconds to stop
STEP: Final = 0.02  #: seconds between two checks


class NotStarted(Exception):
    """The server did not start. The message is one line: the server, and its last output."""


def free_ports(count: int) -> list[int]:
    """So many ports, each free for streams and datagrams at this moment. Raises OSError.

    They are below the range that the kernel chooses from (ip(7)), so a client of a measurement cannot get one.
    """
    ports: list[int] = []
    for port in SystemRandom().sample(range(10_000, 20_000), 1000):
        with suppress(OSError), ExitStack() as probes:  # a port that another program uses: try the next
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                probes.enter_context(socket.socket(socket.AF_INET, kind)).bind((HOST, port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise OSError(errno.EADDRINUSE, "no free ports from 10000 to 19999")


def _places(server: Server, kit: Kit, roles: frozenset[Role]) -> dict[Role, Place]:
    """New addresses. Another program can take one only between this call and the server's bind."""
    named = sorted(roles, key=lambda each: each.name)
    return {
        role: Place(role, HOST, port, str(kit.folder / f"{server.key}-{port}.sock"))
        for role, port in zip(named, free_ports(len(named)), strict=True)
    }


def _answers(place: Place) -> bool:
    try:
        with socket.create_connection((place.host, place.port), timeout=1) as asked:
            asked.sendall(b"ready?")
            return bool(asked.recv(16))
    except OSError:
        return False


def _bound(place: Place) -> bool:
    """Whether a TLS port accepts connections, or a Unix socket listens."""
    try:
        if place.role is Role.TLS:
            socket.create_connection((place.host, place.port), timeout=1).close()
            return True
        with socket.socket(socket.AF_UNIX) as asked:
            asked.connect(place.path)
    except OSError:
        return False
    return True


class Running:
    """A server that is ready. The caller must `stop` it."""

    def __init__(
        self, server: Server, places: Mapping[Role, Place], process: subprocess.Popen[bytes], said: Path
    ) -> None:
        self.server = server
        self.places = places
        self.pid = process.pid  #: also the number of its process group
        self._process = process
        self._said = said

    def cpu(self) -> float:
        """Processor seconds of its process tree so far."""
        return measure.cpu_seconds(self.pid)

    def memory(self) -> int:
        """Bytes of user memory of its process tree."""
        return measure.memory(self.pid)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def last_words(self) -> str:
        """The last line that it wrote, and how it ended."""
        lines = [line.strip() for line in self._said.read_text(errors="replace").splitlines() if line.strip()]
        code = self._process.poll()
        how = "" if code is None else f" (exit code {code})"
        return (lines[-1] if lines else "it printed nothing") + how

    def rest(self, seconds: float) -> None:
        """Wait until it is idle."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return

    def stop(self) -> None:
        """SIGTERM to its process group, which holds all it started; SIGKILL to the processes that stay."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.pid, number)
                self._process.wait(GRACE)
            except (ProcessLookupError, PermissionError):
                break
            except subprocess.TimeoutExpired:
                continue
        self._process.wait()

    def await_ready(self) -> None:
        """Wait until it is ready. Raises NotStarted if it exits or the time is over."""
        until = monotonic() + PATIENCE
        while self.alive and monotonic() < until:
            if self._is_ready():
                return
            self.rest(STEP)
        why = "it did not become ready" if self.alive else "it exited at its start"
        said = self.last_words()
        self.stop()
        raise NotStarted(f"{self.server.title} left out: {why}: {said}")

    def _is_ready(self) -> bool:
        if self.server.ready:
            return "ready" in self._said.read_text(errors="replace").split()
        if Role.TCP in self.places:
            return _answers(self.places[Role.TCP])
        return all(_bound(place) for place in self.places.values())


def start(server: Server, kit: Kit, roles: frozenset[Role], core: int) -> Running:
    """Start a server for these roles and wait until it replies. Raises NotStarted or NotBuilt."""
    if server.source:
        build_peer(PEERS / server.source, kit.folder)
    places = _places(server, kit, roles)
    command = server.command(kit, places)
    said = kit.folder / f"{server.key}-{next(iter(places.values())).port}.log"
    with said.open("wb") as log, on_core(core):
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=Path(__file__).parent.parent,  # so that `-m echod` finds this tree
                start_new_session=True,
            )
        except OSError as error:
            raise NotStarted(f"{server.title} left out: {command[0]}: {error.strerror}") from error
    running = Running(server, places, process, said)
    try:
        running.await_ready()
    except BaseException:
        running.stop()
        raise
    return running

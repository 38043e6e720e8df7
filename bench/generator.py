"""Run the load generator: it warms up and drains, we read the server's clock, it works, we read the clock again."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic
from typing import IO, Final, cast

from bench.figures import Rest, Slice
from bench.machine import on_core
from bench.process import Running
from bench.servers import Place
from bench.workloads import Idle, Role, Workload

PATIENCE: Final = 40.0
"""Seconds that the generator may take beyond its own time. It exits by itself after 5 s without a reply, and opening
10,000 connections to a slow server takes several."""

SETTLE: Final = 0.005
"""Seconds that the server may take to finish with the last message after its reply was sent."""


class LoadFailed(Exception):
    """The load generator reported a failure, in one line. The server's figures must not be used."""


class Conversation:
    """One run of the generator, read line by line."""

    def __init__(self, binary: Path, core: int, arguments: Iterable[str]) -> None:
        with on_core(core):
            self._process = subprocess.Popen(
                [str(binary), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,  # data that the process did not read before it ended must not be written again by close()
            )
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._in, self._out, self._err = (cast(IO[bytes], pipe) for pipe in pipes)
        self._kept = b""

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._in, self._out, self._err):
            pipe.close()

    def line(self, seconds: float) -> str:
        """Its next line. Raises LoadFailed if none arrives within the time."""
        until = monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._out, selectors.EVENT_READ)
            while b"\n" not in self._kept:
                if not selector.select(max(0.0, until - monotonic())):
                    raise LoadFailed(f"the load generator printed nothing for {seconds:.0f} s")
                got = os.read(self._out.fileno(), 1 << 16)
                if not got:
                    raise LoadFailed(self._complaint())
                self._kept += got
        line, _, self._kept = self._kept.partition(b"\n")
        return line.decode()

    def go(self) -> None:
        """Let it continue."""
        try:
            self._in.write(b"go\n")
        except BrokenPipeError:
            return  # the next line() reports the reason

    def end(self) -> None:
        """Wait until it exits: errors that it finds while it closes its connections count too. Raises LoadFailed."""
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise LoadFailed("the load generator did not exit") from None
        if code != 0:
            raise LoadFailed(self._complaint())

    def _complaint(self) -> str:
        self._process.wait()
        lines = self._err.read().decode(errors="replace").splitlines()
        return lines[-1].removeprefix("load: ") if lines else f"the load generator exited: {self._process.returncode}"


def _to(place: Place) -> list[str]:
    if place.role is Role.UNIX:
        return [f"--unix={place.path}"]
    return [f"--host={place.host}", f"--port={place.port}"]


class Generator:
    """The compiled load generator and its core."""

    def __init__(self, binary: Path, core: int) -> None:
        self._binary = binary
        self._core = core

    def slice(
        self,
        workload: Workload,
        server: Running,
        seconds: float,
        warm: float,
        open_: Callable[[], object] = lambda: None,
    ) -> Slice:
        """Measure one slice; `open_` is called while all connections are open. Raises LoadFailed on a wrong byte, a
        silent server or a closed connection.
        """
        timing = [f"--seconds={seconds}", f"--warm={warm}"]
        arguments = [*workload.load, *server.server.load, *_to(server.places[workload.role]), *timing]
        with Conversation(self._binary, self._core, arguments) as load:
            load.line(warm + PATIENCE)
            server.rest(SETTLE)
            before = server.cpu()
            load.go()
            report = json.loads(load.line(seconds + PATIENCE))
            server.rest(SETTLE)
            after = server.cpu()
            open_()
            load.go()
            load.end()
        if report["messages"] == 0:
            raise LoadFailed("the server replied to no message")
        return Slice.from_report(report, after - before)

    def rest(self, row: Idle, server: Running, connections: int) -> Rest:
        """Measure the server's memory with so many idle connections. Raises LoadFailed."""
        to = [*row.load, *server.server.load, *_to(server.places[row.role])]
        # A few connections first: memory that a server allocates once does not belong to a connection.
        with Conversation(self._binary, self._core, [*to, "--connections=64"]) as load:
            for _ in range(2):
                load.line(PATIENCE)
                load.go()
            load.end()
        server.rest(0.3)
        before = server.memory()
        with Conversation(self._binary, self._core, [*to, f"--connections={connections}"]) as load:
            load.line(2 * PATIENCE)
            opened = server.memory()
            load.go()
            load.line(2 * PATIENCE)
            used = server.memory()
            load.go()
            load.end()
        return Rest(connections, before, opened, used)

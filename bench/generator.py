"""The load generator, driven: it warms up and rests, we read the server's clock, it works, we read again."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
from collections.abc import Iterable
from pathlib import Path
from time import monotonic
from typing import IO, Final, cast

from bench.figures import Rest, Slice
from bench.machine import on_core
from bench.process import Running
from bench.servers import Place
from bench.workloads import Role, Workload

PATIENCE: Final = 40.0
"""Seconds beyond its own that the generator gets: it gives up by itself after 5 of silence, and dialling
10,000 connections to a slow server takes some."""

SETTLE: Final = 0.005
"""Seconds for the server to finish with the last message after its answer has left."""


class LoadFailed(Exception):
    """One line: what the load generator found. The figures of that server are not to be used."""


class Conversation:
    """One run of the generator, line by line."""

    def __init__(self, binary: Path, core: int, arguments: Iterable[str]) -> None:
        with on_core(core):
            self._process = subprocess.Popen(
                [str(binary), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,  # what was not taken before it ended must not be tried again when we close
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
        """Its next line. Raises LoadFailed where there is none in time."""
        until = monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._out, selectors.EVENT_READ)
            while b"\n" not in self._kept:
                if not selector.select(max(0.0, until - monotonic())):
                    raise LoadFailed(f"the load generator was silent for {seconds:.0f} s")
                got = os.read(self._out.fileno(), 1 << 16)
                if not got:
                    raise LoadFailed(self._complaint())
                self._kept += got
        line, _, self._kept = self._kept.partition(b"\n")
        return line.decode()

    def go(self) -> None:
        """Let it go on."""
        try:
            self._in.write(b"go\n")
        except BrokenPipeError:
            return  # the next line() says why

    def end(self) -> None:
        """Wait for its end: what it finds while it closes its connections counts too."""
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise LoadFailed("the load generator did not end") from None
        if code != 0:
            raise LoadFailed(self._complaint())

    def _complaint(self) -> str:
        self._process.wait()
        lines = self._err.read().decode(errors="replace").splitlines()
        return (
            lines[-1].removeprefix("load: ") if lines else f"the load generator ended with {self._process.returncode}"
        )


def _to(place: Place) -> list[str]:
    if place.role is Role.UNIX:
        return [f"--unix={place.path}"]
    return [f"--host={place.host}", f"--port={place.port}"]


class Generator:
    """The built program and its core."""

    def __init__(self, binary: Path, core: int) -> None:
        self._binary = binary
        self._core = core

    def slice(self, workload: Workload, server: Running, seconds: float, warm: float) -> Slice:
        """One slice of load. Raises LoadFailed on a wrong octet, a silent server, a closed connection."""
        timing = [f"--seconds={seconds}", f"--warm={warm}"]
        arguments = [*workload.load, *_to(server.places[workload.role]), *timing]
        with Conversation(self._binary, self._core, arguments) as load:
            load.line(warm + PATIENCE)
            server.rest(SETTLE)
            before = server.cpu()
            load.go()
            report = json.loads(load.line(seconds + PATIENCE))
            server.rest(SETTLE)
            after = server.cpu()
            load.go()
            load.end()
        if report["messages"] == 0:
            raise LoadFailed("no message was answered")
        return Slice.from_report(report, after - before)

    def rest(self, server: Running, connections: int) -> Rest:
        """The server's memory with so many idle connections. Raises LoadFailed."""
        to = _to(server.places[Role.TCP])
        # A few first: what a server sets up once is not what a connection costs.
        with Conversation(self._binary, self._core, ["idle", *to, "--connections=64"]) as load:
            for _ in range(2):
                load.line(PATIENCE)
                load.go()
            load.end()
        server.rest(0.3)
        before = server.memory()
        with Conversation(self._binary, self._core, ["idle", *to, f"--connections={connections}"]) as load:
            load.line(2 * PATIENCE)
            opened = server.memory()
            load.go()
            load.line(2 * PATIENCE)
            used = server.memory()
            load.go()
            load.end()
        return Rest(connections, before, opened, used)

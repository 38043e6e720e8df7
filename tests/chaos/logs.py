"""A log that cannot be written: a full disk, a pipe whose reader has gone, and one whose reader has stopped."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.chaos import probe
from tests.chaos.connect_burst import Crowd, Fate, served
from tests.chaos.lab import LOOPBACK, STOCK, Lab, Place
from tests.chaos.network import Lacking, program
from tests.chaos.report import Figure, Scenario, Subject
from tests.daemon import ECHOD, SECONDS, environment, eventually, free_port

SUBJECTS = (Subject.ECHOD, Subject.PLAIN, Subject.STOCK)
CLIENTS: Final = 500
DISK: Final = 65_536  #: bytes
CONFIG = """[daemon]
plane = "{plane}"
log-level = "debug"
[services.echo]
listen = ["tcp://127.0.0.1:{port}"]
"""


class Target:
    """A target of the log: `descriptor` to write to, and the text that can be read at the end."""

    def __init__(self, descriptor: int, file: Path | None = None, reading: int = -1) -> None:
        self.descriptor = descriptor
        self._file = file
        self._reading = reading
        self._came = b""

    def relieve(self) -> None:
        """Free space, or read again, so that the last lines arrive; then call `last`."""
        if self._file is not None:
            os.truncate(self._file, 0)
        elif self._reading >= 0:
            os.set_blocking(self._reading, False)

    def last(self) -> str:
        """The lines that arrived since; it frees space."""
        if self._file is not None:
            text = self._file.read_bytes()
            if len(text) > DISK // 2:  # the last lines follow the queued ones
                os.truncate(self._file, 0)
                self._came, text = self._came + text, b""
            return (self._came + text).decode(errors="replace")
        try:
            while self._reading >= 0 and (piece := os.read(self._reading, 65_536)):
                self._came += piece
        except BlockingIOError:
            pass
        return self._came.decode(errors="replace")


@contextmanager
def full_disk() -> Iterator[Target]:
    """A file on a disk of 64 KiB. Raises Lacking."""
    with tempfile.TemporaryDirectory(prefix="full-") as folder:
        mounted = subprocess.run([program("mount"), "-t", "tmpfs", "-o", f"size={DISK}", "full", folder], check=False)
        if mounted.returncode:
            raise Lacking("a private disk cannot be mounted")
        try:
            file = Path(folder, "log")
            descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            try:
                yield Target(descriptor, file)
            finally:
                os.close(descriptor)
        finally:
            subprocess.run([program("umount"), "--lazy", folder], check=False)


@contextmanager
def dev_full() -> Iterator[Target]:
    """/dev/full, which is always full (full(4))."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        yield Target(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def closed_pipe() -> Iterator[Target]:
    """A pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        yield Target(writing)
    finally:
        os.close(writing)


@contextmanager
def stopped_reader() -> Iterator[Target]:
    """A pipe that is not read for now."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    try:
        yield Target(writing, reading=reading)
    finally:
        os.close(reading)
        os.close(writing)


TARGETS = {
    "a full disk": full_disk,
    "/dev/full": dev_full,
    "a closed pipe": closed_pipe,
    "a reader that stopped": stopped_reader,
}


@contextmanager
def logging_to(target: Target, subject: Subject) -> Iterator[tuple[Place, subprocess.Popen[bytes]]]:
    """A server that logs every connection into the target."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="logs-") as folder:
        words: list[str]
        if subject is Subject.STOCK:
            words = [sys.executable, "-W", "error", str(STOCK), LOOPBACK, str(port), "log"]
        else:
            plane = "auto" if subject is Subject.ECHOD else "off"
            file = Path(folder, "echod.toml")
            file.write_text(CONFIG.format(plane=plane, port=port))
            words = [*ECHOD, "--config", str(file)]
        process = subprocess.Popen(
            words,
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=target.descriptor,
        )
        try:
            place = (LOOPBACK, port)
            if not eventually(lambda: process.poll() is not None or _is_served(place)):
                raise AssertionError(f"{subject} does not become ready")
            yield place, process
        finally:
            process.kill()
            process.wait(SECONDS)


def _is_served(place: Place) -> bool:
    try:
        return served(place, 1)
    except OSError:
        return False


def unwritable(_field: Lab) -> Iterator[Figure]:
    for subject in SUBJECTS:
        found = {}
        for name, make in TARGETS.items():
            with ExitStack() as stack:
                target = stack.enter_context(make())
                found[name] = _under(target, subject)
        text = "; ".join(
            f"{name}: {each['served']} of {CLIENTS} served, longest {each['longest']:.0f} ms"
            + (f", {each['lost']:,} lines counted as lost" if each["lost"] else "")
            + ("" if each["ended"] else ", does not exit")
            for name, each in found.items()
        )
        kept = all(each["served"] == CLIENTS and each["longest"] <= 50 and each["ended"] for each in found.values())
        kept = kept and bool(
            found["a full disk"]["lost"]
        )  # the other targets lose nothing or have no place for the count
        yield Figure(subject, text, kept if subject is not Subject.STOCK else None, found)


def _under(target: Target, subject: Subject) -> dict[str, float]:
    with logging_to(target, subject) as (place, process):
        if process.poll() is not None:
            return {"served": 0, "longest": 0.0, "lost": 0, "ended": True}
        with probe.attack("crowd", 50, 1.5, "127.0.0.9", *place):
            under = probe.stream(place, 1.5)
        with Crowd(place, CLIENTS) as crowd:
            fates = crowd.wait(5)
        target.relieve()
        process.terminate()
        ended = eventually(lambda: _over(process, target), seconds=5)
        counted = re.search(r"(\d+) lines could not be written", target.last())
        longest = under.most if not under.lost else probe.PATIENCE * 1000
        lost = int(counted[1]) if counted else 0
        return {"served": fates[Fate.SERVED], "longest": longest, "lost": lost, "ended": ended}


def _over(process: subprocess.Popen[bytes], target: Target) -> bool:
    target.last()  # or the server might wait for the reader
    return process.poll() is not None


SCENARIOS = (
    Scenario(
        35,
        "a log that cannot be written, in four ways",
        "every client is served within 50 ms, and lost lines are counted",
        unwritable,
    ),
)

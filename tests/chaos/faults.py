"""Faults under a server: no descriptors, an accept that fails, a descriptor that is closed from outside.

Every function takes the pid of a process that the caller started, and touches no other process.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, Self

from tests.chaos.network import Lacking, program
from tests.daemon import SECONDS

ESTABLISHED, CLOSE_WAIT = "01", "08"  # <net/tcp_states.h>

ACCEPT_ERRORS: Final = ("ENFILE", "ENOMEM", "ENOBUFS", "EPROTO", "EPERM", "ECONNABORTED", "EINTR")
"""Errors that accept(2) may return besides EAGAIN and EMFILE."""

_THEFT: Final = """
import os, runpy, sys, threading, time

def steal():
    while not os.path.exists("steal"):
        time.sleep(0.01)
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2 and os.readlink("/proc/self/fd/" + name) == "/dev/null":
                os.close(int(name))
        except OSError:
            pass
    os.rename("steal", "stolen")

threading.Thread(target=steal, daemon=True).start()
"""
_PYTHON: Final = (sys.executable, "-W", "error", "-c")

THIEF: Final = (*_PYTHON, _THEFT + "runpy.run_module('echod', run_name='__main__', alter_sys=True)")
"""echod with a thread that waits for a file `steal` in its directory. Then the thread closes every descriptor of
/dev/null except the standard streams, and renames the file to `stolen`."""
STOCK_THIEF: Final = (*_PYTHON, _THEFT + "del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')")
"""The same for a script, whose path and arguments follow."""


def descriptors(pid: int) -> list[str]:
    """The targets of the descriptors of a process."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:  # it was closed meanwhile
            continue
    return found


def peers(pid: int, place: tuple[str, int]) -> set[tuple[str, int]]:
    """The addresses of the peers of an IPv4 listener's connections, including those half-closed (proc(5), net/tcp).

    The kernel prints its table a page at a time. While other connections of the machine open and close, a row may be
    missing or doubled. So it is read until two readings agree.
    """
    before, now = None, _peers(pid, place)
    while now != before:
        before, now = now, _peers(pid, place)
    return now


def _peers(pid: int, place: tuple[str, int]) -> set[tuple[str, int]]:
    local = f"{int.from_bytes(socket.inet_aton(place[0]), 'little'):08X}:{place[1]:04X}"
    lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()]
    mine = [line for line in lines if line[1] == local and line[3] in (ESTABLISHED, CLOSE_WAIT)]
    return {_inet(line[2]) for line in mine}


def _inet(text: str) -> tuple[str, int]:
    """An IPv4 host and port as /proc/net/tcp shows them."""
    host, _, port = text.partition(":")
    return socket.inet_ntoa(int(host, 16).to_bytes(4, "little")), int(port, 16)


def connections(pid: int, place: tuple[str, int]) -> int:
    """The number of those descriptors."""
    return len(peers(pid, place))


def unread(pid: int, place: tuple[str, int]) -> int:
    """Bytes of memory of the datagrams that an IPv4 socket of a process has not read (proc(5), net/udp)."""
    local = f"{int.from_bytes(socket.inet_aton(place[0]), 'little'):08X}:{place[1]:04X}"
    lines = [line.split() for line in Path(f"/proc/{pid}/net/udp").read_text().splitlines()]
    return sum(int(line[4].partition(":")[2], 16) for line in lines if line[1] == local)


def highest_descriptor(pid: int) -> int:
    """The highest number among them."""
    return max(map(int, os.listdir(f"/proc/{pid}/fd")))


def leave_descriptors(pid: int, count: int) -> None:
    """Allow a process exactly so many more descriptors."""
    holes = highest_descriptor(pid) + 1 - len(os.listdir(f"/proc/{pid}/fd"))
    most = highest_descriptor(pid) + 1 + max(count - holes, 0)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))


def processor_seconds(pid: int) -> float:
    """Processor seconds that a process has used, in both modes (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def busy(seconds: float = 1.0) -> float:
    """The share of all processors in use, measured for so many seconds (proc(5), stat)."""
    total, idle = _processors()
    time.sleep(seconds)
    later, still_idle = _processors()
    return 1 - (still_idle - idle) / max(later - total, 1)


def _processors() -> tuple[int, int]:
    figures = list(map(int, Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]))
    return sum(figures), figures[3] + figures[4]


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return found


class Injected:
    """strace(1), attached to a process: within the block, these calls fail. Raises Lacking.

    `error` is the name of an error, or another injection of strace (`delay_enter=100ms`). `when` selects the calls, as
    strace writes it; `1+` is every call.
    """

    def __init__(self, pid: int, error: str, calls: str = "accept,accept4", when: str = "1+") -> None:
        self._words = [program("strace"), "-f", "-e", "quiet=exit,personality", "-e", f"trace={calls}", "-e"]
        self._words.append(f"inject={calls}:{error if '=' in error else f'error={error}'}:when={when}")
        self._words += ["-p", str(pid)]

    def __enter__(self) -> Self:
        self._file = tempfile.NamedTemporaryFile(prefix="strace-")
        words = [*self._words, "-o", self._file.name]
        self._strace = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert self._strace.stderr is not None
        said = self._strace.stderr.readline().decode(errors="replace").strip()
        if " attached" not in said:  # it is written when every thread has been interrupted: the next call is traced
            self._strace.kill()
            self._strace.communicate()
            self._file.close()
            raise Lacking(f"strace cannot attach: {said}")
        return self

    def __exit__(self, *_: object) -> None:
        self._strace.send_signal(signal.SIGINT)
        try:
            self._strace.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            self._strace.kill()
            self._strace.communicate()
        self._lines = Path(self._file.name).read_text(errors="replace").splitlines()
        self._file.close()

    @property
    def calls(self) -> int:
        """The number of calls, after the block has ended."""
        return sum("accept" in line and "resumed" not in line for line in self._lines)

    @property
    def injected(self) -> int:
        """The number of calls that strace made fail or delayed."""
        return sum("(INJECTED)" in line or "(DELAYED)" in line for line in self._lines)

    def so_far(self) -> int:
        """The number of calls so far, within the block."""
        return Path(self._file.name).read_bytes().count(b"\n")

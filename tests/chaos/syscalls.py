"""System calls that fail or are slow: bytes are lost only with a connection that is reset, and echod does not spin."""

from __future__ import annotations

import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from tests.chaos.faults import Injected, unread
from tests.chaos.lab import Lab, Server
from tests.chaos.report import Figure, Scenario, Subject, many
from tests.daemon import SECONDS, eventually, is_waiting

ECHOD, PLAIN, STOCK, *_ = Subject
SERVICES: Final = """
[services.echo]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
[services.upper]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
"""
PATTERN: Final = random.Random(48).randbytes(1 << 16)
QUIET: Final = 2.0  #: seconds without a client, to detect a spin
CALLS: Final = 80  #: in QUIET: for timers and the like
DATAGRAMS: Final = 60

CARRYING: Final = "splice,read,write,sendto,recvfrom,sendmsg,recvmsg,sendmmsg,recvmmsg"
WAITING: Final = "epoll_wait,epoll_pwait"


@dataclass(frozen=True)
class Trouble:
    """Calls that fail, in the notation of strace(1); `when` selects the calls."""

    name: str
    error: str
    calls: str
    when: str
    streams: int = 30  #: the number of streams that are tried


TROUBLES: Final = (
    Trouble("EINTR", "EINTR", f"{CARRYING},{WAITING}", "5+3"),
    Trouble("ENOBUFS", "ENOBUFS", CARRYING, "5+7"),
    Trouble("EIO", "EIO", CARRYING, "5+7"),
    Trouble("100 ms", "delay_enter=100000", f"{CARRYING},{WAITING}", "5+9", streams=6),
)
STANDING: Final = Trouble("ENOBUFS without end", "ENOBUFS", "sendto,sendmsg,recvmsg,sendmmsg,recvmmsg", "1+", streams=0)


class Fate(StrEnum):
    """The result of a stream."""

    WHOLE = "whole"
    RESET = "reset"
    SHORT = "short"  #: an orderly close with bytes missing: a broken promise
    WRONG = "wrong"
    SILENT = "silent"


def stream(place: tuple[str, int], upper: bool, number: int) -> Fate:
    """Send one request in pieces, shut down sending, and read everything."""
    sent = PATTERN[: 1 << (4 + number % 13)]
    due = sent.upper() if upper else sent
    came = bytearray()
    with socket.socket() as client:
        client.settimeout(SECONDS)
        try:
            client.connect(place)
            for at in range(0, len(sent), 9_000):
                client.sendall(sent[at : at + 9_000])
            client.shutdown(socket.SHUT_WR)
            while part := client.recv(1 << 16):
                came += part
        except TimeoutError:
            return Fate.SILENT
        except OSError:
            return Fate.RESET if due.startswith(came) else Fate.WRONG
    if came == due:
        return Fate.WHOLE
    return Fate.SHORT if due.startswith(came) else Fate.WRONG


def datagrams(place: tuple[str, int], count: int, seconds: float = 0.5) -> tuple[int, int]:
    """How many of these came back right, and how many wrong; lost ones are not counted."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(place)
        client.settimeout(seconds)
        asked = {b"%08d" % number for number in range(count)}
        for question in sorted(asked):
            with suppress(ConnectionRefusedError):  # the server does not listen any more
                client.send(question)
            time.sleep(0.001)
        right = wrong = 0
        try:
            while right < count:
                came = client.recv(1 << 16)
                right, wrong = right + (came in asked), wrong + (came not in asked)
                asked.discard(came)
        except (TimeoutError, ConnectionRefusedError):
            pass
    return right, wrong


@dataclass
class Result:
    """The result under one kind of failure."""

    fates: Counter[Fate]
    injected: int
    right: int
    wrong: int
    quiet_calls: int  #: in QUIET, without requests
    cpu: float  #: the share of a processor in the same time
    back: bool  #: whether requests succeed after the failures end

    @property
    def kept(self) -> bool:
        """Whether the promise is kept, except for the processor time."""
        bad = self.fates[Fate.SHORT] + self.fates[Fate.WRONG] + self.fates[Fate.SILENT] + self.wrong
        return not bad and self.back and self.quiet_calls <= CALLS


def endure(server: Server, trouble: Trouble) -> Result:
    """Streams and datagrams during the failures, a pause, and then one of each without failures. Raises Lacking."""
    fates: Counter[Fate] = Counter()
    right = wrong = 0
    with Injected(server.pid, trouble.error, calls=trouble.calls, when=trouble.when) as injected:
        for number in range(trouble.streams):
            for kind in _kinds(server):
                fates[stream(server.tcp[kind], kind == "upper", number)] += 1
        for kind in _kinds(server):
            came = datagrams(server.udp[kind], DATAGRAMS)
            right, wrong = right + came[0], wrong + came[1]
        if trouble is not STANDING:
            eventually(lambda: _has_read_all(server))
        time.sleep(0.2)
        began, lines, cpu = time.monotonic(), injected.so_far(), server.cpu()
        time.sleep(QUIET)
        quiet, cpu = injected.so_far() - lines, server.cpu() - cpu
        share = QUIET / (time.monotonic() - began)  # a process that is stopped sleeps longer
        quiet, cpu = round(quiet * share), cpu / QUIET * share
    back = all(stream(server.tcp[kind], kind == "upper", 12) is Fate.WHOLE for kind in _kinds(server))
    back = back and all(datagrams(server.udp[kind], 5, SECONDS) == (5, 0) for kind in _kinds(server))
    return Result(fates, injected.injected, right, wrong, quiet, cpu, back)


def _has_read_all(server: Server) -> bool:
    return not any(unread(server.pid, server.udp[kind]) for kind in _kinds(server)) and is_waiting(server.pid)


def _kinds(server: Server) -> list[str]:
    return [kind for kind in ("echo", "upper") if kind in server.tcp]


def failing_calls(lab: Lab) -> Iterator[Figure]:
    for subject in (ECHOD, PLAIN, STOCK):
        said, values, kept = [], dict[str, Any](), True
        for trouble in (*TROUBLES, STANDING):
            with lab.server(subject, SERVICES) as server:
                lines = server.lines()
                result = endure(server, trouble)
                more = server.lines() - lines
            kept = kept and result.kept and result.cpu <= 0.05 and more <= 2
            fates = ", ".join(f"{count} {fate}" for fate, count in sorted(result.fates.items()))
            text = f"{trouble.name}, {result.injected} times: " + (f"{fates}; " if fates else "")
            text += f"{result.cpu:.0%} of a processor afterwards, {many(more, 'line')}" + (
                "" if result.back else ", NOT recovered"
            )
            said.append(text)
            values[trouble.name] = {**vars(result), "fates": dict(result.fates), "lines": more}
        yield Figure(subject, " | ".join(said), kept if subject is not STOCK else None, values)


SCENARIOS = (
    Scenario(
        48,
        "system calls that fail or are slow",
        "bytes are lost only with a reset; afterwards at most 5 % of a processor, 2 log lines, and recovery",
        failing_calls,
    ),
)

"""Workers that are killed or stopped, a parent that is killed, and restarts: what clients notice."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

from echod.client.admin import Administrator
from tests.activation import activated
from tests.chaos import history
from tests.chaos.exchanges import ADMIN, HTTP, TCP, VISITORS, administrator_of, nginx, visited
from tests.chaos.faults import family
from tests.chaos.lab import Lab, Place
from tests.chaos.network import Lacking
from tests.chaos.report import Figure, Scenario, Subject, many
from tests.daemon import SECONDS, Daemon, eventually, free_port
from tests.manager import Held, Manager

ECHOD, WORKERS, NGINX = Subject.ECHOD, Subject.WORKERS, Subject.NGINX
UDP: Final = TCP.replace('"]', '", "udp://127.0.0.1:0"]')

# 26

KILLS: Final = 6
KILL_SECONDS: Final = 18.0  #: five ends within ten seconds would make replacements wait


def kills(lab: Lab) -> Iterator[Figure]:
    """Six kills of a worker under visits."""
    for server in lab.each(WORKERS, services=TCP + ADMIN):
        with administrator_of(server) as administrator:
            figures, slowest = _killed(server.tcp["echo"], "hello", partial(_serving, administrator))
        good = figures["wrong"] <= KILLS * VISITORS and figures["longest"] <= 100 and slowest <= 1
        yield _figure(server.subject, figures, f"; replaced after at most {slowest * 1000:.0f} ms", good)
    for place, master in _nginx():
        figures, slowest = _killed(place, HTTP, partial(_children, master))
        yield _figure(NGINX, figures, f"; replaced after at most {slowest * 1000:.0f} ms", None)


def _killed(place: Place, text: str, workers: Callable[[], list[int]]) -> tuple[dict[str, float], float]:
    """The results of visits during KILLS kills, and the seconds of the slowest replacement."""
    times: list[float] = []
    figures = visited(place, text, lambda _turn: times.append(_kill(workers)), KILLS, KILL_SECONDS)
    return figures, max(times)


def _serving(administrator: Administrator) -> list[int]:
    return [one["pid"] for one in administrator.ask("/api/status")["workers"] if one["serving"]]


def _children(pid: int) -> list[int]:
    return family(pid)[1:]


def _kill(workers: Callable[[], list[int]]) -> float:
    """Kill one worker; returns the seconds until as many serve again."""
    before = workers()
    began = time.monotonic()
    os.kill(before[0], signal.SIGKILL)
    eventually(lambda: before[0] not in (now := workers()) and len(now) == len(before), 10)
    return time.monotonic() - began


def _figure(subject: Subject, figures: dict[str, float], more: str, kept: bool | None) -> Figure:
    text = f"{figures['well']:,.0f} visits, {figures['wrong']:,.0f} failed, the longest {figures['longest']:g} ms"
    return Figure(subject, text + more, kept, figures)


def _nginx() -> Iterator[tuple[Place, int]]:
    """nginx with two workers, for one pass of the loop; none if it is not installed."""
    try:
        with nginx(workers=2) as (place, process, _):
            yield place, process.pid
    except Lacking:
        pass


# 82

FLOWS: Final = 200


def hangs(lab: Lab) -> Iterator[Figure]:
    """A worker that is stopped: new connections, and the datagrams of its flows."""
    for server in lab.each(WORKERS, services=UDP + ADMIN):
        with ExitStack() as stack, administrator_of(server) as administrator:
            clients = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(FLOWS)]
            stopped = _serving(administrator)[0]
            os.kill(stopped, signal.SIGSTOP)
            began = time.monotonic()
            for client in clients:
                client.settimeout(SECONDS)
                client.sendto(b"hello", server.udp["echo"])
            connected, slowest = 0, 0.0
            while stopped in _children(server.pid):
                at = time.monotonic()
                with socket.create_connection(server.tcp["echo"], 5) as client:
                    client.settimeout(5)
                    client.sendall(b"hello")
                    connected += client.recv(5) == b"hello"
                slowest = max(slowest, time.monotonic() - at)
            replaced = time.monotonic() - began
            replies = sum(client.recv(100) == b"hello" for client in clients)
        text = f"{connected:,} of {connected:,} connects served, the slowest after {slowest * 1000:.0f} ms;"
        text += f" {replies} of {FLOWS} datagrams with a reply; replaced after {replaced:.1f} s"
        kept = replies == FLOWS and replaced <= 6 and connected > 0
        yield Figure(server.subject, text, kept, {"connected": connected, "slowest": slowest, "replaced": replaced})


# 28


def parent_killed(lab: Lab) -> Iterator[Figure]:
    """SIGKILL for the parent, with a connection open."""
    with lab.server(WORKERS, TCP) as server:
        assert server.daemon is not None
        yield _orphans(server.subject, server.pid, server.tcp["echo"], b"hello", server.daemon.process.kill)
        server.daemon.wait()
        server.daemon.urls.clear()
    for place, master in _nginx():
        yield _orphans(NGINX, master, place, b"", partial(os.kill, master, signal.SIGKILL))


def _orphans(subject: Subject, pid: int, place: Place, greeting: bytes, kill: Callable[[], object]) -> Figure:
    workers = _children(pid)
    with socket.create_connection(place) as client:
        client.sendall(greeting)
        began = time.monotonic()
        kill()
        closed = eventually(lambda: not _accepts(place), 5)
        refused = time.monotonic() - began
    gone = eventually(lambda: not any(Path(f"/proc/{one}").exists() for one in workers), 10)
    seconds = time.monotonic() - began
    for one in workers:
        if not gone:
            os.kill(one, signal.SIGKILL)
    text = f"new connections are refused after {refused:.2f} s" if closed else "new connections are still served"
    text += f", no process is left after {seconds:.1f} s" if gone else f", {many(len(workers), 'process')[:-1]}es stay"
    kept = closed and refused <= 2 and gone if subject is WORKERS else None
    return Figure(subject, text, kept, {"refused": refused, "gone": seconds})


def _accepts(place: Place) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(place) == 0


# 32

RESTARTS: Final = 6


def restarts(_lab: Lab) -> Iterator[Figure]:
    """Six restarts through the descriptor store in ten seconds of visits."""
    for subject, workers in ((ECHOD, 1), (WORKERS, 2)):
        with (
            tempfile.TemporaryDirectory(prefix="restarts-") as name,
            Manager(Path(name)) as manager,
            ExitStack() as stack,
        ):
            place = ("127.0.0.1", free_port())
            config = f'[daemon]\nworkers = {workers}\n[services.echo]\nlisten = ["tcp://{place[0]}:{place[1]}"]\n'
            running = [stack.enter_context(Daemon(config, environ={"NOTIFY_SOCKET": manager.where}))]
            again = partial(_restart, stack, manager, config, running)
            figures = visited(place, "hello", again, RESTARTS)
        kept = not figures["wrong"] and figures["longest"] <= 1_500
        yield _figure(subject, figures, "", kept)


def _restart(stack: ExitStack, manager: Manager, config: str, running: list[Daemon], _turn: int) -> None:
    running[-1].stop()
    passed = [(name, Held(number)) for name, number in manager.stored]
    running.append(stack.enter_context(activated(passed, config, environ={"NOTIFY_SOCKET": manager.where})))


# 47

CHECKED: Final = 60.0  #: seconds; `python -m tests.chaos.history` takes the number as an argument
SEED: Final = 47


def checked(_lab: Lab) -> Iterator[Figure]:
    """Random kills, stops, reloads, restarts and floods, and each byte of all clients compared."""
    record, done = history.run(CHECKED, SEED, lambda _name: None)
    values: dict[str, Any] = {"counts": dict(record.counts), "done": dict(done), "wrong": record.wrong}
    yield Figure(WORKERS, history.summary(record, done), not record.wrong, values)


SCENARIOS = (
    Scenario(
        26,
        "a worker is killed, six times",
        "only its own connections break, a visit takes at most 100 ms, and another worker serves within a second",
        kills,
    ),
    Scenario(
        28,
        "the parent of the workers is killed",
        "the workers stop accepting within 2 s, and none is left after `drain`",
        parent_killed,
    ),
    Scenario(
        32,
        "six restarts through the descriptor store",
        "no visit fails, and none takes longer than 1.5 s",
        restarts,
    ),
    Scenario(
        47,
        "random kills, stops, reloads, restarts and floods for a minute",
        "each byte comes back once and in order, unless its worker was killed",
        checked,
    ),
    Scenario(
        82,
        "a worker is stopped",
        "every new connection is served, the datagrams of its flows wait, and it is replaced within 6 s",
        hangs,
    ),
)

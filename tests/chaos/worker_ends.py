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
from tests.chaos.connect_burst import Crowd
from tests.chaos.exchanges import ADMIN, HTTP, TCP, VISITORS, administrator_of, nginx, visited
from tests.chaos.faults import family
from tests.chaos.lab import Lab, Place, Server
from tests.chaos.network import Lacking
from tests.chaos.report import Figure, Scenario, Subject, many
from tests.daemon import SECONDS, Daemon, accepts, eventually, free_port
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
        closed = eventually(lambda: not accepts(place), 5)
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


# 84

MESSAGES: Final = 100_000
AT_ONCE: Final = 64  #: clients of each worker: as many as one round of the fast path serves
BURST: Final = 1_000


def shared(lab: Lab) -> Iterator[Figure]:
    """The processor time of a message, and the shares of connections, with one process and with two workers."""
    for server in lab.each(ECHOD, WORKERS, services=UDP + ADMIN + '[services.echo.limits]\nrate = "0"\n'):
        workers = 2 if server.subject is WORKERS else 1
        before = server.cpu()
        _echo_over_tcp(server.tcp["echo"], AT_ONCE * workers)
        between = server.cpu()
        in_order = _echo_over_udp(server.udp["echo"], AT_ONCE * workers)
        tcp, udp = (between - before) / MESSAGES * 1e6, (server.cpu() - between) / MESSAGES * 1e6
        text = f"{tcp:.1f} µs of a processor for a message over TCP, {udp:.1f} µs over UDP"
        values: dict[str, Any] = {"tcp": tcp, "udp": udp}
        kept = None
        if workers > 1:
            shares = _shares(server)
            kept = in_order and max(shares) <= 0.6 * sum(shares)
            text += f"; {' and '.join(map(str, shares))} of {BURST:,} connections; "
            text += "every flow in order" if in_order else "a flow out of order"
            values |= {"shares": shares, "in_order": in_order}
        yield Figure(server.subject, text, kept, values)


def _echo_over_tcp(place: Place, count: int) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(place)) for _ in range(count)]
        for _ in range(MESSAGES // count):
            for client in clients:
                client.send(b"a message of 24 bytes ..")
            for client in clients:
                client.recv(24, socket.MSG_WAITALL)


def _echo_over_udp(place: Place, count: int) -> bool:
    """Send numbered datagrams in several flows; whether the replies of each flow are in order."""
    in_order = True
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(count)]
        for client in clients:
            client.connect(place)
            client.settimeout(SECONDS)
        for number in range(0, MESSAGES // count, 2):
            for client in clients:
                client.send(b"%023d" % number)
                client.send(b"%023d" % (number + 1))
            for client in clients:
                in_order = in_order and [int(client.recv(24)), int(client.recv(24))] == [number, number + 1]
    return in_order


def _shares(server: Server) -> list[int]:
    """The connections of each worker after a burst."""
    with Crowd(server.tcp["echo"], BURST) as crowd, administrator_of(server) as administrator:
        crowd.wait(SECONDS)
        return [one["connections"] for one in administrator.ask("/api/status")["workers"]]


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
        84,
        "two workers",
        "connections are shared within 60:40 in a burst, and each flow of datagrams stays in order",
        shared,
    ),
    Scenario(
        82,
        "a worker is stopped",
        "every new connection is served, the datagrams of its flows wait, and it is replaced within 6 s",
        hangs,
    ),
)

"""Floods of lines beside an echo client, and clients that read unrequested output slowly or not at all."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from tests.chaos import probe
from tests.chaos.lab import LOOPBACK, Lab, Place, Server
from tests.chaos.report import Figure, Scenario, Subject
from tests.daemon import SECONDS, TOP, accepts, environment, eventually, free_port

ECHOD, PLAIN, STOCK, *_ = Subject
MIB = 1 << 20

# 66

FLOODERS, FLOOD_SECONDS, ALLOWED_MS = 20, 5.0, 5
LINES = """
[services.echo]
listen = ["tcp://127.0.0.1:0"]
[services.chat]
listen = ["tcp://127.0.0.1:0"]
[services.console]
listen = ["tcp://127.0.0.1:0"]
"""
FLOODS = {"empty lines": b"\n", "lines above the rate": b"x\n"}


def newline_floods(lab: Lab) -> Iterator[Figure]:
    """An echo client's round trips while twenty clients of chat, or of console, send only lines."""
    for server in lab.each(ECHOD, PLAIN, services=LINES):
        before, waited = probe.stream(server.tcp["echo"], 2.0), server.waited()
        found = {
            f"{kind}, {name}": _beside(server.tcp["echo"], server.tcp[kind], line)
            for kind in ("chat", "console")
            for name, line in FLOODS.items()
        }
        yield _floods(server, before, found, server.waited() - waited)
    with _stock_chat() as (server, chat, echo):
        before, waited = probe.stream(echo, 2.0), server.waited()
        found = {f"chat, {name}": _beside(echo, chat, line) for name, line in FLOODS.items()}
        yield _floods(server, before, found, server.waited() - waited)


def _floods(server: Server, before: probe.Times, found: dict[str, probe.Times], waited: float) -> Figure:
    subject = server.subject
    where, worst = max(found.items(), key=lambda one: (one[1].lost, one[1].p99))
    text = f"another client's p99 {before.p99} ms before (median {before.median} ms); with them "
    text += f"no reply within {probe.PATIENCE:g} s" if worst.lost else f"{worst.p99} ms at most"
    text += f" ({where}), median {max(one.median for one in found.values())} ms at most"
    text += f"; the server waited {waited:.1f} of {FLOOD_SECONDS * len(found):.0f} s for a processor"
    kept = worst.p99 <= ALLOWED_MS and not worst.lost if subject is not STOCK else None
    return Figure(subject, text, kept, {"before": vars(before), **{name: vars(one) for name, one in found.items()}})


def _beside(echo: Place, place: Place, line: bytes) -> probe.Times:
    with _flooding(place, line):
        return probe.stream(echo, FLOOD_SECONDS)


@contextmanager
def _flooding(place: Place, line: bytes) -> Iterator[None]:
    words = [sys.executable, "-m", "tests.chaos.readers", str(FLOODERS), place[0], str(place[1]), line.hex()]
    with subprocess.Popen(words, cwd=TOP, env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it has begun
        try:
            yield
        finally:
            process.kill()


def flood(words: Sequence[str]) -> None:
    """COUNT HOST PORT LINE: send that line, in hex, without end by so many connections, and read the replies."""
    os.nice(19)  # a real attacker has its own machine
    clients = [socket.create_connection((words[1], int(words[2]))) for _ in range(int(words[0]))]
    data = bytes.fromhex(words[3]) * 32_768
    for client in clients:
        client.setblocking(False)
    print("now", flush=True)
    while clients:
        readable, writable, _ = select.select(clients, clients, [])
        for client in readable:
            if not client.recv(1 << 18):
                clients.remove(client)
        for client in set(writable) & set(clients):
            try:
                client.send(data)
            except BlockingIOError:
                continue


# 67

SEATS, CHURN_SECONDS, SEAT_BUDGET = 10, 12.0, 32
CONSOLE = f"""
[admin]
listen = ["unix://{{dir}}/admin.sock"]
[defaults.limits]
total-buffer = "{SEAT_BUDGET}MiB"
[services.echo]
listen = ["tcp://127.0.0.1:0"]
[services.console]
listen = ["tcp://127.0.0.1:0"]
"""


def slow_seats(lab: Lab) -> Iterator[Figure]:
    """Ten operators that do not read, while clients connect, send the longest line and leave."""
    for server in lab.each(ECHOD, PLAIN, services=CONSOLE):
        assert server.daemon is not None
        path, base = str(server.daemon.dir / "admin.sock"), server.memory()
        with ExitStack() as stack:
            seats = [stack.enter_context(_seat(path)) for _ in range(SEATS)]
            line, sent, ends, most = b"\xff" * 4095 + b"\n", 0, time.monotonic() + CHURN_SECONDS, 0
            while time.monotonic() < ends:
                with suppress(OSError), socket.create_connection(server.tcp["console"], SECONDS) as client:
                    client.sendall(line * 16)
                    client.shutdown(socket.SHUT_WR)
                sent += 16 * len(line)
                most = max(most, server.memory()) if sent % (256 * len(line)) == 0 else most
            grown = (max(most, server.memory()) - base) / MIB
            healthy = probe.stream(server.tcp["echo"], 2.0)
            gone = sum(map(_is_gone, seats))
        text = f"{SEATS} seats, {sent / MIB:,.0f} MiB sent by clients, memory {grown:+,.0f} MiB"
        text += f"; {gone} of the seats closed; another client's p99 {healthy.p99} ms"
        kept = grown <= SEAT_BUDGET + 32 and gone == SEATS
        yield Figure(server.subject, text, kept, {"grown": round(grown), "gone": gone, "healthy": vars(healthy)})


def _seat(path: str) -> socket.socket:
    seat = socket.socket(socket.AF_UNIX)
    seat.settimeout(SECONDS)
    seat.connect(path)
    seat.sendall(b"GET /api/console/console HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert seat.recv(15, socket.MSG_PEEK) == b"HTTP/1.1 200 OK"[:15]
    return seat


def _is_gone(seat: socket.socket) -> bool:
    try:
        while seat.recv(1 << 18):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


# 68

MEMBERS, MEMBER_BUDGET, ASKED = 1_500, 64, 200
CROWD = f"""
[defaults.limits]
per-client = 10000
total-buffer = "{MEMBER_BUDGET}MiB"
[services.echo]
listen = ["tcp://127.0.0.1:0"]
[services.chat]
lines-per-second = 0
room-lines-per-second = 0
listen = ["tcp://127.0.0.1:0"]
"""


def silent_members(lab: Lab) -> Iterator[Figure]:
    """Members that do not read, each of which requests the help repeatedly, and one that talks."""
    for server in lab.each(ECHOD, PLAIN, services=CROWD):
        yield _silent(server, server.tcp["chat"], server.memory, b"/help\n" * ASKED)
    with _stock_chat() as (server, chat, _):
        yield _silent(server, chat, server.memory, b"a line of a member\n" * 4)


def _silent(server: Server, place: Place, memory: Callable[[], int], asks: bytes) -> Figure:
    base = memory()
    with ExitStack() as stack:
        members = [stack.enter_context(_narrow(place)) for _ in range(MEMBERS)]
        for number, member in enumerate(members):
            member.sendall(b"/nick n%d\n" % number if server.ours else b"n%d\n" % number)
        for member in members:
            member.sendall(asks)
        talker = stack.enter_context(socket.create_connection(place, SECONDS))
        talker.sendall(b"/nick talker\n" if server.ours else b"talker\n")
        for _ in range(100):
            talker.sendall(b"x" * 1000 + b"\n")
        talker.sendall(b"the end\n/who\n")
        talker.settimeout(120)
        whole = b""
        while server.ours and b"-- in lobby" not in whole:  # everything before it has been processed
            whole = whole[-100:] + talker.recv(1 << 18)
        time.sleep(3)
        grown = (memory() - base) / MIB
    text = f"{MEMBERS:,} members that do not read, memory {grown:+,.0f} MiB with {MEMBER_BUDGET} MiB of `total-buffer`"
    kept = grown <= MEMBER_BUDGET + 32 if server.ours else None
    return Figure(server.subject, text if server.ours else text.partition(" with")[0], kept, {"grown": round(grown)})


def _narrow(place: Place) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(SECONDS)
    client.connect(place)
    return client


@contextmanager
def _stock_chat() -> Iterator[tuple[Server, Place, Place]]:
    """Stock Twisted's chat, and its echo in the same process."""
    chat, echo = free_port(), free_port()
    words = [sys.executable, str(TOP / "tests/chaos/peers/stock_chat.py"), LOOPBACK, str(chat), str(echo)]
    with subprocess.Popen(words, cwd=TOP, env=environment(), stderr=subprocess.DEVNULL) as process:
        try:
            places = {"chat": (LOOPBACK, chat), "echo": (LOOPBACK, echo)}
            assert eventually(lambda: accepts(places["echo"]))
            yield Server(STOCK, process.pid, places, {}), places["chat"], places["echo"]
        finally:
            process.kill()


SCENARIOS = (
    Scenario(
        66,
        f"{FLOODERS} clients of chat, or of console, that send only line ends",
        f"another client's p99 at most {ALLOWED_MS} ms",
        newline_floods,
    ),
    Scenario(
        67,
        f"{SEATS} operators that do not read",
        "at most 32 MiB of memory above `total-buffer`, and all of them disconnected",
        slow_seats,
    ),
    Scenario(
        68,
        f"{MEMBERS:,} chat members that do not read",
        "at most 32 MiB of memory above `total-buffer`",
        silent_members,
    ),
)

if __name__ == "__main__":
    flood(sys.argv[1:])

"""The admin interface under load: clients that read nothing, and long lists beside an echo client and root."""

from __future__ import annotations

import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.chaos import probe
from tests.chaos.lab import Lab, Place
from tests.chaos.network import Lacking
from tests.chaos.report import Figure, Scenario, Subject, many
from tests.daemon import SECONDS, accepts, eventually, free_port, memory

ECHOD, PLAIN = Subject.ECHOD, Subject.PLAIN
SERVICES: Final = """
[admin]
listen = ["unix://{dir}/admin.sock", "tcp://127.0.0.1:0"]
[defaults.limits]
total-buffer = "32MiB"
[services.echo]
listen = ["tcp://127.0.0.1:0"]
limits.per-client = 10000
"""
MIB: Final = 2**20

# Each loader is its own process: its processor time does not delay the process that measures.
_READS_NOTHING: Final = """
import os, select, socket, sys, time
os.nice(19)
host, port, path, count, seconds = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), float(sys.argv[5])
request = f"GET {path} HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n".encode() * 50
clients, ends, sent = [], time.monotonic() + seconds, 0
while time.monotonic() < ends:
    while len(clients) < count:
        client = socket.create_connection((host, port), 20)
        client.setblocking(False)
        clients.append(client)
    for client in select.select([], clients, [], 0.1)[1]:
        try:
            sent += client.send(request)
        except OSError:
            clients.remove(client)
            client.close()
print(sent, flush=True)
sys.stdin.read()
"""
_READS: Final = """
import os, socket, sys, threading, time
os.nice(19)
host, port, path, count, seconds = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), float(sys.argv[5])
request = f"GET {path} HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n".encode()
ends, read = time.monotonic() + seconds, [0]
def load():
    while time.monotonic() < ends:
        try:
            with socket.create_connection((host, port), 20) as client:
                client.sendall(request)
                while piece := client.recv(65536):
                    read[0] += len(piece)
        except OSError:
            time.sleep(0.01)
threads = [threading.Thread(target=load) for _ in range(count)]
for one in threads: one.start()
for one in threads: one.join()
print(read[0], flush=True)
"""

# 70

READERS, UNREAD_SECONDS, MOST = 30, 12.0, 32


def unread(lab: Lab) -> Iterator[Figure]:
    """Thirty clients send requests repeatedly, and read no response."""
    for server in lab.each(ECHOD, PLAIN, services=SERVICES):
        before, after, sent = _unread(server.tcp["admin"], "/metrics", server.pid)
        text = f"{before:.0f} MiB before, {after:.0f} MiB after {sent / MIB:.1f} MiB of requests"
        yield Figure(server.subject, text, after - before <= MOST, {"before": before, "after": after, "sent": sent})
    try:
        with _haproxy_statistics() as (place, pid):
            before, after, sent = _unread(place, "/;csv", pid)
            yield Figure(Subject.HAPROXY, f"{before:.0f} MiB before, {after:.0f} MiB after {sent / MIB:.1f} MiB")
    except Lacking:
        return


def _unread(place: Place, path: str, pid: int) -> tuple[float, float, int]:
    """MiB of memory before and at most during it, and the bytes of requests that the server accepted."""
    before = most = memory(pid) / MIB
    with _loader(_READS_NOTHING, place, path, READERS, UNREAD_SECONDS) as loader:
        assert loader.stdout is not None
        ends = time.monotonic() + UNREAD_SECONDS
        while time.monotonic() < ends:
            time.sleep(0.25)
            most = max(most, memory(pid) / MIB)
        sent = int(loader.stdout.readline())
        most = max(most, memory(pid) / MIB)
    return before, most, sent


# 71

CLIENTS, LOADERS, ASKS, QUICK, ASKED = 3000, 30, 200, 5.0, 8.0


def read_load(lab: Lab) -> Iterator[Figure]:
    """Thirty readers of the list of 3,000 connections, an echo client, and root's requests over the Unix socket."""
    _room_for(CLIENTS + 200)
    for server in lab.each(ECHOD, PLAIN, services=SERVICES):
        assert server.daemon is not None
        path = str(server.daemon.dir / "admin.sock")
        with ExitStack() as stack:
            for _ in range(CLIENTS):
                stack.enter_context(socket.create_connection(server.tcp["echo"], SECONDS))
            quiet = probe.stream(server.tcp["echo"], ASKED / 2)
            with _loader(_READS, server.tcp["admin"], "/api/connections?limit=10000", LOADERS, 3 * ASKED) as loader:
                assert loader.stdout is not None
                time.sleep(1)
                waited = server.waited()
                beside = probe.stream(server.tcp["echo"], ASKED)
                waited = server.waited() - waited
                refused = sum(not _answered(path) for _ in range(ASKS))
                read = int(loader.stdout.readline())
        text = f"another client's p99 {quiet.p99} ms before, {beside.p99} ms during it, in which the server waited"
        text += f" {waited:.1f} of {ASKED:.0f} s for a processor; {refused} of {ASKS}"
        text += f" requests of root refused; {read / MIB:.0f} MiB of lists read"
        kept = beside.p99 <= QUICK and not beside.lost and not refused
        yield Figure(server.subject, text, kept, {"quiet": vars(quiet), "beside": vars(beside), "refused": refused})


def _answered(path: str) -> bool:
    """Whether root's request over the Unix socket has a complete response."""
    said = b""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(SECONDS)
            client.connect(path)
            client.sendall(b"GET /api/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while piece := client.recv(65_536):
                said += piece
    except OSError:
        return False
    return said.startswith(b"HTTP/1.1 200 ") and said.endswith(b"0\r\n\r\n")


@contextmanager
def _loader(script: str, place: Place, path: str, count: int, seconds: float) -> Iterator[subprocess.Popen[bytes]]:
    words = [sys.executable, "-c", script, place[0], str(place[1]), path, str(count), str(seconds)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def _haproxy_statistics() -> Iterator[tuple[Place, int]]:
    """HAProxy with its statistics page, and its process. Raises Lacking."""
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        raise Lacking("haproxy is not installed")
    place = ("127.0.0.1", free_port())
    with tempfile.TemporaryDirectory(prefix="haproxy-") as folder:
        file = Path(folder, "haproxy.cfg")
        file.write_text(
            "defaults\n  mode http\n  timeout client 60s\n  timeout connect 5s\n  timeout server 60s\n"
            f"frontend statistics\n  bind {place[0]}:{place[1]}\n  stats enable\n  stats uri /\n"
        )
        with subprocess.Popen([program, "-db", "-f", str(file)], stderr=subprocess.DEVNULL) as process:
            try:
                if not eventually(lambda: accepts(place)):
                    raise Lacking("haproxy does not become ready")
                yield place, process.pid
            finally:
                process.kill()


def _room_for(descriptors: int) -> None:
    """Raise this process's limit of open files. Raises Lacking."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < descriptors:
        raise Lacking(f"{many(descriptors, 'descriptor')} are not allowed")
    if soft < descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))


SCENARIOS = (
    Scenario(
        70,
        f"{many(READERS, 'client')} of the admin interface that read nothing",
        f"memory grows by at most {MOST} MiB",
        unread,
    ),
    Scenario(
        71,
        f"{many(LOADERS, 'reader')} of the list of {many(CLIENTS, 'connection')}",
        f"another client's p99 at most {QUICK:g} ms, and none of root's {ASKS} requests refused",
        read_load,
    ),
)

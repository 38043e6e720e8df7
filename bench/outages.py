"""Failures of Redis for ten seconds, as the members of a room over two daemons notice them: `python -m bench.outages`.

Two members of the first daemon and one of the second send ten lines a second each. The server is stopped, killed,
paused (SIGSTOP), or its memory is full. It prints a table in Markdown: notices, and lines that were lost or came twice.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from bench.chat import JOINED, daemon
from bench.signals import terminated_with_children

BEFORE, LONG, LIMIT, AFTER = 2.0, 10.0, 40.0, 3.0  #: seconds: before, of the failure, until it is over, after that
EVERY: Final = 0.1  #: seconds between two lines of a member
LOST, RESTORED = b"-- the connection to other servers is lost", b"-- the connection to other servers is restored"


class Server:
    """A Redis server on a free port."""

    def __init__(self, folder: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            raise SystemExit("bench.outages: redis-server or valkey-server is not installed")
        self._words = [program, "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--dir", folder]
        self.start()

    def start(self) -> None:
        """Start it."""
        self._process = subprocess.Popen(self._words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it, and wait for that."""
        self.send_signal(number)
        self._process.wait()

    def limit(self, size: str) -> None:
        """Set the maximum of its memory, and assert that a key is refused if there is one."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(f"CONFIG SET maxmemory {size}\r\nSET key value\r\n".encode())
            with connection.makefile("rb") as replies:
                assert replies.readline() == b"+OK\r\n"
                assert replies.readline().startswith(b"-OOM" if size != "0" else b"+OK")


FAILURES: Final[dict[str, tuple[Callable[[Server], None], Callable[[Server], None]]]] = {
    "stopped, started again": (lambda one: one.end(signal.SIGTERM), Server.start),
    "killed, started again": (Server.end, Server.start),
    "paused (SIGSTOP)": (lambda one: one.send_signal(signal.SIGSTOP), lambda one: one.send_signal(signal.SIGCONT)),
    "memory full": (lambda one: one.limit("1mb"), lambda one: one.limit("0")),
}


class Member:
    """A member that sends numbered lines."""

    def __init__(self, path: str, name: str) -> None:
        self.name, self.sent, self.data = name, 0, b""
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.socket.sendall(f"/nick {name}\n".encode())
        self.socket.setblocking(False)

    def turn(self) -> None:
        """Send a line, and read what has arrived."""
        self.sent += 1
        self.socket.sendall(f"line {self.sent}\n".encode())
        self.read()

    def read(self) -> None:
        """Read what has arrived."""
        try:
            while data := self.socket.recv(1 << 16):
                self.data += data
        except BlockingIOError:
            pass

    def lines_of(self, name: str) -> Counter[bytes]:
        """The lines of another member, and how often each was read."""
        return Counter(one for one in self.data.split(b"\n") if one.startswith(f"{name}: line ".encode()))


def row(name: str) -> str:
    """The row of one failure."""
    fail, mend = FAILURES[name]
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder)
        bus = f"redis://127.0.0.1:{server.port}/0"
        try:
            with daemon(1, bus) as (_, first), daemon(1, bus) as (_, second):
                time.sleep(2 * JOINED)  # the daemons may have started before the server
                members = [Member(first, "a"), Member(first, "b"), Member(second, "c")]
                time.sleep(1)

                def talk(seconds: float, until: Callable[[], bool] = lambda: False) -> None:
                    end = time.monotonic() + seconds
                    while time.monotonic() < end and not until():
                        for one in members:
                            one.turn()
                        time.sleep(EVERY)

                talk(BEFORE)
                fail(server)
                talk(LONG)
                mend(server)
                talk(LIMIT, lambda: all(one.data.count(LOST) == one.data.count(RESTORED) for one in members))
                talk(AFTER)
                time.sleep(1)
                for one in members:
                    one.read()
                return f"| {name} | {described(members)} |"
        finally:
            server.end()


def described(members: list[Member]) -> str:
    """The notices of each member, and the lines that were lost or came twice."""
    lost: Counter[bool] = Counter()
    twice = sent = 0
    for one in members:
        sent += one.sent
        for other in members:
            if one is not other:
                read = other.lines_of(one.name)
                twice += sum(read.values()) - len(read)
                lost[{one.name, other.name} == {"a", "b"}] += one.sent - len(read)
    notices = ", ".join(f"{one.data.count(LOST)} and {one.data.count(RESTORED)}" for one in members)
    return f"{sent} | {notices} | {lost[True]} | {lost[False]} | {twice}"


def main(words: Sequence[str] | None = None) -> None:
    """Print the table; all failures are tried at once, each with its own server and daemons."""
    argparse.ArgumentParser(prog="python -m bench.outages", description=__doc__).parse_args(words)
    print("| Redis | Lines sent | Notices of a loss and of its end, for each member | Deliveries lost in one daemon "
          "| Deliveries lost between daemons | Twice |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- |")
    with ThreadPoolExecutor(len(FAILURES)) as pool:
        for text in pool.map(row, FAILURES):
            print(text, flush=True)


if __name__ == "__main__":
    with terminated_with_children():
        main()

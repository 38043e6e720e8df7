"""A checker of the history of all client bytes, while the workers of a daemon are killed, stopped, reloaded, restarted
and flooded at random: `python -m tests.chaos.history --seconds 600 --seed 1`.

Each byte that a TCP client sends must come back once, in order, until the client's own end. A connection that ends
before may only be one of a worker that was killed. A datagram may be lost, but never be repeated, or overtaken by a
later one of its flow; losses are counted. No new connection may be refused.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.option_values import decimal_number, whole_number
from tests.activation import activated
from tests.daemon import SECONDS, Daemon, eventually, free_port
from tests.manager import Held, Manager

STREAMS: Final = 12  #: TCP clients at once
FLOWS: Final = 8  #: UDP clients at once
PIECE: Final = 16_384  #: bytes that a TCP client sends at most in one piece
PATIENCE: Final = 20.0  #: seconds that a client waits for a byte: a worker that hangs is replaced after five
REPLACED: Final = 60.0
"""Seconds for the replacement of a worker: after many ends it waits for up to 30. The next nemesis waits for that, so
another worker always serves."""
EXPLAINED: Final = 70.0  #: seconds that a client waits for the record of a kill: it is made after the replacement
CALM: Final = (0.2, 2.0)  #: seconds between two nemeses
DRAIN: Final = "15s"
AGO: Final = 2.0
"""Seconds: a connection that began so shortly before a kill may have been accepted after the list of connections."""


@dataclass
class Kill:
    """The end of a worker: when it was killed and replaced, on the monotonic clock, and the clients that it served."""

    since: float  #: the list of connections was requested after this
    struck: float  #: the worker was killed after this, and after the list
    until: float
    worker: int
    known: dict[str, int]  #: the worker of each client, shortly before


@dataclass
class History:
    """The record of a run. The clients of all threads write to it."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    finish: threading.Event = field(default_factory=threading.Event)  #: a restart: end every connection
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, number: int = 1) -> None:
        with self.lock:
            self.counts[what] += number

    def fail(self, text: str) -> None:
        with self.lock:
            self.wrong.append(text)

    def explained(self, name: str, began: float) -> bool:
        """Whether the connection of the client `name` ended with a worker that was killed."""
        with self.lock:
            for kill in self.kills:
                if kill.known.get(name) == kill.worker and began <= kill.struck:
                    return True
                if name not in kill.known and kill.since - AGO <= began <= kill.until:
                    return True
        return False


class StreamClient:
    """Sends random pieces and compares what comes back, over one connection after the other."""

    def __init__(self, history: History, place: tuple[str, int], seed: int) -> None:
        self._history = history
        self._place = place
        self._random = random.Random(seed)
        self._ended = ""

    def run(self) -> None:
        while not self._history.over.is_set():
            if self._history.finish.is_set():
                time.sleep(0.01)
                continue
            began = time.monotonic()
            try:
                client = socket.create_connection(self._place, PATIENCE)
            except OSError as error:
                self._history.fail(f"a connection was refused: {error}")
                continue
            with client:
                host, port = client.getsockname()
                client.settimeout(PATIENCE)
                self._history.count("connections")
                if not self._exchange(client):
                    if not eventually(partial(self._history.explained, f"{host}:{port}", began), EXPLAINED):
                        lasted = f"{time.monotonic() - began - EXPLAINED:.1f} s, {self._ended}"
                        self._history.fail(f"connection of port {port} ended without a kill of its worker: {lasted}")
                    self._history.count("connections that ended with a worker")

    def _exchange(self, client: socket.socket) -> bool:
        """Whether every byte came back, and then the end."""
        sent, came = bytearray(), 0
        try:
            for _ in range(self._random.randrange(1, 60)):
                if self._history.finish.is_set() or self._history.over.is_set():
                    break
                piece = self._random.randbytes(self._random.randrange(1, PIECE))
                client.sendall(piece)
                sent += piece
                if self._random.random() < 0.8:
                    came = self._compare(client, sent, came, len(sent) - self._random.randrange(len(piece)))
                time.sleep(self._random.random() * 0.02)
            client.shutdown(socket.SHUT_WR)
            came = self._compare(client, sent, came, len(sent))
            if client.recv(1):
                self._history.fail("more bytes came back than were sent")
        except (OSError, EOFError) as error:
            self._ended = f"{len(sent)} bytes sent, {came} came back: {type(error).__name__} {error}"
            return False
        finally:
            self._history.count("bytes", came)
        return True

    def _compare(self, client: socket.socket, sent: bytearray, came: int, wanted: int) -> int:
        """Receive until `wanted` bytes have come back. Raises EOFError at an early end."""
        while came < wanted:
            piece = client.recv(65_536)
            if not piece:
                raise EOFError
            if piece != sent[came : came + len(piece)]:
                self._history.fail(f"wrong bytes after {came} bytes")
                raise EOFError
            came += len(piece)
        return came


class FlowClient:
    """Sends numbered datagrams over one flow after the other; replies may be missing, and nothing else."""

    def __init__(self, history: History, place: tuple[str, int], seed: int) -> None:
        self._history = history
        self._place = place
        self._random = random.Random(seed)

    def run(self) -> None:
        while not self._history.over.is_set():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.connect(self._place)
                client.settimeout(0.2)
                self._flow(client)

    def _flow(self, client: socket.socket) -> None:
        last, sent, came = -1, 0, 0
        for number in range(self._random.randrange(1, 300)):
            if self._history.over.is_set() or self._history.finish.is_set():
                break
            try:
                client.send(b"%d" % number)
                sent += 1
                while came < sent:
                    last = self._newer(int(client.recv(100)), last)
                    came += 1
            except TimeoutError:
                continue
            except ConnectionRefusedError:  # only between two daemons without the socket: never
                self._history.fail("a datagram was refused")
            time.sleep(self._random.random() * 0.01)
        client.settimeout(6.0 if came < sent else 0.01)  # replies that wait for the replacement of a hung worker
        try:
            while came < sent:
                last = self._newer(int(client.recv(100)), last)
                came += 1
        except OSError:
            pass
        self._history.count("datagrams", sent)
        self._history.count("datagrams without a reply", sent - came)

    def _newer(self, number: int, last: int) -> int:
        if number <= last:
            self._history.fail(f"datagram {number} came back after {last}")
        return number


class Nemesis:
    """Disturbs a daemon in one way after the other."""

    def __init__(self, history: History, seed: int, folder: Path, manager: Manager, config: str, workers: int) -> None:
        self._history = history
        self._workers = workers
        self._random = random.Random(seed)
        self._manager = manager
        self._config = config
        self._turn = 0
        self._folder = folder
        self.daemon: Daemon
        self.done: Counter[str] = Counter()

    def start(self, stack: ExitStack) -> None:
        """Start the daemon, with the descriptors that the manager keeps."""
        environ = {"NOTIFY_SOCKET": self._manager.where}
        passed = [(name, Held(number)) for name, number in self._manager.stored]
        made = activated(passed, self._config, environ=environ) if passed else Daemon(self._config, environ=environ)
        self.daemon = stack.enter_context(made)

    def disturb(self) -> str:
        """Do one thing, and return its name."""
        ways: list[Callable[[], None]] = [self.kill, self.hang, self.reload, self.bad_reload, self.restart, self.flood]
        way = self._random.choices(ways, (5, 1, 4, 2, 1, 2))[0]
        way()
        self.done[way.__name__] += 1
        return way.__name__

    def kill(self) -> None:
        """SIGKILL one worker."""
        self._end(signal.SIGKILL)

    def hang(self) -> None:
        """SIGSTOP one worker; the parent must replace it."""
        self._end(signal.SIGSTOP)

    def _end(self, number: signal.Signals) -> None:
        workers = [one for one in self.ask("/api/status")["workers"] if one["serving"]]
        if not workers:
            return
        chosen = self._random.choice(workers)
        since = time.monotonic()
        listed = self.ask("/api/connections?limit=10000")
        known = {one["peer"]: one["worker"] for one in listed if "worker" in one}
        struck = time.monotonic()
        os.kill(chosen["pid"], number)
        replaced = eventually(lambda: self._is_replaced(chosen["pid"]), REPLACED)
        if not replaced:
            self._history.fail(f"worker {chosen['worker']} was not replaced after {number.name}")
        with self._history.lock:
            self._history.kills.append(Kill(since, struck, time.monotonic(), chosen["worker"], known))

    def _is_replaced(self, pid: int) -> bool:
        serving = self.serving()
        return pid not in serving and len(serving) == self._workers

    def reload(self) -> None:
        """Change a limit."""
        self._turn += 1
        self._write(f"{self._config}\n[services.echo.limits]\nidle = '{self._turn + 600}s'\n")
        self.ask("/api/reload", "POST", 200)

    def bad_reload(self) -> None:
        """A configuration that cannot be served."""
        self._write(f"{self._config}\n[services.x]\nkind = 'nothing'\n")
        self.ask("/api/reload", "POST", 422)

    def restart(self) -> None:
        """Stop the daemon, and start the next one with its sockets. The clients end their connections meanwhile."""
        self._history.finish.set()
        code = self.daemon.stop()
        if code:
            self._history.fail(f"the stop ended with {code}")
        self.daemon.check_for_bugs()
        self.daemon.close()
        self.start(self._stack)
        self._history.finish.clear()

    def flood(self) -> None:
        """Connections that are reset, and datagrams that nothing answers."""
        place = self._place
        for _ in range(500):
            with socket.socket() as client:
                client.setblocking(False)
                client.connect_ex(place)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for _ in range(2000):
                client.sendto(b"flood", place)

    def serving(self) -> list[int]:
        """The processes of the workers that serve."""
        return [one["pid"] for one in self.ask("/api/status")["workers"] if one["serving"]]

    def ask(self, path: str, method: str = "GET", code: int = 200) -> Any:
        """The answer of the admin interface."""
        request = f"{method} {path} HTTP/1.0\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(SECONDS)
            admin.connect(str(self._folder / "admin.sock"))
            admin.sendall(request.encode())
            answer = b""
            while piece := admin.recv(65_536):
                answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        if int(head.split()[1]) != code:
            self._history.fail(f"{method} {path}: {head.splitlines()[0].decode()} {body[:200].decode()}")
        return json.loads(body)

    def _write(self, text: str) -> None:
        (self.daemon.dir / "echod.toml").write_text(text.replace("{dir}", str(self.daemon.dir)), "utf-8")

    def run(self, place: tuple[str, int], seconds: float, stack: ExitStack, say: Callable[[str], object]) -> None:
        """Disturb the daemon for so many seconds."""
        self._place, self._stack = place, stack
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and not self._history.wrong:
            time.sleep(self._random.uniform(*CALM))
            say(self.disturb())


def run(seconds: float, seed: int, say: Callable[[str], object], workers: int = 2) -> tuple[History, Counter[str]]:
    """Run clients and nemeses for so many seconds."""
    history = History()
    port = free_port()
    place = ("127.0.0.1", port)
    with tempfile.TemporaryDirectory(prefix="history-") as name, Manager(Path(name)) as manager, ExitStack() as stack:
        config = f'[daemon]\nworkers = {workers}\ndrain = "{DRAIN}"\n'
        config += f'[admin]\nlisten = ["unix://{name}/admin.sock"]\n'
        config += f'[services.echo]\nlisten = ["tcp://127.0.0.1:{port}", "udp://127.0.0.1:{port}"]\n'
        nemesis = Nemesis(history, seed, Path(name), manager, config, workers)
        nemesis.start(stack)
        with _running(history, place, seed):
            nemesis.run(place, seconds, stack, say)
        nemesis.daemon.check_for_bugs()
    return history, nemesis.done


@contextmanager
def _running(history: History, place: tuple[str, int], seed: int) -> Iterator[None]:
    clients: list[StreamClient | FlowClient] = [
        StreamClient(history, place, seed * 1000 + number) for number in range(STREAMS)
    ]
    clients += [FlowClient(history, place, seed * 1000 + 500 + number) for number in range(FLOWS)]
    threads = [threading.Thread(target=one.run, daemon=True) for one in clients]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        history.over.set()
        for thread in threads:
            thread.join(SECONDS + EXPLAINED)
            if thread.is_alive():
                history.fail("a client did not end")


def summary(history: History, done: Counter[str]) -> str:
    """The result of a run in one line."""
    counts = ", ".join(f"{number:,} {what}" for what, number in history.counts.items())
    nemeses = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in done.items())
    return f"{counts}; nemeses: {nemeses}; {len(history.wrong)} wrong"


def main(words: Sequence[str] | None = None) -> int:
    """Run, print, and return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.history", description=__doc__)
    parser.add_argument("--seconds", type=decimal_number(1, 1e6), default=600.0, help="length of the run (600)")
    parser.add_argument(
        "--seed",
        type=int,
        default=random.SystemRandom().randrange(10**6),
        help="repeat a run (default: random, and printed)",
    )
    parser.add_argument("--workers", type=whole_number(2), default=2, help="workers of the daemon (2)")
    options = parser.parse_args(words)
    print(f"seed {options.seed}, {options.seconds:g} s, {options.workers} workers", flush=True)
    history, done = run(options.seconds, options.seed, lambda name: print(name, end=" ", flush=True), options.workers)
    print("", summary(history, done), *history.wrong, sep="\n")
    return int(bool(history.wrong))


if __name__ == "__main__":
    sys.exit(main())

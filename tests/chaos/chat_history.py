"""A checker of all lines of a chat over several workers: `python -m tests.chaos.chat_history --seconds 60 --seed 1`.

Members send numbered lines. Meanwhile workers are killed, stopped for a moment, and reloaded at random. A member must
receive the lines of each other member in order, each once, and without a gap except where a line tells of missing ones.
A connection may end only with a worker that was killed. In the end, all members see the same names.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import selectors
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Final

from bench.option_values import decimal_number, whole_number
from tests.chaos.lab import Lab
from tests.chaos.report import Figure, Scenario
from tests.daemon import Daemon, eventually

MEMBERS: Final = 24
EVERY: Final = 0.2  #: seconds between two lines of a member
CALM: Final = (0.5, 2.0)  #: seconds between two nemeses
PAUSE: Final = 1.0  #: seconds for which a worker is stopped: the parent kills it after five
PATIENCE: Final = 30.0
CONFIG: Final = """
[daemon]
workers = {workers}
[admin]
listen = ["unix://{{dir}}/admin.sock"]
[services.chat]
listen = ["tcp://127.0.0.1:0"]
lines-per-second = 0
room-lines-per-second = 0
history = {history}
"""
_SAID: Final = re.compile(r"(\w+): line (\d+)")
_WELCOME: Final = re.compile(r"-- welcome: you are (\w+)")
_WHO: Final = re.compile(r"-- in lobby: (.*)")


class Member:
    """A member of the lobby, and the numbers that it has seen of each other member."""

    def __init__(self, place: tuple[str, int]) -> None:
        self.socket = socket.create_connection(place, PATIENCE)
        self.began = time.monotonic()
        self.socket.setblocking(False)
        self.name = ""
        self.sent = 0
        self.due = self.began + random.random() * EVERY
        self.seen: dict[str, int] = {}
        self.gap = False  # a line has told of missing lines
        self.names: set[str] = set()
        self._rest = b""

    def read(self, wrong: Callable[[str], None], counts: Counter[str]) -> bool:
        """Read and check what has arrived. Returns whether the connection is open."""
        try:
            data = self.socket.recv(65_536)
        except BlockingIOError:
            return True
        except OSError:
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line.decode(), wrong, counts)
        return bool(data)

    def _take(self, line: str, wrong: Callable[[str], None], counts: Counter[str]) -> None:
        if found := _SAID.fullmatch(line):
            name, number = found[1], int(found[2])
            last = self.seen.get(name)
            if last is not None and number <= last:
                wrong(f"{self.name} got line {number} of {name} after {last}")
            elif last is not None and number > last + 1 and not self.gap:
                wrong(f"{self.name} got line {number} of {name} after {last}, without a notice")
            self.seen[name] = number
            counts["lines received"] += 1
        elif found := _WELCOME.match(line):
            self.name = found[1]
        elif found := _WHO.fullmatch(line):
            self.names = set(found[1].split(", "))
        elif "missing here" in line or "not sent" in line:
            self.gap = True
            counts["notices of missing lines"] += 1


class Room:
    """The members, and the daemon that is disturbed."""

    def __init__(self, daemon: Daemon, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._daemon = daemon
        self._place = daemon.inet("chat", "tcp")
        self._random = random.Random(seed)
        self._selector = selectors.DefaultSelector()
        self._members: dict[str, Member] = {}  # by the address of the client
        self._killed: dict[str, int] = {}  # the worker of each client that a kill explains

    def run(self, seconds: float, say: Callable[[str], object]) -> None:
        """Talk for so many seconds, with a nemesis now and then; then compare."""
        ends, nemesis = time.monotonic() + seconds, time.monotonic() + CALM[1]
        while (now := time.monotonic()) < ends and not self.wrong:
            while len(self._members) < MEMBERS:
                self._join()
            self._talk(now)
            self._read(0.01)
            if now > nemesis:
                say(self._disturb())
                nemesis = time.monotonic() + self._random.uniform(*CALM)
        self._finish()
        for member in self._members.values():
            member.socket.close()
        self._selector.close()

    def _join(self) -> None:
        member = Member(self._place)
        host, port = member.socket.getsockname()
        self._members[f"{host}:{port}"] = member
        self._selector.register(member.socket, selectors.EVENT_READ, f"{host}:{port}")
        self.counts["members"] += 1

    def _talk(self, now: float) -> None:
        for member in self._members.values():
            if member.name and now >= member.due:
                member.due = now + EVERY
                member.sent += 1
                self._send(member, b"line %d\n" % member.sent)
                self.counts["lines sent"] += 1

    def _send(self, member: Member, data: bytes) -> None:
        try:
            member.socket.send(data)
        except OSError:  # its worker was killed: reading finds the end
            pass

    def _read(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            member = self._members[key.data]
            if not member.read(self.wrong.append, self.counts):
                self._ended(key.data, member)

    def _ended(self, peer: str, member: Member) -> None:
        self._selector.unregister(member.socket)
        member.socket.close()
        del self._members[peer]
        self.counts["members that ended with a worker"] += 1
        if peer not in self._killed:
            self.wrong.append(f"{member.name} was disconnected without a kill of its worker")

    def _disturb(self) -> str:
        way = self._random.choice((self._kill, self._stop, self._reload))
        way()
        name = way.__name__.strip("_")
        self.done[name] += 1
        return name

    def _workers(self) -> list[dict[str, Any]]:
        """The workers that serve, when there is one: replacements may wait after many ends."""
        found: list[dict[str, Any]] = []

        def serve() -> bool:
            found[:] = [one for one in self.ask("/api/status")["workers"] if one["serving"]]
            return bool(found)

        assert eventually(serve, 60)
        return found

    def _kill(self) -> None:
        chosen = self._random.choice(self._workers())
        for one in self.ask("/api/connections?limit=10000"):
            if one.get("worker") == chosen["worker"]:
                self._killed[one["peer"]] = chosen["worker"]
        os.kill(chosen["pid"], signal.SIGKILL)
        if not eventually(lambda: chosen["pid"] not in [one["pid"] for one in self._workers()], PATIENCE):
            self.wrong.append("a killed worker was not replaced")

    def _stop(self) -> None:
        pid = self._random.choice(self._workers())["pid"]
        os.kill(pid, signal.SIGSTOP)
        until = time.monotonic() + PAUSE
        while time.monotonic() < until:
            self._talk(time.monotonic())
            self._read(0.01)
        os.kill(pid, signal.SIGCONT)

    def _reload(self) -> None:
        file = self._daemon.dir / "echod.toml"
        text = file.read_text("utf-8")
        file.write_text(re.sub(r"history = \d+", f"history = {self._random.randrange(20)}", text), "utf-8")
        self.ask("/api/reload", "POST")

    def _finish(self) -> None:
        """Each member has seen the last line of each other member, and the same names."""

        def complete() -> bool:
            for member in self._members.values():
                self._send(member, b"/who\n")
            self._read(0.1)
            names = {member.name: member.sent for member in self._members.values()}
            return all(
                member.names == names.keys()
                and all(member.seen.get(name, 0) == sent for name, sent in names.items() if name != member.name)
                for member in self._members.values()
            )

        if not self.wrong and not eventually(complete, PATIENCE):
            self.wrong.append("the members have not seen the same lines and names")

    def ask(self, path: str, method: str = "GET") -> Any:
        """The answer of the admin interface."""
        request = f"{method} {path} HTTP/1.0\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(PATIENCE)
            admin.connect(str(self._daemon.dir / "admin.sock"))
            admin.sendall(request.encode())
            answer = b""
            while piece := admin.recv(65_536):
                answer += piece
        return json.loads(answer.partition(b"\r\n\r\n")[2])


def run(seconds: float, seed: int, say: Callable[[str], object], workers: int = 3) -> Room:
    """Run members and nemeses for so many seconds."""
    with ExitStack() as stack:
        daemon = stack.enter_context(Daemon(CONFIG.format(workers=workers, history=5)))
        room = Room(daemon, seed)
        room.run(seconds, say)
        daemon.check_for_bugs()
    return room


def summary(room: Room) -> str:
    """The result of a run in one line."""
    counts = ", ".join(f"{number:,} {what}" for what, number in room.counts.items())
    nemeses = ", ".join(f"{number} × {name}" for name, number in room.done.items())
    return f"{counts}; nemeses: {nemeses}; {len(room.wrong)} wrong"


# 83

CHECKED: Final = 30.0  #: seconds
SEED: Final = 83


def checked(_lab: Lab) -> Iterator[Figure]:
    """Members of three workers talk, while workers are killed, stopped and reloaded."""
    room = run(CHECKED, SEED, lambda _name: None)
    values = {"counts": dict(room.counts), "done": dict(room.done), "wrong": room.wrong}
    yield Figure("echod, 3 workers", summary(room), not room.wrong, values)


SCENARIOS: Final = (
    Scenario(
        83,
        "a chat over three workers that are killed, stopped and reloaded at random",
        "each line reaches each other member once and in order, or a notice tells that lines are missing",
        checked,
    ),
)


def main(words: Sequence[str] | None = None) -> int:
    """Run, print, and return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.chat_history", description=__doc__)
    parser.add_argument("--seconds", type=decimal_number(1, 1e6), default=60.0, help="length of the run (60)")
    parser.add_argument(
        "--seed",
        type=int,
        default=random.SystemRandom().randrange(10**6),
        help="repeat a run (default: random, and printed)",
    )
    parser.add_argument("--workers", type=whole_number(2), default=3, help="workers of the daemon (3)")
    options = parser.parse_args(words)
    print(f"seed {options.seed}, {options.seconds:g} s, {options.workers} workers", flush=True)
    room = run(options.seconds, options.seed, lambda name: print(name, end=" ", flush=True), options.workers)
    print("", summary(room), *room.wrong, sep="\n")
    return int(bool(room.wrong))


if __name__ == "__main__":
    sys.exit(main())

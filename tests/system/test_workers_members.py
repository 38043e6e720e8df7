"""Chat and console with workers: members and clients of all workers are in one room and in one queue."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from tests.daemon import ECHOCTL, SECONDS, Daemon, environment, eventually
from tests.fork_server import Popen
from tests.system.test_workers import asked, configuration, fetched, is_replaced, pids, shares, status

CHAT = """
[services.chat]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
history = 5
lines-per-second = 0
"""
CONSOLE = """
[services.console]
listen = ["tcp://127.0.0.1:0"]
away = "no operator now"
"""


MOST = 600


class Member:
    """A member over TCP, and the lines that it has received."""

    def __init__(self, place: tuple[str, int]) -> None:
        self.socket = socket.create_connection(place, SECONDS)
        self.lines = self.socket.makefile("r", encoding="utf-8", newline="\n")

    def says(self, *lines: str) -> None:
        self.socket.sendall("".join(f"{line}\n" for line in lines).encode())

    def hears(self, text: str) -> str:
        """The next line that contains a text; lines before it are skipped."""
        for line in self.lines:
            if text in line:
                return line.rstrip("\n")
        raise AssertionError(f"closed before {text!r}")

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


def members(stack: ExitStack, daemon: Daemon, number: int = 16, service: str = "chat") -> list[Member]:
    """At least this many members, of both workers: the kernel decides which worker accepts a connection."""
    made: list[Member] = []
    while len(made) < number or not all(one["connections"] for one in status(daemon)["workers"]):
        assert len(made) < MOST, "one worker accepts all connections"
        for _ in range(number):
            made.append(Member(daemon.inet(service, "tcp")))
            stack.callback(made[-1].close)
    return made


def listed(line: str) -> int:
    """The number of members in a list of names, which may end with `and 3 more`."""
    more = re.search(r" and (\d+) more$", line)
    return line.count(",") + 1 + (int(more[1]) if more else 0)


def worker_of(daemon: Daemon, connections: int) -> dict[int, int]:
    """The process of each worker, with its number of connections; they are so many in total."""
    return dict(zip(pids(daemon), shares(daemon, connections), strict=True))


def test_a_room_is_one_room_and_members_of_a_killed_worker_leave():
    with ExitStack() as stack, Daemon(configuration(services=CHAT)) as daemon:
        people = members(stack, daemon)
        names = sorted(one.hears("-- welcome: you are ").split()[4].rstrip(",") for one in people)
        assert names == sorted(f"guest{number}" for number in range(1, len(people) + 1))
        for number, one in enumerate(people):
            one.says(f"/nick m{number}", "/join #garden")
        for one in people:
            one.hears("-- you are in garden with ")
        people[3].says("/nick m0")
        people[3].hears("-- the name m0 is taken")
        people[0].says("hello to all", "/msg m9 psst")
        assert [one.hears("hello to all") for one in people[1:]] == ["m0: hello to all"] * (len(people) - 1)
        assert people[9].hears("psst") == "m0 (to you): psst"
        people[5].says("/join")
        assert people[5].hears("-- the rooms") == f"-- the rooms: lobby (0), garden ({len(people)})"

        connections = worker_of(daemon, len(people))
        assert all(connections.values()), "both workers have members"
        killed = min(connections, key=lambda pid: connections[pid])
        os.kill(killed, signal.SIGKILL)
        left = []
        for one in people:
            one.socket.settimeout(SECONDS)
            try:
                one.says("/who")
                left.append((one, one.hears("-- in garden: ")))
            except (OSError, AssertionError):
                pass
        assert len(left) == sum(connections.values()) - connections[killed]
        assert eventually(partial(is_replaced, daemon, killed))

        def only_those_are_left() -> bool:
            one = left[0][0]
            one.says("/who")
            return listed(one.hears("-- in garden: ")) == len(left)

        assert eventually(only_those_are_left)
        later = members(stack, daemon, 8)
        for one in later:
            one.hears("-- welcome: you are ")
            one.says("/join garden")
        for one in later:
            one.hears("-- you are in garden with ")
            assert one.hears("hello to all") == "m0: hello to all", "the history"
        left[0][0].says("still here")
        assert all(one.hears("still here") for one in later)
        assert daemon.process.poll() is None


@pytest.mark.slow
def test_members_over_udp_and_tcp_are_in_one_room():
    with ExitStack() as stack, Daemon(configuration(services=CHAT)) as daemon:
        [anna, *_] = people = members(stack, daemon, 4)
        for one in people:
            one.hears("-- welcome")
        flows = []
        for number in range(12):
            client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            client.settimeout(SECONDS)
            client.connect(daemon.inet("chat", "udp"))
            client.send(f"/nick u{number}\n".encode())
            flows.append(client)
        assert eventually(partial(has_all, anna, [f"u{number}" for number in range(12)]))
        anna.says("over all flows")
        for client in flows:
            while b"over all flows" not in client.recv(2048):
                pass
        flows[7].send(b"from a flow\n")
        assert all(one.hears("from a flow") == "u7: from a flow" for one in people)


def has_all(member: Member, names: list[str]) -> bool:
    member.says("/who")
    found = member.hears("-- in lobby: ").removeprefix("-- in lobby: ").split(", ")
    return set(names) <= set(found)


def operator(daemon: Daemon) -> Any:
    return Popen(
        [*ECHOCTL, "console", "--admin", f"unix://{daemon.dir}/admin.sock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(),
    )


def test_one_operator_answers_the_clients_of_all_workers():
    with ExitStack() as stack, Daemon(configuration(services=CONSOLE)) as daemon:
        clients = members(stack, daemon, service="console")
        for number, one in enumerate(clients):
            one.says(f"question {number}")
            one.hears("no operator now")
        assert all(shares(daemon, len(clients)))
        seat = stack.enter_context(operator(daemon))
        stack.callback(seat.kill)
        questions = {}
        for line in seat.stdout:
            text = line.decode()
            if "question " in text:
                questions[int(text.rsplit(maxsplit=1)[1])] = text
            if len(questions) == len(clients):
                break
        for number in range(1, len(clients) + 1):
            seat.stdin.write(f"@{number} answer {number}\n".encode())
        seat.stdin.flush()
        answers = sorted(int(one.hears("answer ").split()[1]) for one in clients)
        assert answers == list(range(1, len(clients) + 1))
        seat.stdin.close()


@pytest.mark.slow
def test_a_reload_keeps_rooms_and_removes_them_with_their_service():
    with ExitStack() as stack, Daemon(configuration(services=CHAT)) as daemon:
        people = members(stack, daemon, 8)
        for one in people:
            one.hears("-- welcome")
            one.says("/join garden")
            one.hears("-- you are in garden")
        file = daemon.dir / "echod.toml"
        old = file.read_text()
        workers = pids(daemon)
        file.write_text(old.replace("history = 5", "history = 2\nrooms = 1"))
        assert "chat" in asked(daemon, "reload")
        people[0].says("/join another")
        people[0].hears("-- the maximum of 1 rooms is reached")
        people[1].says("still one room")
        assert all(one.hears("still one room") for one in (people[0], *people[2:]))
        file.write_text(old.replace(CHAT, ""))
        asked(daemon, "reload")
        assert pids(daemon) == workers
        assert b"chat" not in fetched(daemon, "/api/status").partition(b'"last_reload"')[0]

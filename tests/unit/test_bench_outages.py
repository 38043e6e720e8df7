"""`python -m bench.outages` and `bench.two_machines`: rows of results, checks, and servers that do not start."""

from __future__ import annotations

import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from bench import outages, two_machines
from bench.outages import FAILURES, LOST, RESTORED, Member, Server, described


class Talking(Member):
    """A member whose received bytes are given, without a connection."""

    def __init__(self, name: str, sent: int, data: bytes = b"") -> None:
        self.name, self.sent, self.data = name, sent, data


def lines(name: str, *numbers: int) -> bytes:
    """These lines, as another member reads them."""
    return b"".join(b"%s: line %d\n" % (name.encode(), number) for number in numbers)


def test_a_row_counts_lines_notices_and_losses_within_and_between_daemons() -> None:
    a = Talking("a", 3, LOST + b"\n" + lines("b", 1, 2) + lines("c", 1) + RESTORED + b"\n")
    b = Talking("b", 2, lines("a", 1, 3, 3) + lines("c", 1, 1))
    c = Talking("c", 1, LOST + b"\n" + lines("a", 1, 2, 3) + lines("b", 2))
    # in one daemon b lost line 2 of a; between daemons c lost line 1 of b; b read line 3 of a and line 1 of c twice
    assert described([a, b, c]) == "6 | 1 and 1, 0 and 0, 1 and 0 | 1 | 1 | 2"


def test_nothing_lost_is_zero() -> None:
    members: list[Member] = [Talking("a", 1, lines("b", 1)), Talking("b", 1, lines("a", 1))]
    assert described(members) == "2 | 0 and 0, 0 and 0 | 0 | 0 | 0"


def test_lines_are_those_of_one_member_and_complete() -> None:
    one = Talking("a", 0, lines("b", 1, 1, 2) + lines("bb", 7) + b"-- b: line 9\nc said b: line 8\n")
    assert one.lines_of("b") == {b"b: line 1": 2, b"b: line 2": 1}
    assert one.lines_of("c") == {}


def test_the_table_has_a_row_for_each_failure(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    one: list[Member] = [Talking("a", 1), Talking("b", 1), Talking("c", 1)]
    monkeypatch.setattr(outages, "row", lambda name: f"| {name} | {described(one)} |")
    outages.main([])
    table = [line.split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert len({len(cells) for cells in table}) == 1, "every row has the columns of the heading"
    assert [cells[0] for cells in table[2:]] == [f"| {name}" for name in FAILURES]


def test_a_member_sends_numbered_lines_and_reads_what_has_arrived(tmp_path: Any) -> None:
    path = str(tmp_path / "room")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        member = Member(path, "a")
        with listening.accept()[0] as room, member.socket:
            room.sendall(lines("b", 1))
            member.turn()
            member.turn()
            with room.makefile("rb") as received:
                assert [received.readline() for _ in range(3)] == [b"/nick a\n", b"line 1\n", b"line 2\n"]
            assert (member.sent, member.data) == (2, lines("b", 1))


@pytest.mark.parametrize(
    ("size", "replies"), [("1mb", b"+OK\r\n-OOM command not allowed\r\n"), ("0", b"+OK\r\n+OK\r\n")]
)
def test_the_limit_of_memory_is_set_and_checked(size: str, replies: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        server = Server.__new__(Server)  # Redis is not started
        server.port = listening.getsockname()[1]
        limiting = pool.submit(server.limit, size)
        with listening.accept()[0] as client, client.makefile("rb") as received:
            assert received.readline() == f"CONFIG SET maxmemory {size}\r\n".encode()
            assert received.readline() == b"SET key value\r\n"
            client.sendall(replies)
            limiting.result(30)


def test_a_limit_that_has_no_effect_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        server = Server.__new__(Server)
        server.port = listening.getsockname()[1]
        limiting = pool.submit(server.limit, "1mb")
        with listening.accept()[0] as client:
            client.sendall(b"+OK\r\n+OK\r\n")
            with pytest.raises(AssertionError):
                limiting.result(30)


@pytest.mark.parametrize("program", ["redis-server", "valkey-server"])
def test_the_server_is_the_installed_one(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}" if name == program else None)
    monkeypatch.setattr(subprocess, "Popen", lambda words, **_: started.append(words))
    server = Server("/folder")
    [words] = started
    assert words[0] == f"/bin/{program}"
    assert words[words.index("--bind") + 1] == "127.0.0.1"
    assert words[words.index("--port") + 1] == str(server.port)
    assert words[words.index("--dir") + 1] == "/folder"


def test_without_a_server_it_ends_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(SystemExit, match="^bench.outages: redis-server or valkey-server is not installed$"):
        Server("/folder")


@pytest.mark.parametrize(
    ("user", "installed"),
    [(1000, {"redis-server", "ip"}), (0, {"ip"}), (0, {"redis-server"}), (0, {"valkey-server"})],
    ids=["user", "server", "iproute2", "iproute2-2"],
)
def test_two_machines_need_root_and_programs(user: int, installed: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}" if name in installed else None)
    monkeypatch.setattr(subprocess, "run", lambda *_words, **_more: pytest.fail("a namespace was made"))
    needs = "^bench.chat: --machines needs root, iproute2, and redis-server or valkey-server$"
    with pytest.raises(SystemExit, match=needs), two_machines.two_machines():
        pytest.fail("the checks have passed")


class Machines:
    """The commands that are run and the server that is started, without running them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, accepts: bool) -> None:
        self.commands: list[tuple[str, ...]] = []
        self.ended: list[str] = []
        self.accepts = accepts
        self.now = 0.0
        self.pid = 4211
        monkeypatch.setattr("os.geteuid", lambda: 0)
        monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
        monkeypatch.setattr(subprocess, "run", self.run)
        monkeypatch.setattr(subprocess, "Popen", self.start)
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep)
        monkeypatch.setattr("bench.two_machines.time", clock)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def run(self, words: Any, **_more: Any) -> subprocess.CompletedProcess[bytes]:
        self.commands.append(tuple(words))
        probes = "python3" in words
        return subprocess.CompletedProcess(words, int(probes and not self.accepts))

    def start(self, words: Any, **_more: Any) -> Any:
        self.commands.append(tuple(words))
        return self

    def kill(self) -> None:
        self.ended.append("kill")

    def wait(self) -> None:
        self.ended.append("wait")

    def namespaces(self, what: str) -> list[str]:
        return [words[3] for words in self.commands if words[1:3] == ("netns", what)]


def test_two_machines_reach_the_server_and_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines(monkeypatch, accepts=True)
    with two_machines.two_machines() as (names, url, process):
        made = machines.namespaces("add")
        assert (names, url, process) == (made[1:3], "redis://198.18.0.3:6379/0", 4211)
        [server] = [words for words in machines.commands if "/bin/redis-server" in words]
        assert list(server[:5]) == two_machines.inside(made[3], ["/bin/redis-server"])
        assert machines.namespaces("delete") == []
    assert machines.namespaces("delete") == made[::-1]
    assert machines.ended == ["kill", "wait"]


def test_a_server_that_never_accepts_is_an_error_and_all_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines(monkeypatch, accepts=False)
    accepts = "^bench.chat: the Redis server does not accept connections$"
    with pytest.raises(SystemExit, match=accepts), two_machines.two_machines():
        pytest.fail("the server does not accept")
    assert machines.namespaces("delete") == machines.namespaces("add")[::-1]
    assert machines.ended == ["kill", "wait"]

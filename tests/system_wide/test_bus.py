"""Rooms and consoles of several daemons over a real Redis: joined, lost, and joined again."""

from __future__ import annotations

import re
import select
import shutil
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial

import pytest

from echod.bus.broker_messages import Kind, decoded
from echod.bus.resp import Decoder, Push, command
from echod.tls import issuing
from tests.contract.matrix import exactly
from tests.daemon import ECHOCTL, ECHOD, SECONDS, Daemon, eventually, run
from tests.redis_server import PROGRAM, RedisServer
from tests.unit.test_daemon_landlock import there_is_landlock

pytestmark = [
    pytest.mark.needs_tools,
    pytest.mark.skipif(PROGRAM is None, reason="redis-server is not installed"),
]

SECRET = "pa%20ss%2Fword"  # as it is in the URL
CONFIG = """
[daemon]
workers = {workers}
drain = "1s"
[bus]
url = "{url}"
{more}
[admin]
listen = ["unix://{{dir}}/admin.sock"]
[services.echo]
listen = ["tcp://127.0.0.1:0"]
[services.chat]
listen = ["tcp://127.0.0.1:0"]
history = 20
lines-per-second = 0
room-lines-per-second = 0
[services.console]
listen = ["tcp://127.0.0.1:0"]
"""
APART, AGAIN = "-- the connection to other servers is lost", "-- the connection to other servers is restored"


@pytest.fixture(autouse=True)
def _members_leave() -> Iterator[None]:
    yield
    for member in MEMBERS:
        member.close()
    MEMBERS.clear()


class Member:
    """A member of the chat, with all lines that it has received."""

    def __init__(self, daemon: Daemon, name: str) -> None:
        self._socket = socket.create_connection(daemon.inet("chat", "tcp"), SECONDS)
        MEMBERS.append(self)
        self._data = b""
        self.name = name
        self.say(f"/nick {name}")
        assert eventually(lambda: self.has(f"-- you are now {name}")), self.lines()

    def say(self, text: str) -> None:
        self._socket.sendall(text.encode() + b"\n")

    def lines(self) -> list[str]:
        while select.select([self._socket], [], [], 0)[0] and (data := self._socket.recv(65_536)):
            self._data += data
        return self._data.decode().splitlines()

    def has(self, start: str) -> bool:
        return any(line.startswith(start) for line in self.lines())

    def close(self) -> None:
        self._socket.close()


MEMBERS: list[Member] = []


def config(redis: RedisServer, *, workers: int = 1, login: str = "", scheme: str = "redis", more: str = "") -> str:
    host = "localhost" if scheme == "rediss" else "127.0.0.1"
    return CONFIG.format(workers=workers, url=f"{scheme}://{login}{host}:{redis.port}/3", more=more)


@contextmanager
def connected(text: str, number: int = 2) -> Iterator[list[Daemon]]:
    """So many daemons, each connected to the bus and in its topics."""
    with ExitStack() as stack:
        daemons = [stack.enter_context(Daemon(text)) for _ in range(number)]
        for daemon in daemons:
            daemon.stderr.wait_for(r"the bus .* is connected")
        yield daemons


def meet(one: Member, other: Member) -> None:
    """Wait until each member reads the other one."""
    for first, second in ((one, other), (other, one)):

        def reaches(first: Member = first, second: Member = second) -> bool:
            word = f"ping {time.monotonic()}"
            first.say(word)
            return eventually(lambda: second.has(f"{first.name}: {word}"), 1)

        assert eventually(reaches), (one.lines(), other.lines())


def has_fifty_lines(member: Member) -> bool:
    """Whether a member has read the lines of the five other members."""
    return sum(": line " in line for line in member.lines()) == 50


@pytest.mark.parametrize("workers", [1, 2], ids=["alone", "workers"])
def test_one_room_over_two_daemons(workers: int) -> None:
    """Names are unique, private texts and lines reach all in one order, and a new member sees the same history."""
    with RedisServer() as redis, connected(config(redis, workers=workers)) as (first, second):
        members = [Member(daemon, f"m{number}") for number, daemon in enumerate((first, second) * 3)]
        meet(members[0], members[1])
        for number in range(60):
            members[number % 6].say(f"line {number}")
        for member in members:
            assert eventually(partial(has_fifty_lines, member)), member.lines()
        order = [line for line in members[0].lines() if ": line " in line]
        for member in members[1:]:
            theirs = [line for line in member.lines() if ": line " in line]
            assert [line for line in order if not line.startswith(f"{member.name}:")] == [
                line for line in theirs if not line.startswith("m0:")
            ]
        members[1].say("/nick M0")
        assert eventually(lambda: members[1].has("-- the name M0 is taken"))
        members[1].say("/msg m0 only you")
        assert eventually(lambda: any("only you" in line for line in members[0].lines()))
        assert not any("only you" in line for line in members[2].lines())
        histories = []
        for daemon in (first, second):
            late = Member(daemon, f"late{daemon.process.pid}")
            histories.append([line for line in late.lines() if ": line " in line])
        assert histories[0] == histories[1] != []
        members[1].close()
        assert eventually(lambda: members[0].has("-- m1 has left"))
        assert members[0].has("-- the connection") is False


def test_an_operator_of_one_daemon_answers_a_client_of_another() -> None:
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        first, second = stack.enter_context(connected(config(redis, workers=2)))
        client = stack.enter_context(socket.create_connection(first.inet("console", "tcp"), SECONDS))
        client.sendall(b"is it one queue?\n")
        assert eventually(lambda: bool(listed(second)))
        done = run(*ECHOCTL, "console", "--admin", f"unix://{second.dir}/admin.sock", input=b"@1 yes, it is\n/quit\n")
        assert done.returncode == 0, done
        received = b""
        while b"yes, it is" not in received:
            received += client.recv(1000)


def listed(daemon: Daemon) -> list[str]:
    """The waiting messages that an operator of this daemon sees."""
    done = run(*ECHOCTL, "console", "--admin", f"unix://{daemon.dir}/admin.sock", input=b"/quit\n")
    return [line for line in done.stdout.decode().splitlines() if "is it one queue?" in line]


def outage(redis: RedisServer, how: str) -> None:
    if how == "killed":
        redis.kill()
    else:
        redis.send_signal(signal.SIGSTOP)


def recovery(redis: RedisServer, how: str) -> None:
    if how == "killed":
        redis.start()
    else:
        redis.send_signal(signal.SIGCONT)


def have_read(line: str, count: int, *members: Member) -> bool:
    """Whether each member has read a line this many times."""
    return all(member.lines().count(line) == count for member in members)


@pytest.mark.parametrize("how", ["killed", "stopped"])
@pytest.mark.parametrize("workers", [1, 2], ids=["alone", "workers"])
def test_members_talk_on_without_the_broker_and_read_nothing_twice(how: str, workers: int) -> None:
    with RedisServer() as redis, connected(config(redis, workers=workers)) as (first, second):
        a, b, c = Member(first, "a"), Member(first, "b"), Member(second, "c")
        meet(a, c)
        meet(b, c)
        for turn in range(2):
            number = 0
            outage(redis, how)
            apart = f"{APART}: only members of this one read you"
            while not have_read(apart, turn + 1, a, c):
                number += 1
                a.say(f"line {turn}.{number}")
                with socket.create_connection(first.inet("echo", "tcp"), SECONDS) as echo:  # nothing delays others
                    echo.sendall(b"hello")
                    assert exactly(echo, 5) == b"hello"
                time.sleep(0.02)
            a.say(f"local {turn}")
            assert eventually(partial(b.has, f"a: local {turn}"))
            if how == "stopped":
                time.sleep(1.0)  # longer than it takes to notice: the commands wait in the server's socket
            recovery(redis, how)
            assert eventually(partial(have_read, AGAIN, turn + 1, a, c)), (
                a.lines(),
                c.lines(),
                first.log(),
            )
            meet(a, c)
            meet(b, c)
            assert [line for line in b.lines() if line.startswith(f"a: line {turn}.")] == [
                f"a: line {turn}.{one}" for one in range(1, number + 1)
            ]
        assert not a.has("-- not sent")  # by a limit of lines: the test sends as fast as the machine permits
        for member in (a, b, c):
            said = [line for line in member.lines() if not line.startswith("--")]
            assert len(said) == len(set(said))
        a.say("/who")
        assert eventually(lambda: any({"a", "b", "c"} <= set(re.findall(r"\w+", line)) for line in a.lines()))


def written(redis: RedisServer, *words: bytes) -> bytes:
    """The first line of the server's reply to a command."""
    with socket.create_connection(("127.0.0.1", redis.port), SECONDS) as connection:
        connection.sendall(command(*words))
        return connection.makefile("rb").readline()


@pytest.mark.parametrize("full", ["memory", "disk"])
def test_a_server_without_room_for_keys_still_carries_all_lines(full: str) -> None:
    """It refuses each write of a key. The bus writes none: no member is notified, and none misses or repeats a line."""
    lines = ("maxmemory-policy noeviction",) if full == "memory" else ("save 1 1",)
    with RedisServer(*lines) as redis, connected(config(redis)) as (first, second):
        a, b = Member(first, "a"), Member(second, "b")
        meet(a, b)
        if full == "memory":
            assert written(redis, b"CONFIG", b"SET", b"maxmemory", b"1mb") == b"+OK\r\n"
            error = b"-OOM "
        else:
            shutil.rmtree(redis.dir)  # it cannot save, and then accepts no key
            error = b"-MISCONF "
        assert eventually(lambda: written(redis, b"SET", b"key", b"value").startswith(error))
        for number in range(100):
            a.say(f"full {number}")
        assert eventually(lambda: b.has("a: full 99")), b.lines()
        assert [line for line in b.lines() if ": full " in line] == [f"a: full {number}" for number in range(100)]
        assert written(redis, b"SET", b"key", b"value").startswith(error)
        assert not a.has(APART)
        assert not b.has(APART)
        assert re.search(r"bus: redis://\S+, connected\n", plain(first)), plain(first)


@pytest.mark.parametrize("workers", [1, 2], ids=["alone", "workers"])
def test_a_daemon_that_stops_leaves_before_it_ends(workers: int) -> None:
    with RedisServer() as redis, connected(config(redis, workers=workers)) as (first, second):
        a, b = Member(first, "a"), Member(second, "b")
        meet(a, b)
        with socket.create_connection(("127.0.0.1", redis.port), SECONDS) as listener:
            listener.sendall(command(b"HELLO", b"3") + command(b"SUBSCRIBE", b"echod:1:3"))
            decoder = Decoder(10_000)
            subscribed = gone = False
            while not subscribed:
                decoder.add(listener.recv(65_536))
                subscribed = any(isinstance(reply, Push) and reply[0] == b"subscribe" for reply in decoder.replies())
            assert second.stop() == 0
            while not gone:  # a daemon that is missed is reported by another one
                decoder.add(listener.recv(65_536))
                pushes = [reply for reply in decoder.replies() if isinstance(reply, Push) and reply[0] == b"message"]
                messages = [decoded(push[2]) for push in pushes]
                gone = any(one is not None and one.kind is Kind.GONE and one.link == one.other for one in messages)
        assert eventually(lambda: a.has("-- b has left"))


@pytest.mark.skipif(not there_is_landlock(), reason="this kernel has no Landlock")
def test_a_confined_daemon_connects_again() -> None:
    with RedisServer() as redis:
        text = config(redis, workers=2).replace("[daemon]", "[daemon]\nlandlock = true")
        with connected(text) as (first, second):
            a, b = Member(first, "a"), Member(second, "b")
            meet(a, b)
            redis.kill()
            assert eventually(lambda: a.has(APART) and b.has(APART))
            redis.start()
            meet(a, b)


def test_the_log_names_the_reason_once() -> None:
    with RedisServer() as redis, connected(config(redis), 1) as (daemon,):
        redis.kill()
        daemon.stderr.wait_for(
            r"warn +the bus redis://127\.0\.0\.1:\d+/3 is disconnected: the (server has closed|connection was reset)"
        )
        daemon.stderr.wait_for(r"warn +the bus .* cannot be used: connection refused \(ECONNREFUSED\); trying again")
        redis.start()
        assert eventually(lambda: daemon.log().count("is connected") == 2)
        assert daemon.log().count("cannot be used") == 1
        assert "/3, connected; it was lost 1 time\n" in plain(daemon)


def test_the_log_has_plain_words_for_a_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        text = CONFIG.format(workers=1, url=f"redis://127.0.0.1:{listening.getsockname()[1]}/3", more="")
        with Daemon(text) as daemon, listening.accept()[0] as server:
            assert server.recv(4096).startswith(b"*")
            server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close resets
            server.close()
            daemon.stderr.wait_for(r"warn +the bus .* cannot be used: the connection was reset, or the server did not")


def test_a_daemon_that_is_killed_leaves_the_room() -> None:
    with RedisServer() as redis, connected(config(redis)) as (first, second):
        a, b = Member(first, "a"), Member(second, "b")
        meet(a, b)
        second.process.kill()
        assert eventually(lambda: a.has("-- b has left"))
        again = Member(first, "b")
        assert again.has("-- you are now b")
        second.wait()


def plain(daemon: Daemon) -> str:
    return run(*ECHOCTL, "status", "--admin", f"unix://{daemon.dir}/admin.sock").stdout.decode()


def test_a_user_with_two_permissions_is_enough_and_no_output_has_the_password() -> None:
    login = f"echo:{SECRET}@"
    rule = 'user echo on ">pa ss/word" resetchannels &echod:* -@all +subscribe +publish'
    with RedisServer(rule, "user default off") as redis, connected(config(redis, login=login)) as (first, second):
        meet(Member(first, "a"), Member(second, "b"))
        admin = f"unix://{first.dir}/admin.sock"
        file = str(first.dir / "echod.toml")
        assert f"bus: redis://echo:***@127.0.0.1:{redis.port}/3, connected" in plain(first)
        outputs = [first.log(), second.log(), run(*ECHOCTL, "status", "--json", "--admin", admin).stdout.decode()]
        for words in ([*ECHOCTL, "check", file], [*ECHOD, "--config", file, "--check-config"]):
            outputs.append(run(*words).stdout.decode())
        printed = run(*ECHOD, "--config", file, "--print-config").stdout.decode()
        assert f'url = "redis://echo:***@127.0.0.1:{redis.port}/3"' in printed
        for output in (*outputs, printed):
            assert "ss/word" not in output
            assert SECRET not in output


def test_a_wrong_password_leaves_the_room_local_and_is_tried_again() -> None:
    with RedisServer("requirepass right") as redis, Daemon(config(redis, login="default:wrong@")) as daemon:
        assert "/3, not connected" in plain(daemon)
        daemon.stderr.wait_for(r"warn +the bus .*\*\*\*@.* cannot be used: the server refuses it: WRONGPASS.*; trying")
        a, b = Member(daemon, "a"), Member(daemon, "b")
        a.say("hello")
        assert eventually(lambda: b.has("a: hello"))
        assert "wrong@" not in daemon.log()


def test_tls_verifies_the_server() -> None:
    """The daemon connects with the right authority, and not with another one."""
    pytest.importorskip("OpenSSL", reason="pyOpenSSL, which rediss:// needs, is not installed")
    authority, other = issuing.authority(datetime.now(UTC)), issuing.authority(datetime.now(UTC), "another")
    made = issuing.server(authority, ["localhost"], datetime.now(UTC))
    with ExitStack() as stack:
        lines = ["tls-auth-clients no", "tls-cert-file cert.pem", "tls-key-file key.pem", "tls-ca-cert-file ca.pem"]
        redis = RedisServer(*lines, tls=True)
        (redis.dir / "cert.pem").write_bytes(made.certificate_pem)
        (redis.dir / "key.pem").write_bytes(made.key_pem)
        (redis.dir / "ca.pem").write_bytes(authority.certificate_pem)
        (redis.dir / "other.pem").write_bytes(other.certificate_pem)
        stack.enter_context(redis)
        text = config(redis, scheme="rediss", more=f'ca = "{redis.dir}/ca.pem"')
        first, second = stack.enter_context(connected(text))
        meet(Member(first, "a"), Member(second, "b"))
        wrong = stack.enter_context(Daemon(text.replace("/ca.pem", "/other.pem")))
        wrong.stderr.wait_for(r"the bus rediss://localhost:\d+/3 cannot be used: .*certificate")

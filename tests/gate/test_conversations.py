"""chat and console under floods and strangers: challenges before unrequested output, and no cost for other members."""

import re
import socket
import struct

import pytest

from echod.gate.address_cookies import answer_to, is_challenge
from tests.chaos.corpus import CORPUS
from tests.chaos.network import CLIENT4, CLIENT6, SERVER4, SERVER6
from tests.daemon import ECHOCTL, SECONDS, Daemon, eventually, run

MIB = 1 << 20
SIZES = (0, 1, 3, 4, 14, 15, 25, 26, 64, 512, 1472, 65_507)

# Fixed ports in a private network: a port that the kernel chose could also be a client's, which would be refused.
STRANGERS = """
[defaults]
allow = ["10.99.0.0/16", "fd00:99::/64", "127.0.0.0/8"]
[defaults.limits]
rate = "0"
[services.chat]
listen = ["udp://*:10012"]
[services.console]
away = "away for lunch, and this is longer than what a stranger sent"
listen = ["udp://*:10014"]
"""


def asking(two, host, server, port):
    """A socket in the client's network that receives only from the daemon."""
    with two.client.inside():
        opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    opened.settimeout(SECONDS)
    opened.bind((host, 0))
    opened.connect((server, port))
    return opened


def port_of(daemon, service):
    return int(daemon.url(service, "udp").rpartition(":")[2])


@pytest.mark.parametrize(("host", "server"), [(CLIENT4, SERVER4), (CLIENT6, SERVER6)])
@pytest.mark.parametrize("service", ["chat", "console"])
def test_a_stranger_gets_a_challenge_at_most(two, service, host, server):
    with Daemon(STRANGERS) as daemon:
        for size in SIZES:
            with asking(two, host, server, port_of(daemon, service)) as client:
                client.send(b"x" * size)
                client.send(b"y" * 15)  # its reply arrives after any reply to the earlier ones
                answers = [client.recv(65_536)] if size < 15 else [client.recv(65_536) for _ in range(2)]
                assert all(is_challenge(answer) for answer in answers), (size, answers)
                client.setblocking(False)
                with pytest.raises(BlockingIOError):
                    client.recv(65_536)
        daemon.check()
        [figures] = [one for name, one in daemon.counters().items() if name.startswith(service)]
        assert figures["refused:larger"] == sum(size < 15 for size in SIZES)
        assert figures["refused:challenged"] == 2 * len(SIZES) - figures["refused:larger"]
        assert "accepted" not in figures


def test_a_stranger_joins_only_by_its_own_answer(two):
    with Daemon(STRANGERS) as daemon:
        port = port_of(daemon, "chat")
        with asking(two, CLIENT4, SERVER4, port) as anna, asking(two, CLIENT6, SERVER6, port) as bob:
            for one in (anna, bob):
                one.send(b"hello, may I come in?")
            for_anna, for_bob = answer_to(anna.recv(100)), answer_to(bob.recv(100))
            anna.send(for_bob + b"  ")
            assert is_challenge(anna.recv(100))
            anna.send(for_anna + b"\n")
            anna.send(answer_to(anna.recv(100)) + b"\n")
            assert anna.recv(200).startswith(b"-- welcome: you are guest1")
            bob.send(for_bob.ljust(64))
            bob.send(answer_to(bob.recv(200)).ljust(64))
            assert b"with guest1" in bob.recv(200)
            assert anna.recv(200) == b"-- guest2 has joined\n"
            bob.send(b"hello")
            assert anna.recv(200) == b"guest2: hello\n"
            anna.send(b"/quit")
            assert anna.recv(200) == b"-- goodbye\n"
            assert bob.recv(200) == b"-- guest1 has left\n"
            anna.send(b"and now, am I still there?")
            assert is_challenge(anna.recv(100))
        daemon.check()


def test_echoctl_answers_by_itself(two):
    with Daemon(STRANGERS) as daemon:
        url = f"udp://{SERVER4}:{port_of(daemon, 'chat')}"
        with two.client.inside():
            ended = run(*ECHOCTL, "chat", "--nick", "anna", url, input=b"/who\n")
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.splitlines()[-2:] == [b"-- in lobby: anna", b"-- goodbye"]
        assert b"<>" not in ended.stdout


CROWD = """
[services.chat]
lines-per-second = 0
room-lines-per-second = 0
listen = ["tcp://127.0.0.1:0", "unix://{dir}/chat.sock"]
[services.chat.limits]
stall = "1h"
"""


@pytest.fixture
def member():
    """Makes members, and closes them at the end."""
    everybody = []

    def enter(daemon, scheme="tcp", small=False):
        opened = socket.socket(socket.AF_UNIX if scheme == "unix" else socket.AF_INET)
        everybody.append(opened)
        opened.settimeout(SECONDS)
        if small:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        opened.connect(daemon.place("chat", scheme))
        assert opened.recv(1000).startswith(b"-- welcome: ")
        return opened

    yield enter
    for one in everybody:
        one.close()


def until(client, last):
    """Everything received, up to this line; more may come with it."""
    whole = b""
    while last not in whole:
        piece = client.recv(1 << 18)
        assert piece, whole[-200:]
        whole += piece
    return whole


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_fifty_members_that_do_not_read_have_bounded_memory_and_delay_no_member(lo, member, scheme):
    with Daemon(CROWD) as daemon:
        anna, bob = member(daemon, scheme), member(daemon, scheme)
        deaf = [member(daemon, scheme, small=True) for _ in range(50)]
        before = daemon.memory()
        line = b"x" * 4000
        for begin in range(0, 3000, 50):  # 12 MB for each of them, and at once less than the limit
            anna.sendall((line + b"\n") * 50)
            anna.sendall(b"%d\n" % begin)
            said = until(bob, b"guest1: %d\n" % begin)
            assert said.count(b"guest1: " + line + b"\n") == 50
        assert daemon.memory() - before < 64 * MIB
        heard, lines = b"", 0
        told: list[bytes] = []
        deaf[0].settimeout(SECONDS)
        while lines + sum(map(int, told)) < 3060:
            piece = deaf[0].recv(1 << 18)
            assert piece, "the daemon has closed it"
            heard += piece
            told = re.findall(rb"(?m)^-- (\d+) lines are missing here: you read too slowly$", heard)
            lines = len(re.findall(rb"(?m)^(guest1:|--) ", heard))
        assert told
        daemon.check()


def test_a_flood_of_joins_and_of_vanishing_members(lo, member):
    with Daemon(CROWD) as daemon:
        anna = member(daemon)
        before = daemon.memory()
        for _ in range(2000):
            with socket.create_connection(daemon.inet("chat", "tcp"), SECONDS) as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leaves by a reset
                one.send(b"/nick ghost\n/join cellar\nboo\n")
        one = member(daemon)
        one.sendall(b"/nick zoe\nstill here\n")
        heard = until(anna, b"zoe: still here\n")
        while not re.search(rb"(?m)^-- \d+ more have joined, \d+ have left", heard):  # once a second
            heard += anna.recv(1 << 18)
        assert heard.count(b"\n") < 2000  # of 6,000 notices; a busy machine needs more seconds for them
        anna.sendall(b"/who\n/join\n")
        said = until(anna, b"-- the rooms: lobby (2)\n")
        assert b"-- in lobby: guest1, zoe\n" in said
        assert daemon.memory() - before < 16 * MIB
        assert eventually(lambda: daemon.process.poll() is None)
        daemon.check()


def test_no_control_character_reaches_a_terminal_or_the_log(lo, member):
    with Daemon(CROWD) as daemon:
        anna, bob = member(daemon), member(daemon)
        for evil in (*CORPUS, b"a" * 5000):
            for command in (b"", b"/me ", b"/msg guest1 ", b"/nick ", b"/join ", b"/"):
                bob.sendall(command + evil + b"\n" + b"/join lobby\n")
        bob.sendall(b"/nick " + b"n" * MIB + b"\n/nick bob\nthe end\n")
        heard = until(anna, b"bob: the end\n") + until(bob, b"-- you are now bob\n")
        for line in heard.decode("utf-8").split("\n"):
            assert line.isprintable(), ascii(line)
        daemon.check()
        assert daemon.stop() == 0
        assert all(line.isprintable() for line in daemon.stderr.text)
        assert len(daemon.stderr.text) < 10

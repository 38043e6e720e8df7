"""echoctl and host names: every address is tried, one can be chosen, and a slow name server delays no end."""

import json
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.daemon import SECONDS, environment, free_port, run

NAMES = {"two.example": ["127.0.0.1", "127.0.0.2"], "both.example": ["::1", "127.0.0.1"]}
"""Two addresses each, in the order in which they are tried."""

RESOLVER = f"""
import socket, sys, time
NAMES = {NAMES!r}
FAMILY = {{False: socket.AF_INET, True: socket.AF_INET6}}
real = socket.getaddrinfo
def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
    if host in NAMES and not flags:
        wanted = [one for one in NAMES[host] if family in (0, FAMILY[":" in one])]
        return [found for one in wanted for found in real(one, port, 0, type)]
    if flags & socket.AI_NUMERICHOST or host != "slow.example":
        return real(host, port, family, type, proto, flags)
    print("asked", flush=True)
    BEHAVE
socket.getaddrinfo = getaddrinfo
from echod.client.main import main
sys.exit(main(sys.argv[1:]))
"""
SILENT = "time.sleep(600)"
FAILING = "raise socket.gaierror(socket.EAI_AGAIN, 'Temporary failure in name resolution')"


def client(behave: str, *words: str) -> list[str]:
    """echoctl with a resolver that behaves like this for slow.example."""
    return [sys.executable, "-W", "error", "-c", RESOLVER.replace("BEHAVE", behave), *words]


ASKING = [
    ("send", "tcp://slow.example:7", "x"),
    ("send", "udp://slow.example:7", "x"),
    ("talk", "tcp://slow.example:7"),
    ("chat", "udp://slow.example:7"),
    ("ping", "udp://slow.example:7"),
    ("ping", "tcp://slow.example:7"),
    ("ping", "--connect", "tcp://slow.example:7"),
    ("send", "tcp:slow.example:7", "x"),
]


@pytest.mark.parametrize("words", ASKING, ids=" ".join)
def test_an_interrupt_ends_a_look_up(words):
    with subprocess.Popen(
        client(SILENT, *words), env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"asked\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS) == 130
        finally:
            process.kill()


@pytest.mark.parametrize(
    "words",
    [
        ("send", "--timeout", "300ms", "tcp://slow.example:7", "x"),
        ("send", "--timeout", "300ms", "udp://slow.example:7", "x"),
        ("ping", "--timeout", "300ms", "udp://slow.example:7"),
        ("ping", "--timeout", "300ms", "--connect", "tcp://slow.example:7"),
    ],
    ids=" ".join,
)
def test_a_timeout_covers_a_look_up(words):
    ended = run(*client(SILENT, *words))
    assert ended.returncode == 1
    assert b"(ETIMEDOUT)\n" in ended.stderr


@pytest.mark.parametrize("words", ASKING, ids=" ".join)
def test_the_resolvers_error_keeps_its_name(words):
    ended = run(*client(FAILING, *words))
    assert ended.returncode == 1
    assert b": temporary failure in name resolution (EAI_AGAIN)\n" in ended.stderr
    assert ended.stderr.count(b"\n") == 1


# every address of a name


def on_one_port(hosts: list[str], kind: socket.SocketKind) -> list[socket.socket]:
    """A socket on each host, all bound to one port, which no other socket of this machine has at any address."""
    port = free_port()
    opened = [socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) for host in hosts]
    for one, host in zip(opened, hosts, strict=True):
        one.bind((host, port))
    return opened


@contextmanager
def behaving(hosts: dict[str, str], kind: socket.SocketKind = socket.SOCK_DGRAM) -> Iterator[int]:
    """Peers on one port of these hosts. Each is `silent`, `refuses` (a stream), or `answers`: echoes or accepts.

    One thread answers for all hosts, in their order: if it is late, the first host still replies first.
    """
    stopped = threading.Event()
    opened = on_one_port(list(hosts), kind)
    answering = [one for one, how in zip(opened, hosts.values(), strict=True) if how == "answers"]

    def serve() -> None:
        while not stopped.is_set():
            for one in select.select(answering, [], [], 0.05)[0]:
                if kind is socket.SOCK_STREAM:
                    one.accept()[0].close()
                else:
                    one.sendto(*one.recvfrom(65_536))

    for one, how in zip(opened, hosts.values(), strict=True):
        if kind is socket.SOCK_STREAM and how != "refuses":
            one.listen(1 if how == "silent" else 8)
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(opened[0].getsockname()[1])
    finally:
        stopped.set()
        thread.join(SECONDS)
        for one in opened:
            one.close()


def shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def test_datagrams_go_to_the_next_address_after_silence():
    with behaving({"127.0.0.1": "silent", "127.0.0.2": "answers"}) as port:
        url = f"udp://two.example:{port}"
        sent = run(*client("pass", "send", url, "hello"))
        assert (sent.returncode, sent.stdout, sent.stderr) == (0, b"hello", b"")
        pinged = run(*client("pass", "ping", "-c", "3", "-i", "50ms", url))
    assert pinged.returncode == 0, pinged.stdout
    lines = pinged.stdout.decode().splitlines()
    assert lines[1].startswith(f"64 bytes from 127.0.0.2:{port}: seq=1 time=")
    assert lines[-2].startswith("3 sent, 3 received, 0 lost (0%), 0 duplicated")


def test_the_error_names_the_address_that_refused():
    with behaving({"127.0.0.2": "answers"}) as port:
        pinged = run(*client("pass", "ping", "-c", "1", f"udp://two.example:{port}"))
    assert f"64 bytes from 127.0.0.2:{port}: seq=1 time=".encode() in pinged.stdout


def test_the_address_that_replies_first_keeps_the_conversation():
    with behaving({"127.0.0.1": "answers", "127.0.0.2": "answers"}) as port:
        found = run(*client("pass", "ping", "-c", "8", "-i", "100ms", "--json", f"udp://two.example:{port}"))
        pinged = run(*client("pass", "ping", "-c", "1", f"udp://two.example:{port}"))
    assert json.loads(found.stdout)["duplicated"] == 0
    assert f"from 127.0.0.1:{port}: ".encode() in pinged.stdout


def test_each_probe_is_lost_if_no_address_replies():
    with behaving({"127.0.0.1": "silent", "127.0.0.2": "silent"}) as port:
        pinged = run(*client("pass", "ping", "-c", "2", "-i", "50ms", "-W", "1s", f"udp://two.example:{port}"))
    assert pinged.returncode == 1
    assert pinged.stdout.count(b" lost: no reply within 1s\n") == 2


@pytest.mark.parametrize(("number", "host"), [("4", "127.0.0.1"), ("6", "::1")])
def test_one_ip_version_can_be_chosen(number, host):
    both = dict.fromkeys(NAMES["both.example"], "answers")
    with behaving(both) as port:
        pinged = run(*client("pass", "ping", f"-{number}", "-c", "1", f"udp://both.example:{port}"))
    assert f"from {shown(host, port)}: seq=1 ".encode() in pinged.stdout
    with behaving(both, socket.SOCK_STREAM) as port:
        words = ("ping", f"-{number}", "--connect", "-c", "1", f"tcp://both.example:{port}")
        pinged = run(*client("pass", *words))
    assert f"connected to {shown(host, port)}: seq=1 ".encode() in pinged.stdout
    both[host] = "refuses"
    with behaving(both, socket.SOCK_STREAM) as port:
        sent = run(*client("pass", "send", f"-{number}", f"tcp://both.example:{port}", "x"))
    assert sent.stderr == f"echoctl: tcp://both.example:{port}: connection refused (ECONNREFUSED)\n".encode()


def test_connecting_goes_to_the_next_address_after_silence():
    """The first address has a full listen queue, so the kernel drops connection requests."""
    with behaving({"127.0.0.1": "silent", "127.0.0.2": "answers"}, socket.SOCK_STREAM) as port:
        full = [socket.socket() for _ in range(16)]
        for one in full:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        time.sleep(0.2)
        try:
            pinged = run(*client("pass", "ping", "--connect", "-c", "2", "-i", "50ms", f"tcp://two.example:{port}"))
        finally:
            for one in full:
                one.close()
    assert pinged.returncode == 0, pinged.stdout
    assert f"connected to 127.0.0.2:{port}: seq=1 time=".encode() in pinged.stdout
    assert b"2 tried, 2 connected, 0 lost (0%)" in pinged.stdout

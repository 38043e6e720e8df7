"""echoctl as a table of runs: arguments, input, output, standard error and exit code."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from echod.version import VERSION
from tests.contract.matrix import MIB, data
from tests.daemon import ECHOCTL, Daemon, free_port, run

CONFIG = """
[services.echo]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unix://{dir}/echo.sock", "unix-dgram://{dir}/echo.dgram"]
[services.upper]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
[services.printer]
kind = "discard"
listen = ["udp://127.0.0.1:0"]
[services.ack]
listen = ["tcp://127.0.0.1:0"]
show = "no"
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(CONFIG) as daemon:
        yield daemon
        daemon.check()


@dataclass(frozen=True)
class Case:
    """One run of echoctl: its arguments, its output, and its exit code.

    In `words` and `says`, {echo tcp} is the daemon's URL of that service and scheme; {unused tcp} has no listener.
    """

    words: tuple[str | bytes, ...]
    prints: bytes = b""
    input: bytes = b""
    code: int = 0
    says: str = ""


def usage(*words: str | bytes) -> Case:
    return Case(words, code=2)


REFUSED = "connection refused (ECONNREFUSED)"
CASES = {
    "send a text over tcp": Case(("send", "{echo tcp}", "hello", "  Wörld"), "hello   Wörld".encode()),
    "send a text over udp": Case(("send", "{echo udp}", "hello", "  Wörld"), "hello   Wörld".encode()),
    "send a text over unix": Case(("send", "{echo unix}", "hello", "  Wörld"), "hello   Wörld".encode()),
    "send a text over unix-dgram": Case(("send", "{echo unix-dgram}", "hello", "  Wörld"), "hello   Wörld".encode()),
    "send bytes that are not text": Case(("send", "{echo tcp}", b"\xff\x80 \x1b"), b"\xff\x80 \x1b"),
    "send 3 MiB": Case(("send", "{echo tcp}"), data()[: 3 * MIB], data()[: 3 * MIB]),
    "send the largest datagram": Case(("send", "{echo udp}"), data()[:65_507], data()[:65_507]),
    "send a datagram that is too large": Case(
        ("send", "{echo udp}"), b"", bytes(65_508), 1, "echoctl: {echo udp}: message too long (EMSGSIZE)\n"
    ),
    "send nothing": Case(("send", "{echo tcp}")),
    "send an empty datagram": Case(("send", "{echo udp}")),
    "keep open until the peer's end": Case(("send", "--keep-open", "{ack tcp}", "hello"), b"received"),
    "a datagram without a reply": Case(
        ("send", "--timeout", "200ms", "{printer udp}", "?"),
        code=1,
        says="echoctl: {printer udp}: no reply within 0.2 s (ETIMEDOUT)\n",
    ),
    "send without a listener": Case(
        ("send", "{unused tcp}", "?"), code=1, says=f"echoctl: {{unused tcp}}: {REFUSED}\n"
    ),
    "send over udp, without a listener": Case(
        ("send", "{unused udp}", "?"), code=1, says=f"echoctl: {{unused udp}}: {REFUSED}\n"
    ),
    "talk without a listener": Case(("talk", "{unused tcp}"), code=1, says=f"echoctl: {{unused tcp}}: {REFUSED}\n"),
    "talk over udp without a listener": Case(
        ("talk", "{unused udp}"), input=b"hello\n", code=1, says=f"echoctl: {{unused udp}}: {REFUSED}\n"
    ),
    "send to no path": Case(
        ("send", "unix:///does/not/exist", "?"),
        code=1,
        says="echoctl: unix:///does/not/exist: no such file or directory (ENOENT)\n",
    ),
    "talk line by line": Case(("talk", "{upper tcp}"), b"HELLO\nWORLD\n", b"hello\n\n\r\nworld\r\nexit\nnever sent\n"),
    "talk over datagrams": Case(("talk", "{upper udp}"), b"HELLO\nWORLD\n", b"hello\n\nworld\nexit\nnever sent\n"),
    "talk until the input ends": Case(("talk", "{upper tcp}"), b"HELLO\nNO LINE END\n", b"hello\nno line end"),
    "in hex": Case(
        ("send", "--hex", "{echo tcp}", "hello\x1b"),
        b"00000000  68 65 6c 6c 6f 1b                                hello.\n",
    ),
    "the version": Case(("--version",), f"echoctl {VERSION}\n".encode()),
    "no command": usage(),
    "an unknown command": usage("shout"),
    "no address": usage("send"),
    "no scheme": usage("send", "127.0.0.1:7"),
    "port 0": usage("send", "tcp://127.0.0.1:0"),
    "every interface": usage("send", "tcp://*:7"),
    "a time that is none": usage("send", "tcp://127.0.0.1:7", "--timeout", "soon"),
    "too much": usage("talk", "tcp://127.0.0.1:7", "hello"),
    "bytes that are not text": usage("send", b"tcp://\xff\x1b[31m:7"),
}


def in_place(text: str | bytes, daemon: Daemon, unused: dict[str, str]) -> bytes:
    """The words of a case with the addresses in them."""

    def address(match: re.Match[bytes]) -> bytes:
        service, _, scheme = match[1].decode().partition(" ")
        return (unused[scheme] if service == "unused" else daemon.url(service, scheme)).encode()

    return re.sub(rb"\{(\w+ [\w-]+)\}", address, os.fsencode(text))


@pytest.fixture(scope="module")
def unused() -> dict[str, str]:
    """URLs without a listener."""
    return {
        "tcp": f"tcp://127.0.0.1:{free_port()}",
        "udp": f"udp://127.0.0.1:{free_port()}",
    }


@pytest.mark.parametrize("name", CASES)
def test_one_run(name, daemon, unused):
    case = CASES[name]
    ended = run(*ECHOCTL, *(in_place(word, daemon, unused) for word in case.words), input=case.input)
    said = ended.stderr.decode("utf-8")
    assert ended.returncode == case.code, said
    assert ended.stdout == case.prints
    if case.code == 2:
        assert re.fullmatch(r"echoctl.*--help\n", said)
        assert said.rstrip("\n").isprintable()
    else:
        assert said == in_place(case.says, daemon, unused).decode()

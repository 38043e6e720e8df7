"""echod and three superservers side by side, each on the well-known ports of its own address.

They run in a network namespace: it is isolated, and root may bind every port in it. Its addresses are from
192.0.2.0/24 (RFC 5737), because openbsd-inetd does not reply to datagrams of 127.0.0.0/8.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.daemon import SECONDS, TOP, Daemon, eventually
from tests.system_wide.others import said, tool

PORTS: Final = {"echo": 7, "discard": 9, "daytime": 13, "chargen": 19, "time": 37}
ADDRESSES: Final = {
    "echod": "192.0.2.1",
    "openbsd-inetd": "192.0.2.2",
    "inetutils-inetd": "192.0.2.3",
    "xinetd": "192.0.2.4",
}
DEFAULTS: Final = "192.0.2.5"  # echod with its defaults, except for `allow`
RFC864: Final = "192.0.2.6"  # echod's chargen with `rfc864`
CLIENT: Final = "192.0.2.7"
SILENCE: Final = 0.2  # seconds to wait for a second reply, or for one that must not come

CLONE_NEWNET: Final = 0x40000000  # <linux/sched.h>

ECHOD: Final = f"""
[defaults]
allow = ["192.0.2.0/24"]
{{services}}
[services.daytime-defaults]
kind = "daytime"
listen = ["udp://{DEFAULTS}:13"]
[services.time-defaults]
kind = "time"
listen = ["udp://{DEFAULTS}:37"]
[services.chargen-rfc864]
kind = "chargen"
rfc864 = true
larger-answers-to = ["192.0.2.0/24"]
listen = ["udp://{RFC864}:19"]
"""
ECHOD_SERVICE: Final = """
[services.{kind}]
larger-answers-to = ["192.0.2.0/24"]
listen = ["tcp://{host}:{port}", "udp://{host}:{port}"]
"""
# In both files the TCP service of a kind is the last: `_started` waits for that of the last kind.
INETD: Final = """\
{host}:{kind} dgram udp wait root internal
{host}:{kind} stream tcp nowait root internal
"""
XINETD: Final = """
service {kind}
{{
    id = {kind}-{transport}
    type = INTERNAL
    socket_type = {shape}
    protocol = {transport}
    wait = {wait}
    bind = {host}
    user = root
    disable = no
}}
"""

SHAPES: Final = (
    {"transport": "udp", "shape": "dgram", "wait": "yes"},
    {"transport": "tcp", "shape": "stream", "wait": "no"},
)


class Server:
    """A running server: the process that receives its connections and datagrams."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop it during the block: everything sent in the block has arrived when the server continues."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@contextmanager
def own_network() -> Iterator[None]:
    """Sockets and processes of this thread belong to a private network that has only loopback addresses."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net", "rb") as before:
        if libc.unshare(CLONE_NEWNET):
            pytest.skip(f"a private network cannot be made: {os.strerror(ctypes.get_errno())}")
        try:
            ip = tool("ip")
            said(ip, "link", "set", "lo", "up")
            for host in (*ADDRESSES.values(), DEFAULTS, RFC864, CLIENT):
                said(ip, "address", "add", f"{host}/32", "dev", "lo")
            yield
        finally:
            assert libc.setns(before.fileno(), CLONE_NEWNET) == 0


@contextmanager
def running(folder: Path) -> Iterator[Mapping[str, Server]]:
    """Every installed server, by its name."""
    host = ADDRESSES["echod"]
    services = "".join(ECHOD_SERVICE.format(kind=kind, host=host, port=port) for kind, port in PORTS.items())
    with ExitStack() as stack:
        echod = stack.enter_context(Daemon(ECHOD.format(services=services)))
        servers = {"echod": Server(echod.process)}
        for name, words in _superservers(folder).items():
            servers[name] = stack.enter_context(_started(name, words))
        yield servers
        echod.check()
        assert echod.stop() == 0


def _superservers(folder: Path) -> Mapping[str, Sequence[str | Path]]:
    """The command lines of the installed servers; none writes anything outside of `folder`."""
    found: dict[str, Sequence[str | Path]] = {}
    if path := _program("openbsd-inetd", "usr/sbin/inetd"):
        found["openbsd-inetd"] = [path, "-i", _inetd(folder, "openbsd-inetd")]
    if path := _program("inetutils-inetd", "usr/sbin/inetutils-inetd"):
        pidfile = folder / "inetutils-inetd.pid"
        found["inetutils-inetd"] = [path, "-d", f"--pidfile={pidfile}", _inetd(folder, "inetutils-inetd")]
    if path := _program("xinetd", "usr/sbin/xinetd"):
        pidfile, log = folder / "xinetd.pid", folder / "xinetd.log"
        found["xinetd"] = [path, "-dontfork", "-pidfile", pidfile, "-filelog", log, "-f", _xinetd(folder)]
    return found


def _program(package: str, path: str) -> Path | None:
    """The path of a package's program: unpacked by tests/system_wide/prepare, or installed."""
    unpacked = TOP / "build/superservers" / package / path
    if unpacked.exists():
        return unpacked
    installed = (Path("/var/lib/dpkg/info") / f"{package}.list").exists() and Path("/", path).exists()
    return Path("/", path) if installed else None


def _inetd(folder: Path, name: str) -> Path:
    file = folder / f"{name}.conf"
    lines = [INETD.format(kind=kind, host=ADDRESSES[name]) for kind in PORTS]
    if name == "openbsd-inetd":
        lines.insert(0, "127.0.0.1:echo dgram udp wait root internal\n")
    file.write_text("".join(lines))
    return file


def _xinetd(folder: Path) -> Path:
    file = folder / "xinetd.conf"
    services = [XINETD.format(kind=kind, host=ADDRESSES["xinetd"], **shape) for kind in PORTS for shape in SHAPES]
    file.write_text("defaults\n{\n    instances = 100\n    cps = 1000 1\n}\n" + "".join(services))
    return file


@contextmanager
def _started(name: str, words: Sequence[str | Path]) -> Iterator[Server]:
    nothing = subprocess.DEVNULL
    with subprocess.Popen(words, stdin=nothing, stdout=nothing, stderr=nothing) as process:
        try:
            assert eventually(lambda: _listens(ADDRESSES[name])), f"{words} do not listen"
            yield Server(process)
        finally:
            process.terminate()
            process.wait(SECONDS)


def _listens(host: str) -> bool:
    """Whether all services are bound to this address, for connections and for datagrams (proc(5))."""
    address = f"{int.from_bytes(socket.inet_aton(host), sys.byteorder):08X}"
    for table in ("tcp", "udp"):
        bound = Path("/proc/thread-self/net", table).read_text()
        if not all(f" {address}:{port:04X} 00000000:0000 " in bound for port in PORTS.values()):
            return False
    return True


def connected(host: str, kind: str) -> socket.socket:
    """A connection from CLIENT."""
    opened = socket.socket()
    opened.settimeout(SECONDS)
    opened.bind((CLIENT, 0))
    opened.connect((host, PORTS[kind]))
    return opened


def heard(opened: socket.socket, at_most: int | None = None) -> bytes:
    """All bytes until the other end closes, or so many bytes."""
    came = b""
    while at_most is None or len(came) < at_most:
        piece = opened.recv(65_536 if at_most is None else at_most - len(came))
        if not piece:
            break
        came += piece
    return came


def asked(
    host: str, kind: str, question: bytes, *, answers: int = 1, client: str = CLIENT, port: int = 0
) -> list[bytes]:
    """The replies to one datagram: `answers` of them without a time limit, and any further ones in SILENCE."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind((client, port))
        opened.connect((host, PORTS[kind]))
        opened.send(question)
        came: list[bytes] = []
        try:
            while True:
                opened.settimeout(SECONDS if len(came) < answers else SILENCE)
                came.append(opened.recv(65_536))
        except TimeoutError:
            return came

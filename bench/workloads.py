"""The workloads: each is one way to run the load generator.

A workload is independent of the servers, except that it names the C program it is compared with. That depends on the
workload: a single datagram gains nothing from recvmmsg, and is compared with recvfrom.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Role(Enum):
    """The address and service of a server. A peer that has the role can run the workloads that need it."""

    TCP = "tcp echo"
    UPPER = "tcp upper"
    UNIX = "unix echo"
    UDP = "udp echo"
    WEBSOCKET = "websocket echo"
    PROXIED = "tcp echo behind a proxy"
    TLS = "tls echo"


@dataclass(frozen=True)
class Workload:
    """One row. `load` is the load generator's mode and options; `connections` is how many it holds open at once."""

    key: str
    title: str
    role: Role
    load: tuple[str, ...]
    connections: int = 1
    yardstick: str = "c"  #: the peer that "against C" refers to
    quick: bool = False  #: has targets, so it is part of the quick run
    reconnects: bool = False  #: one connection per message


def _stream(key: str, title: str, role: Role, connections: int, *load: str, quick: bool = True) -> Workload:
    return Workload(key, title, role, ("stream", f"--connections={connections}", *load), connections, quick=quick)


def _datagram(key: str, title: str, *load: str, yardstick: str = "c-recvmmsg", quick: bool = False) -> Workload:
    return Workload(key, title, Role.UDP, ("datagram", *load), yardstick=yardstick, quick=quick)


def _websocket(key: str, title: str, *load: str) -> Workload:
    return Workload(key, title, Role.WEBSOCKET, ("websocket", "--connections=64", *load), 64, quick=True)


def _tls(
    key: str, title: str, *load: str, connections: int = 64, quick: bool = False, reconnects: bool = False
) -> Workload:
    words = (*load, f"--connections={connections}")
    return Workload(key, title, Role.TLS, words, connections, "c-openssl", quick, reconnects)


WORKLOADS: Final = (
    _stream("tcp-64", "TCP echo 64 B × 64 connections", Role.TCP, 64),
    _stream("tcp-1", "TCP echo 64 B × 1", Role.TCP, 1),
    _stream("tcp-1000", "TCP echo 64 B × 1000", Role.TCP, 1000),
    _stream("tcp-16k", "TCP echo 16 KiB × 64", Role.TCP, 64, "--size=16384"),
    # 1 MiB in flight: more than the buffers of idle sockets hold, so both directions stay full.
    _stream("tcp-bulk", "TCP echo bulk, 64 KiB writes", Role.TCP, 1, "--size=65536", "--depth=16"),
    _stream("tcp-upper", "TCP upper 64 B × 64", Role.UPPER, 64, "--upper"),
    Workload("connect", "connect, echo 64 B, close", Role.TCP, ("connect", "--connections=16"), 16, "c", True, True),
    _stream("proxy-64", "behind PROXY v2: echo 64 B × 64", Role.PROXIED, 64, "--proxy", quick=False),
    Workload(
        "proxy-connect",
        "behind PROXY v2: connect, echo 64 B, close",
        Role.PROXIED,
        ("connect", "--connections=16", "--proxy"),
        16,
        reconnects=True,
    ),
    _stream("unix-64", "Unix stream echo 64 B × 64", Role.UNIX, 64, quick=False),
    _datagram("udp-64", "UDP echo 64 B, 64 in flight, one peer", "--depth=64", quick=True),
    _datagram("udp-1", "UDP echo 64 B, one in flight", yardstick="c-recvfrom", quick=True),
    _datagram("udp-8-flows", "UDP echo 64 B, 64 in flight, 8 peers", "--depth=64", "--flows=8", quick=True),
    _datagram("udp-512-flows", "UDP echo 64 B, 64 in flight, 512 peers", "--depth=64", "--flows=512"),
    _datagram("udp-gso", "UDP echo 64 B, one peer that sends GSO", "--depth=64", "--gso", yardstick="c-gro"),
    _websocket("ws-64", "WebSocket echo 64 B × 64"),
    _websocket("ws-4k", "WebSocket echo 4 KiB × 64", "--size=4096"),
    _tls("tls-64", "TLS echo 64 B × 64 connections", "tls", quick=True),
    _tls("tls-1", "TLS echo 64 B × 1", "tls", connections=1, quick=True),
    _tls("tls-16k", "TLS echo 16 KiB × 64", "tls", "--size=16384"),
    _tls("tls-connect", "TLS handshake, echo 64 B, close", "tls-connect", connections=1, reconnects=True),
    _tls("tls-resumed", "the same, session resumed", "tls-connect", "--resume", connections=1, reconnects=True),
)


@dataclass(frozen=True)
class Idle:
    """A memory row, which runs no load (see `bench.rounds.Bench.rest`). `load` is the generator's mode and options."""

    key: str
    name: str
    role: Role
    load: tuple[str, ...]
    most: int  #: connections, if the run does not ask for fewer

    def title(self, connections: int) -> str:
        """The title of its row."""
        return f"user memory per {self.name}, {connections:,} idle"


MEMORY: Final = Idle("memory", "connection", Role.TCP, ("idle",), 10_000)
IDLE: Final = (
    MEMORY,
    Idle("memory-ws", "WebSocket connection", Role.WEBSOCKET, ("websocket-idle",), 1_000),
    Idle("memory-tls", "TLS connection", Role.TLS, ("tls-idle",), 1_000),
    Idle("memory-tls-burst", "TLS connection after 64 KiB", Role.TLS, ("tls-idle", "--burst"), 1_000),
)

"""What is asked of a server: each workload is one way to run the load generator.

A workload knows no server. Which C program is its yardstick is said here, because that is a matter of the
question: a single datagram gains nothing from recvmmsg, and is compared with recvfrom.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Role(Enum):
    """What a server listens on and answers; a peer that has it can take the workloads that ask for it."""

    TCP = "tcp echo"
    UPPER = "tcp upper"
    UNIX = "unix echo"
    UDP = "udp echo"


@dataclass(frozen=True)
class Workload:
    """One row. `load` is the load generator's mode and options; `connections` is how many it holds open at once."""

    key: str
    title: str
    role: Role
    load: tuple[str, ...]
    connections: int = 1
    yardstick: str = "c"  #: the peer that "against C" means
    quick: bool = False  #: has targets, so it is part of the quick run
    reconnects: bool = False  #: a connection a message


def _stream(key: str, title: str, role: Role, connections: int, *load: str, quick: bool = True) -> Workload:
    return Workload(key, title, role, ("stream", f"--connections={connections}", *load), connections, quick=quick)


def _datagram(key: str, title: str, *load: str, yardstick: str = "c-recvmmsg", quick: bool = False) -> Workload:
    return Workload(key, title, Role.UDP, ("datagram", *load), yardstick=yardstick, quick=quick)


WORKLOADS: Final = (
    _stream("tcp-64", "TCP echo 64 B × 64 connections", Role.TCP, 64),
    _stream("tcp-1", "TCP echo 64 B × 1", Role.TCP, 1),
    _stream("tcp-1000", "TCP echo 64 B × 1000", Role.TCP, 1000),
    _stream("tcp-16k", "TCP echo 16 KiB × 64", Role.TCP, 64, "--size=16384"),
    # A mebibyte in flight: more than the sockets' buffers hold at rest, so both ways stay full.
    _stream("tcp-bulk", "TCP echo bulk, 64 KiB writes", Role.TCP, 1, "--size=65536", "--depth=16"),
    _stream("tcp-upper", "TCP upper 64 B × 64", Role.UPPER, 64, "--upper"),
    Workload("connect", "connect, echo 64 B, close", Role.TCP, ("connect", "--connections=16"), 16, "c", True, True),
    _stream("unix-64", "Unix stream echo 64 B × 64", Role.UNIX, 64, quick=False),
    _datagram("udp-64", "UDP echo 64 B, 64 in flight, one peer", "--depth=64", quick=True),
    _datagram("udp-1", "UDP echo 64 B, one in flight", yardstick="c-recvfrom", quick=True),
    _datagram("udp-8-flows", "UDP echo 64 B, 64 in flight, 8 peers", "--depth=64", "--flows=8"),
    _datagram("udp-512-flows", "UDP echo 64 B, 64 in flight, 512 peers", "--depth=64", "--flows=512"),
    _datagram("udp-gso", "UDP echo 64 B, one peer that sends GSO", "--depth=64", "--gso", yardstick="c-gro"),
)

MEMORY: Final = "memory"
"""The key of the one row that is no load but a rest: see `bench.rounds.Bench.rest`."""

MEMORY_TITLE: Final = "user memory a connection, {connections:,} idle"

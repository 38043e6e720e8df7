"""A cache of what all datagrams of a source have in common: decisions of the gate, addresses, the Peer.

A flood from forged sources must not fill the memory. So a full table is emptied, which costs only time.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Hashable
from typing import Any, Final

from echod.gate.access import MAPPED, canonical, packed_address
from echod.gate.datagrams import DatagramGate
from echod.gate.refusal import Refusal
from echod.model import Peer
from echod.socket_names import inet_name
from echod.transports.udp_options import IP_PKTINFO, UDP_GRO

_DESTINATION: Final = frozenset({(socket.IPPROTO_IP, IP_PKTINFO), (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)})
REMEMBERED: Final = 4096  #: sources in the table of one socket, at most


class Source:
    """One source of datagrams to one local address.

    `refusal` is the reason to refuse all of its datagrams, apart from rates. With `limited`, the gate decides on each
    datagram. `ancillary` makes the local address the source of the reply. `local` is its packed form, or None for the
    address of the socket. `peer` is set when the first datagram is served.
    """

    __slots__ = ("ancillary", "key", "larger", "limited", "local", "name", "peer", "port", "refusal")

    def __init__(
        self,
        gate: DatagramGate | None,
        loopback: bool,
        name: tuple[Any, ...],
        local: bytes | None,
        refusal: Refusal | None,
        ancillary: list[tuple[int, int, bytes]],
    ) -> None:
        host = packed_address(name[0])
        self.name, self.local, self.ancillary = name, local, ancillary
        self.key, self.port = canonical(host), int(name[1])
        self.limited, self.larger = False, True
        self.peer: Peer | None = None
        if gate is not None:
            if refusal is None:
                refusal = gate.forbidden(host, self.key, self.port)
            self.limited = not gate.limits.datagrams(loopback).unlimited
            self.larger = gate.may_be_larger(host)
        self.refusal = refusal


class Sources:
    """The sources that one socket knows, by a key that the socket chooses."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Source] = {}
        self.get = self._known.get  #: the source of a key, or None

    def add(self, key: Hashable, source: Source) -> Source:
        """Remember a source."""
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[key] = source
        return source

    def forget(self) -> None:
        """Drop all sources, because the access lists or the addresses of echod have changed."""
        self._known.clear()


def segment_size(ancillary: list[tuple[int, int, bytes]]) -> int:
    """The size of each joined datagram, in bytes, except the last, which may be shorter; 0 if none was joined."""
    for level, kind, data in ancillary:
        if kind == UDP_GRO and level == socket.IPPROTO_UDP:
            return int.from_bytes(data, sys.byteorder)
    return 0


def source_key(ancillary: list[tuple[int, int, bytes]], name: tuple[Any, ...]) -> Hashable:
    """The key of a datagram's source and destination, or None if it has other control messages."""
    if not ancillary:
        return name
    ((level, kind, data), *others) = ancillary
    return (name, data) if (level, kind) in _DESTINATION and not others else None


def is_four(host: bytes) -> bool:
    """Whether 4 or 16 bytes are an IPv4 host, mapped or not."""
    return len(host) == 4 or host[:12] == MAPPED


def local_text(arrived_at: bytes, name: tuple[Any, ...]) -> str:
    """A local address as text. A link-local one has the zone of `name`, the address of the peer."""
    if len(arrived_at) == 4:
        return socket.inet_ntop(socket.AF_INET, arrived_at)
    text = socket.inet_ntop(socket.AF_INET6, arrived_at)
    return inet_name((text, 0, 0, name[3] if ipaddress.IPv6Address(arrived_at).is_link_local else 0)).host

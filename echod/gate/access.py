"""Access lists: which hosts may use a service, decided by the most specific network that contains them.

A host is a key of 4 bytes (IPv4) or 16 (IPv6). All forms of the address of one host have the same key, so that
another form of an address does not bypass a list.
"""

from __future__ import annotations

import ipaddress
import socket
from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAPPED: Final = bytes(10) + b"\xff\xff"  # RFC 4291 2.5.5.2: what a dual-stack socket shows
_COMPATIBLE: Final = bytes(12)  # RFC 4291 2.5.5.1: deprecated, so no host uses it legitimately
_NAT64: Final = bytes.fromhex("0064ff9b") + bytes(8)  # RFC 6052 2.1
_ANY_OR_LOOPBACK6: Final = (bytes(16), bytes(15) + b"\x01")


def packed_address(host: str) -> bytes:
    """The 4 or 16 bytes of a host in text, with or without a scope. Raises ValueError if it is not an IP address."""
    try:
        if ":" in host:
            return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
        return socket.inet_pton(socket.AF_INET, host)
    except OSError:
        raise ValueError(f"{host!a} is not an IP address") from None


def key_of(host: str) -> bytes:
    """The key of a host in text. Raises ValueError if it is not an IP address."""
    return canonical(packed_address(host))


def canonical(packed: bytes) -> bytes:
    """The key of a host, from its 4 or 16 bytes: an IPv4 host inside IPv6 is that IPv4 host."""
    if len(packed) == 16 and packed[:12] in (MAPPED, _COMPATIBLE, _NAT64) and packed not in _ANY_OR_LOOPBACK6:
        return packed[12:]
    return packed


def in_disguise(packed: bytes) -> bool:
    """Whether these 16 bytes contain an IPv4 host in a form that no legitimate packet has.

    The kernel itself creates the mapped form. The other two arrive from the network. There, a loopback or private host
    (which RFC 6052 3.1 forbids) is only an attempt to bypass an access list.
    """
    if len(packed) != 16 or packed[:12] not in (_COMPATIBLE, _NAT64) or packed in _ANY_OR_LOOPBACK6:
        return False
    return not ipaddress.IPv4Address(packed[12:]).is_global


class Access:
    """The lists of one service, flattened to ranges: one binary search for each host, for any number of networks.

    A network in both lists is denied. A host in no network is denied.
    """

    def __init__(self, allow: Iterable[Network], deny: Iterable[Network] = ()) -> None:
        rules: dict[tuple[int, int, int], bool] = {}  # (size, first host, length of prefix) -> allowed
        for networks, allowed in ((allow, True), (deny, False)):
            for network in networks:
                packed = network.network_address.packed
                length = network.prefixlen
                if len(packed) == 16 and length >= 96 and len(canonical(packed)) == 4:
                    packed, length = canonical(packed), length - 96
                rules[len(packed), int.from_bytes(packed, "big"), length] = allowed
        self._ranges = {size: _flatten(size * 8, rules, size) for size in (4, 16)}

    def allows(self, key: bytes) -> bool:
        """Whether a host is allowed, by its key from `key_of` or `canonical`."""
        starts, allowed = self._ranges[len(key)]
        return allowed[bisect_right(starts, int.from_bytes(key, "big")) - 1]


def _flatten(bits: int, rules: dict[tuple[int, int, int], bool], size: int) -> tuple[list[int], list[bool]]:
    """Nested networks as sorted ranges: the first host of each, and whether it is allowed. The first host is 0."""
    starts, decisions = [0], [False]

    def begin(first: int, is_allowed: bool) -> None:
        if starts[-1] == first:
            decisions[-1] = is_allowed
        elif decisions[-1] is not is_allowed:
            starts.append(first)
            decisions.append(is_allowed)

    enclosing: list[tuple[int, bool]] = []  # (first host after it, whether allowed), the innermost last
    for (_, first, length), allowed in sorted(item for item in rules.items() if item[0][0] == size):
        while enclosing and enclosing[-1][0] <= first:
            after, _ = enclosing.pop()
            begin(after, enclosing[-1][1] if enclosing else False)
        begin(first, allowed)
        enclosing.append((first + (1 << (bits - length)), allowed))
    while enclosing:
        after, _ = enclosing.pop()
        begin(after, enclosing[-1][1] if enclosing else False)
    return starts, decisions

"""UDP datagrams with a spoofed source, by raw sockets, which need root."""

from __future__ import annotations

import os
import socket
import struct
from typing import Final, Self

from tests.chaos.network import Lacking

IPV6_HDRINCL: Final = 36  # ipv6(7); <linux/in6.h>
HIGH: Final = 20_000
"""A client's port below those that the kernel chooses from. A source at a port of the daemon itself is refused."""
_TTL: Final = 64

Place = tuple[str, int]


def _checksum(payload: bytes) -> int:
    """The one's complement sum of RFC 1071, complemented."""
    padded = payload + bytes(len(payload) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def packet(source: Place, destination: Place, payload: bytes) -> bytes:
    """An IP packet with one UDP datagram (RFC 768) from any `source`."""
    length = 8 + len(payload)
    ports = struct.pack("!HHH", source[1], destination[1], length)
    if ":" not in source[0]:
        ends = socket.inet_aton(source[0]) + socket.inet_aton(destination[0])
        # The kernel fills in the total length, the identification and the checksum (raw(7)).
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, _TTL, socket.IPPROTO_UDP, 0)
        return header + ends + ports + bytes(2) + payload
    ends = b"".join(socket.inet_pton(socket.AF_INET6, host) for host, _ in (source, destination))
    header = struct.pack("!IHBB", 6 << 28, length, socket.IPPROTO_UDP, _TTL)
    pseudo = ends + struct.pack("!II", length, socket.IPPROTO_UDP)  # RFC 8200 8.1: IPv6 requires the checksum
    checksum = _checksum(pseudo + ports + bytes(2) + payload) or 0xFFFF
    return header + ends + ports + struct.pack("!H", checksum) + payload


class Spoofer:
    """Sends packets made by `packet`. It belongs to the network in which it was made. Raises Lacking."""

    def __init__(self, family: socket.AddressFamily = socket.AF_INET) -> None:
        try:
            self._raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
        except PermissionError as error:
            raise Lacking(f"a raw socket cannot be made: {os.strerror(error.errno or 0)}") from None
        if family == socket.AF_INET6:
            self._raw.setsockopt(socket.IPPROTO_IPV6, IPV6_HDRINCL, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def send(self, source: Place, destination: Place, payload: bytes, count: int = 1) -> None:
        """Send it so many times; if the queue is full, wait."""
        whole = packet(source, destination, payload)
        place = (destination[0], 0)
        for _ in range(count):
            self._raw.sendto(whole, place)

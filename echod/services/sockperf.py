"""Sockperf: the server of sockperf's ping-pong and under-load tests over UDP."""

from __future__ import annotations

import struct
from typing import Final

from echod.model import Peer, Service

HEADER: Final = struct.Struct("!QHI")  #: sequence number, flags, length of the message
CLIENT: Final = 1  #: flag: the message is from a client
PONG_REQUEST: Final = 2  #: flag: the client expects a reply


class Sockperf(Service):
    """Returns each message that requests a reply, marked as a server's. Other datagrams get none."""

    kind = "sockperf"
    summary = "replies to the messages of sockperf ping-pong and under-load"
    streams = False

    def answer(self, datagram: bytes, peer: Peer) -> bytes | None:
        if len(datagram) < HEADER.size:
            return None
        _, flags, length = HEADER.unpack_from(datagram)
        if length != len(datagram) or not flags & CLIENT or not flags & PONG_REQUEST:
            return None
        return datagram[:9] + bytes([datagram[9] & ~CLIENT & 0xFF]) + datagram[10:]

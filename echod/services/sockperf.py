"""Sockperf: the server of sockperf's ping-pong and under-load tests."""

from __future__ import annotations

import struct
from typing import Final

from echod.gate.total_buffer import Watermark
from echod.gate.work_budget import UNIT_BYTES, WorkBudget
from echod.model import NOTHING, PLAIN, Arrival, End, Peer, Quiet, Reply, Say, Service, Session

HEADER: Final = struct.Struct("!QHI")  #: sequence number, flags, length of the message
CLIENT: Final = 1  #: flag: the message is from a client
PONG_REQUEST: Final = 2  #: flag: the client expects a reply
_FLAGS: Final = 9  #: the position of the byte with both flags


class Sockperf(Service):
    """Returns each message that requests a reply, marked as a server's. Other messages get none.

    A stream consists of such messages. One that does not is closed.
    """

    kind = "sockperf"
    summary = "replies to the messages of sockperf ping-pong and under-load"
    messages = False

    def session(self, peer: Peer, say: Say) -> Session:
        return SockperfSession(self.context.work, self.context.send_budget)

    def answer(self, datagram: bytes, peer: Peer) -> bytes | None:
        if len(datagram) < HEADER.size:
            return None
        _, flags, length = HEADER.unpack_from(datagram)
        if length != len(datagram) or not flags & CLIENT or not flags & PONG_REQUEST:
            return None
        return _of_server(datagram)


class SockperfSession(Quiet):
    """The messages of one stream. Only headers are collected: the rest of a message is returned as it arrives."""

    def __init__(self, work: WorkBudget, watermark: Watermark) -> None:
        self._work = work
        self._watermark = watermark
        self._data = b""  # unprocessed: a part of a header, or all that the work budget has left
        self._left = 0  # bytes of the present message that have not arrived
        self._returned = False  # whether the present message is returned

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        return self._process(self._data + data)

    def proceed(self) -> Reply:
        return self._process(self._data)

    def lost(self) -> None:
        self._keep(b"")

    def _process(self, data: bytes) -> Reply:
        portion = self._work.portion()
        pieces: list[bytes] = []
        at, size = 0, len(data)
        while at < size:
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                portion.spend(len(piece) // UNIT_BYTES)
                if self._returned:
                    pieces.append(piece)
            elif size - at < HEADER.size or not portion.take():
                break
            else:
                _, flags, length = HEADER.unpack_from(data, at)
                if length < HEADER.size or not flags & CLIENT:
                    self._keep(b"")
                    return Reply(b"".join(pieces), End.CLOSE)
                self._returned = bool(flags & PONG_REQUEST)
                if self._returned:
                    pieces.append(_of_server(data[at : at + HEADER.size]))
                at += HEADER.size
                self._left = length - HEADER.size
        self._keep(data[at:])
        held = len(self._data) >= HEADER.size
        return Reply(b"".join(pieces), held=held) if pieces or held else NOTHING

    def _keep(self, data: bytes) -> None:
        self._watermark.change(len(data) - len(self._data))
        self._data = data


def _of_server(message: bytes) -> bytes:
    """The message, or the begin of it, without the flag of a client."""
    return message[:_FLAGS] + bytes([message[_FLAGS] & ~CLIENT & 0xFF]) + message[_FLAGS + 1 :]

"""WebSocket that misbehaves on purpose: the words of `faults.websocket`.

| Word | The peer gets |
| --- | --- |
| `bad-accept` | a handshake whose Sec-WebSocket-Accept belongs to another key |
| `bad-close-code` | Close frames with the code 1005, which no endpoint may send (RFC 6455 7.4.1) |
| `masked` | masked frames, which only a client may send (RFC 6455 5.1) |
| `invalid-utf8` | each message as text that ends with a byte that is not UTF-8 |
| `ping-flood` | PINGS pings after the handshake, as fast as it reads them |
| `no-pong` | no answer to its pings |
| `endless-fragments` | its first message in fragments without end: the connection closes after `limits.message` bytes |
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

from websockets.extensions import Extension
from websockets.frames import BINARY, CLOSE, CONT, PING, PONG, TEXT, Opcode
from websockets.http11 import Request as Head

from echod.faults.settings import WebSocketFault
from echod.transports.handshake_slot import Rejection
from echod.transports.layers.http_answer import Request, Resource
from echod.transports.layers.layer_interface import LINGER, Build
from echod.transports.layers.websocket_frames import encoded, is_utf8
from echod.transports.layers.websocket_server import WebSocketServer

PINGS: Final = 10_000  #: of a flood
AT_ONCE: Final = 64  #: pings or fragments in a turn of the event loop
FRAGMENT: Final = 1_024  #: bytes
PAUSE: Final = 0.01  #: seconds until the kernel is asked again if it has accepted all
RESERVED_CODE: Final = 1005
_OTHER_KEY: Final = rb"\1AAAAAAAAAAAAAAAAAAAAAAAAAAA="  # 20 bytes in base64, as SHA-1 has
_ACCEPT: Final = re.compile(rb"(\r\nSec-WebSocket-Accept: )[^\r]*")
_FINAL: Final = 0x80  #: the bit of the last fragment


class FaultyWebSocket(WebSocketServer):
    """One connection of a server. Its resource chooses the fault; without a fault it is WebSocket."""

    __slots__ = ("_fault", "_left", "_turn")

    def __init__(
        self, build: Build, clock: Any, seconds: float, resources: Mapping[str, Resource], **more: Any
    ) -> None:
        super().__init__(build, clock, seconds, resources, **more)
        self._fault: WebSocketFault | None = None
        self._left = 0  # pings, or bytes of fragments, that are still to be sent
        self._turn: Any = None  # the timer of the next ones

    def open(self, response: bytes, rest: bytes, message: int, extensions: Sequence[Extension] = ()) -> None:
        if self._fault == "bad-accept":
            response = _ACCEPT.sub(_OTHER_KEY, response)
        super().open(response, rest, message, extensions)
        if self._fault == "ping-flood" and not isinstance(self.receiver, Rejection):
            self._left = PINGS
            self._send_more()

    # for the level below

    def lost(self, reason: Exception) -> None:
        self._stop()
        super().lost(reason)

    # for the level above

    def write(self, data: bytes, text: bool | None = None) -> None:
        if self._fault == "invalid-utf8" and not self._close_sent:
            self._send(TEXT, data + b"\xff")
        elif self._fault != "endless-fragments":
            super().write(data, text)
        elif not self._left and not self._close_sent and self.reader is not None:
            opcode = BINARY if text is False or not is_utf8(data) else TEXT
            self._left = self.reader.limit
            self._send_fragment(opcode, data)
            self._send_more()

    def close(self, linger: float = LINGER) -> None:
        self._stop()
        super().close(linger)

    # the handshake

    def _accept(self, head: Head, request: Request, resource: Resource, rest: bytes) -> None:
        if resource.choose_fault is not None:
            self._fault = resource.choose_fault(self.facts, request.query)
        super()._accept(head, request, resource, rest)

    # frames

    def _take_control(self, opcode: Opcode, data: bytes) -> None:
        """As WebSocket. The pongs that a flood has asked for are not counted against the peer."""
        flooded = opcode is PONG and self._fault == "ping-flood"
        unanswered = opcode is PING and self._fault == "no-pong"
        if not flooded and not unanswered:
            super()._take_control(opcode, data)

    def _send(self, opcode: Opcode, data: bytes) -> None:
        if opcode is CLOSE and self._fault == "bad-close-code":
            data = struct.pack("!H", RESERVED_CODE)
        if self._fault == "masked":
            self._unsent += len(data)
            self.below.write(encoded(opcode, data, masked=True, deflate=self._deflate))
        else:
            super()._send(opcode, data)

    def _send_fragment(self, opcode: Opcode, data: bytes) -> None:
        """Send a frame that is not the last one of its message, without compression."""
        frame = encoded(opcode, data, masked=False)
        self._unsent += len(data) or 1
        self._left = max(0, self._left - len(data))
        self.below.write(bytes([frame[0] & ~_FINAL]) + frame[1:])

    def _send_more(self) -> None:
        """Send the next pings or fragments if the kernel has accepted those before, and the rest in other turns."""
        if self._turn is not None or not self._left or self._close_sent:
            return
        for _ in range(0 if self.below.unsent else AT_ONCE):
            if not self._left:
                break
            if self._fault == "ping-flood":
                self._left -= 1
                self._send(PING, self._left.to_bytes(4, "big"))
            else:
                self._send_fragment(CONT, b"." * min(FRAGMENT, self._left))
        self.below.flush()
        if not self._left and self._fault == "endless-fragments":
            self.close()
        elif self._left:
            self._turn = self._clock.callLater(PAUSE if self.below.unsent else 0, self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        self._send_more()

    def _stop(self) -> None:
        """Send no further pings or fragments."""
        self._left = 0
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

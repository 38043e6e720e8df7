"""A blocking WebSocket client with the methods of a socket, on the library `websockets`; and raw frames."""

from __future__ import annotations

import contextlib
import socket
from typing import Any, Final

from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from tests.daemon import SECONDS, Place
from tests.tls import TlsSocket

UPGRADE: Final = b"""GET / HTTP/1.1\r
Host: localhost\r
Upgrade: websocket\r
Connection: Upgrade\r
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r
Sec-WebSocket-Version: 13\r
\r
"""


class WebSocketClient:
    """A connected client. `send` sends a message, `receive` returns one; a partly sent frame is completed later."""

    def __init__(self, place: Place, path: str = "/", *, secure: bool = False, **options: Any) -> None:
        host, port = place[0], place[1]
        named = f"[{host}]" if ":" in str(host) else host
        self.protocol = ClientProtocol(parse_uri(f"ws://{named}:{port}{path}"), max_size=None, **options)
        connected = socket.create_connection((str(host), int(port)), SECONDS)
        self.socket: Any = TlsSocket(connected) if secure else connected
        self._seconds: float | None = SECONDS
        self.types: list[bool] = []  # of each received message, whether it was text
        self.closed: Close | None = None  # the Close of the peer
        self._unsent = b""
        self._frames: list[Frame] = []
        self._message = bytearray()
        try:
            self.protocol.send_request(self.protocol.connect())
            self._flush()
            while self.protocol.state is State.CONNECTING and self.protocol.handshake_exc is None:
                self._read()
            if self.protocol.handshake_exc is not None:
                raise self.protocol.handshake_exc
        except BaseException:
            self.socket.close()
            raise

    def send(self, data: bytes, *, text: bool = False) -> int:
        """Send a message. TimeoutError means that no byte of it was sent."""
        self._flush()
        (self.protocol.send_text if text else self.protocol.send_binary)(data)
        frame = b"".join(self.protocol.data_to_send())
        self._unsent = frame[self.socket.send(frame) :]
        try:
            self._flush()
        except TimeoutError:
            pass  # the rest is sent before the next frame
        return len(data)

    def receive(self) -> bytes | None:
        """The next message, which may be empty; None is the end."""
        while True:
            while self._frames:
                frame = self._frames.pop(0)
                if frame.opcode is Opcode.CLOSE:
                    self.closed = self.protocol.close_rcvd
                    return None
                if frame.opcode in (Opcode.PING, Opcode.PONG):
                    continue
                if frame.opcode is not Opcode.CONT:
                    self.types.append(frame.opcode is Opcode.TEXT)
                self._message += frame.data
                if frame.fin:
                    message, self._message = bytes(self._message), bytearray()
                    return message
            if not self._read():
                return None

    def shutdown(self, _how: int) -> None:
        """Send Close; what the socket does not accept is sent while the client receives."""
        self.protocol.send_close(1000)
        self._flush_some()

    def settimeout(self, seconds: float | None) -> None:
        """As socket.settimeout."""
        self._seconds = seconds
        self.socket.settimeout(seconds)

    def close(self) -> None:
        """Close the connection without a Close frame."""
        self.socket.close()

    def _read(self) -> bool:
        data = self.socket.recv(1 << 16)
        if data:
            self.protocol.receive_data(data)
        else:
            self.protocol.receive_eof()
        for event in self.protocol.events_received():
            if isinstance(event, Frame):
                self._frames.append(event)
        self._flush_some()
        if isinstance(self.protocol.parser_exc, Exception) and data:
            raise self.protocol.parser_exc
        return bool(data)

    def _flush_some(self) -> None:
        """Send what the socket accepts now."""
        self.socket.settimeout(0.01)
        with contextlib.suppress(TimeoutError):
            self._flush()
        self.socket.settimeout(self._seconds)

    def _flush(self) -> None:
        self._unsent += b"".join(self.protocol.data_to_send())
        while self._unsent:
            self._unsent = self._unsent[self.socket.send(self._unsent) :]

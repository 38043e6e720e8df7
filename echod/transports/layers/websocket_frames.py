"""WebSocket frames (RFC 6455 5): bytes to messages, and messages to bytes. It has no transport and no timer.

The library `websockets` parses frames, and applies masks and compression. This module joins fragments, checks text and
bounds the size of a message, however many fragments it has. An empty fragment counts as one byte.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable, Generator
from secrets import token_bytes
from typing import Any, Final

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions import Extension
from websockets.frames import BINARY, CLOSE, CONT, TEXT, Close, Frame, Opcode
from websockets.streams import StreamReader

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without a compiled wheel
    from websockets.utils import apply_mask

DEFLATED_MESSAGE: Final = 1_048_576
"""Bytes of the largest message if compression is on. A kilobyte on the wire can stand for a megabyte."""
NORMAL, GOING_AWAY, WRONG, INVALID, POLICY, TOO_BIG = 1000, 1001, 1002, 1007, 1008, 1009  # RFC 6455 7.4.1
TRY_AGAIN_LATER: Final = 1013  # WebSocket Close Code Number Registry of IANA

_WHOLE: Final = {0x80 | TEXT: TEXT, 0x80 | BINARY: BINARY}  # the first byte of a message in one frame
_TWO_BYTES: Final = 126  # in place of a size: the size follows in two bytes


class WrongFrames(Exception):
    """The peer violated the protocol; `code` is for the Close frame. The message is safe to print."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


def is_utf8(data: bytes) -> bool:
    """Whether the bytes can be sent as text."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_data(opcode: Opcode) -> bool:
    """Whether the opcode is that of a message."""
    return opcode is TEXT or opcode is BINARY


def encoded(opcode: Opcode, data: bytes, *, masked: bool, deflate: Extension | None = None) -> bytes:
    """One final frame. Clients mask their frames."""
    first = 0x80 | opcode
    payload: Any = data
    if deflate is not None and is_data(opcode):
        frame = deflate.encode(Frame(opcode, data))
        payload, first = frame.data, first | (0x40 if frame.rsv1 else 0)
    size = len(payload)
    bit = 0x80 if masked else 0
    if size < 126:
        head = bytes((first, bit | size))
    elif size < 65_536:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    if masked:
        mask = token_bytes(4)
        return b"".join((head, mask, apply_mask(payload, mask)))
    return b"".join((head, payload))


class MessageReader:
    """Turns received bytes into whole messages and control frames.

    `take` is called with the opcode and the payload of each message and of each ping, pong and Close. `counted` is
    called with the size of each frame, after it was handled. Parsing stops between two frames while `stopped` is set.
    `limit` is the size of the largest message. `masked` is whether the peer masks its frames.
    """

    __slots__ = (
        "_counted", "_decoder", "_deflate", "_limit", "_masked", "_message", "_opcode", "_parser", "_reader",
        "_running", "_size", "_take", "stopped",
    )  # fmt: skip

    def __init__(
        self,
        take: Callable[[Opcode, bytes], None],
        counted: Callable[[int], None],
        limit: int,
        *,
        masked: bool,
        deflate: Extension | None = None,
    ) -> None:
        self.stopped = False
        self._take, self._counted = take, counted
        self._limit = limit if deflate is None else min(limit, DEFLATED_MESSAGE)
        self._masked, self._deflate = masked, deflate
        self._reader = StreamReader()
        self._message = bytearray()  # the fragments of a message that is not complete
        self._size = 0  # their bytes, with one for each empty fragment
        self._opcode: Opcode | None = None  # of that message; None if no message has begun
        self._decoder: Any = None  # checks the text of fragments
        self._running = False  # a nested call must not enter the parser
        self._parser: Generator[None, None, None] | None = self._frames()

    @property
    def is_over(self) -> bool:
        """Whether nothing more is parsed: after a Close frame, or after `end`."""
        return self._parser is None

    @property
    def limit(self) -> int:
        """Bytes of the largest message."""
        return self._limit

    @property
    def held(self) -> int:
        """Bytes of a message or a frame that is not complete."""
        return len(self._message) + len(self._reader.buffer)

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._reader.feed_data(data)

    def end(self) -> None:
        """Parse nothing more."""
        self._parser = None
        self._message.clear()
        self._reader.discard()

    def run(self) -> None:
        """Parse what was received, until it is used up or `stopped` is set. Raises WrongFrames."""
        if self._running or self._parser is None:
            return
        self._running = True
        try:
            next(self._parser, None)
        except ProtocolError as error:
            raise WrongFrames(WRONG, f"wrong frame: {error}") from None
        except UnicodeDecodeError:
            raise WrongFrames(INVALID, "a text is not valid UTF-8") from None
        except PayloadTooBig:
            raise WrongFrames(TOO_BIG, f"a message has more than {self._limit} bytes") from None
        finally:
            self._running = False

    def _frames(self) -> Generator[None, None, None]:
        reader, extensions = self._reader, () if self._deflate is None else (self._deflate,)
        while True:
            if self._deflate is None:
                self._take_whole_messages(reader.buffer)
            if not reader.buffer or self.stopped:
                yield
                continue
            room = max(1, self._limit - self._size)  # 0 would be unlimited for the decompressor
            frame = yield from Frame.parse(reader.read_exact, mask=self._masked, max_size=room, extensions=extensions)
            self._handle(frame)
            if self.is_over:
                return
            self._counted(len(frame.data))

    def _take_whole_messages(self, buffer: bytearray) -> None:
        """Handle messages of one frame that are here as a whole: the library's parser takes three times as long."""
        bit = 0x80 if self._masked else 0
        while len(buffer) > 3 and not self.stopped and self._opcode is None and self._parser is not None:
            first, size, at = buffer[0], buffer[1] ^ bit, 2
            if size == _TWO_BYTES:
                size, at = buffer[2] << 8 | buffer[3], 4
            elif size > _TWO_BYTES:
                return
            begin = at + 4 if bit else at
            if first not in _WHOLE or size > self._limit or len(buffer) < begin + size:
                return
            data = bytes(buffer[begin : begin + size])
            if bit:
                data = apply_mask(data, buffer[at:begin])
            del buffer[: begin + size]
            self._take_message(_WHOLE[first], data)
            self._counted(size)

    def _take_message(self, opcode: Opcode, data: bytes) -> None:
        """Pass a message on, if its text is valid."""
        if opcode is TEXT and not data.isascii():
            data.decode()
        self._take(opcode, data)

    def _handle(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is TEXT or opcode is BINARY:
            if self._opcode is not None:
                raise ProtocolError("expected a continuation frame")
            if frame.fin:
                self._take_message(opcode, bytes(frame.data))
            else:
                self._opcode = opcode
                self._decoder = codecs.getincrementaldecoder("utf-8")() if opcode is TEXT else None
                self._add(frame)
        elif opcode is CONT:
            self._add(frame)
        elif opcode is CLOSE:  # it may come within a message, and nothing comes after it (RFC 6455 5.5.1)
            Close.parse(frame.data)
            self.end()
            self._take(opcode, bytes(frame.data))
        else:
            self._take(opcode, bytes(frame.data))

    def _add(self, frame: Frame) -> None:
        """Add a fragment to the message, and pass the message on if it was the last."""
        opcode = self._opcode
        if opcode is None:
            raise ProtocolError("unexpected continuation frame")
        self._size += len(frame.data) or 1
        if self._size > self._limit:
            raise PayloadTooBig(self._size, self._limit)
        if self._decoder is not None:
            self._decoder.decode(frame.data, frame.fin)
        self._message += frame.data
        if frame.fin:
            message, self._message = bytes(self._message), bytearray()
            self._size, self._opcode, self._decoder = 0, None, None
            self._take(opcode, message)

"""The frames between a process and the hub of a local bus.

    length      4 bytes, big-endian, of the rest
    kind        1 byte
    number      4 bytes: a node, a request or a count
    topic       1 byte for its length, then its bytes
    payload     the rest

The other end is a process of the same daemon. A wrong frame is a bug or a broken process: its connection is closed.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple

from echod.bus.bus_interface import MESSAGE, TOPIC

_LENGTH: Final = struct.Struct("!I")
_HEAD: Final = struct.Struct("!IBIB")
_REST: Final = _HEAD.size - _LENGTH.size  #: bytes of the head that the length counts
LARGEST: Final = _REST + TOPIC + MESSAGE  #: the largest length


class Kind(IntEnum):
    """The kind of a frame, and its number."""

    # from a process to the hub
    JOIN = 1  #: join a topic
    PUBLISH = 2  #: a message for all nodes of a topic
    STATE = 3  #: a part of the state for `number`, a request
    STATE_END = 4  #: the end of that state
    # from the hub to a process
    NODE = 16  #: `number` is that of this node
    MESSAGE = 17  #: a message of node `number`
    LEFT = 18  #: node `number` has left the topic
    ASK = 19  #: send the state of the topic for request `number`
    PART = 20  #: a part of the state that this node gets, for request `number`
    TOGETHER = 22  #: `number` is 1 if other daemons share the topic again, 0 if they are lost
    RESTORED = 21  #: the state is that of request `number`, or this node's own for 0; the payload has the lost messages


class Frame(NamedTuple):
    """One frame."""

    kind: Kind
    number: int = 0
    topic: str = ""
    payload: bytes = b""


class WrongFrame(ValueError):
    """The bytes are not frames; the message gives the reason."""


def encoded(frame: Frame) -> bytes:
    """The bytes of a frame. Raises ValueError if the topic or the payload is too long."""
    topic = frame.topic.encode()
    if len(topic) > TOPIC:
        raise ValueError(f"a topic of {len(topic)} bytes is too long; the maximum is {TOPIC}")
    if len(frame.payload) > MESSAGE:
        raise ValueError(f"a message of {len(frame.payload)} bytes is too long; the maximum is {MESSAGE}")
    length = _REST + len(topic) + len(frame.payload)
    return _HEAD.pack(length, frame.kind, frame.number, len(topic)) + topic + frame.payload


class Decoder:
    """Splits received bytes into frames. It holds at most one incomplete frame, and what was added last."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._at = 0

    def add(self, data: bytes) -> None:
        """Add received bytes."""
        del self._data[: self._at]
        self._at = 0
        self._data += data

    def next(self) -> Frame | None:
        """The next frame, or None if it is incomplete. Raises WrongFrame."""
        data, at = self._data, self._at
        if len(data) - at < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(data, at)
        if not _REST <= length <= LARGEST:
            raise WrongFrame(f"a frame of {length} bytes; expected {_REST} to {LARGEST}")
        end = at + _LENGTH.size + length
        if len(data) < end:
            return None
        _, kind, number, size = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if at + size > end or end - at - size > MESSAGE:
            raise WrongFrame(f"a topic of {size} bytes in a frame of {length} bytes")
        try:
            frame = Frame(Kind(kind), number, data[at : at + size].decode(), bytes(data[at + size : end]))
        except ValueError as error:  # an unknown kind, or a topic that is not UTF-8
            raise WrongFrame(str(error)) from None
        self._at = end
        return frame

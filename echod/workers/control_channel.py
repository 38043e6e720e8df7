"""The channel between the parent and one worker: messages, in order, over a pair of connected Unix sockets.

A message is a name and fields, as JSON. The parent may add bytes (a pickle) and descriptors. A worker may not: it reads
what clients send, so the parent unpickles nothing from it. A frame is HEADER, the JSON, and the bytes.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from twisted.internet.interfaces import IFileDescriptorReceiver, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

HEADER: Final = struct.Struct("!IIH")  #: bytes of JSON, bytes after it, number of descriptors
LARGEST: Final = 1 << 28  #: bytes of a frame: above this the other side is broken

Handler = Callable[[str, Mapping[str, Any], bytes, list[int]], None]
"""Gets the name and the fields of a message, its bytes and its descriptors."""


@implementer(IFileDescriptorReceiver, IPushProducer)
class ControlChannel(Protocol):
    """One end of a channel. `handle` is called for each message, and `lost` once, at the end of the channel.

    `congested` is whether the other end reads too slowly; a sender then drops what can be dropped.
    """

    def __init__(self, handle: Handler, lost: Callable[[], None]) -> None:
        self.congested = False
        self._handle = handle
        self._lost = lost
        self._received = bytearray()
        self._descriptors: deque[int] = deque()
        self._open = True

    @property
    def is_open(self) -> bool:
        """Whether the other end may still read."""
        return self._open

    def connectionMade(self) -> None:
        """Learn when the kernel's buffer is full."""
        transport: Any = self.transport
        transport.registerProducer(self, True)

    def send(self, name: str, fields: Mapping[str, Any] | None = None) -> None:
        """Send a message."""
        self.send_with(name, fields or {}, b"", ())

    def send_with(self, name: str, fields: Mapping[str, Any], data: bytes, descriptors: Sequence[int]) -> None:
        """Send a message with bytes and copies of descriptors. There are at least as many bytes as descriptors."""
        transport: Any = self.transport
        if not self._open or transport is None:
            return
        for descriptor in descriptors:
            transport.sendFileDescriptor(descriptor)
        text = json.dumps([name, fields], default=str).encode()
        transport.write(HEADER.pack(len(text), len(data), len(descriptors)) + text + data)

    def send_now(self, name: str) -> None:
        """Send a message before this process blocks, and not in the next turn of its reactor."""
        self.send(name)
        transport: Any = self.transport
        if self._open and transport is not None:
            transport.doWrite()

    def close(self) -> None:
        """Close the channel when everything is sent."""
        transport: Any = self.transport
        if self._open and transport is not None:
            transport.unregisterProducer()
            transport.loseConnection()

    def abort(self) -> None:
        """Close the channel now."""
        transport: Any = self.transport
        if self._open and transport is not None:
            transport.abortConnection()

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """Keep a descriptor until its message is complete."""
        os.set_inheritable(descriptor, False)
        self._descriptors.append(descriptor)

    def dataReceived(self, data: bytes) -> None:
        """Handle each complete message."""
        received = self._received
        received += data
        while self._open and len(received) >= HEADER.size:
            text, more, count = HEADER.unpack_from(received)
            size = HEADER.size + text + more
            if size > LARGEST:
                self.abort()
                return
            if len(received) < size:
                return
            name, fields = json.loads(received[HEADER.size : HEADER.size + text])
            after = bytes(received[HEADER.size + text : size])
            del received[:size]
            self._handle(name, fields, after, [self._descriptors.popleft() for _ in range(count)])

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The other process has ended, or has closed its end."""
        self._open = False
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
        self._lost()

    def pauseProducing(self) -> None:
        """The other end reads too slowly."""
        self.congested = True

    def resumeProducing(self) -> None:
        """The other end has read what was sent."""
        self.congested = False

    def stopProducing(self) -> None:
        """The connection is lost."""


def open_channel(reactor: Any, connected: socket.socket, handle: Handler, lost: Callable[[], None]) -> ControlChannel:
    """A channel over this socket, which it takes over."""
    made = ControlChannel(handle, lost)
    factory: Any = Factory()
    factory.buildProtocol = lambda _address: made
    factory.noisy = False
    connected.setblocking(False)
    reactor.adoptStreamConnection(connected.fileno(), socket.AF_UNIX, factory)
    connected.close()
    return made

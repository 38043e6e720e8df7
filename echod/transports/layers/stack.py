"""The levels of a connection: the interface between two of them, and the base of every layer.

      Conversation                 Receiver
           │ write, pause, close …    ▲ received, ended, lost …
           ▼                          │
        Layer                      Receiver and StreamTransport
           │                          ▲
           ▼                          │
      StreamSocket                 StreamTransport

Downwards, a level is a `StreamTransport`; upwards, it is a `Receiver`; a layer is both. Nothing above the socket knows
a descriptor, a buffer of the reactor, or which layers there are.

What every level keeps:

* `begin` comes first and once. A layer with a handshake builds what is above it when the handshake is over.
* `pause` acts at once at every level: a layer that has decoded more keeps it, and hands it up in `resume`.
* `unsent` is never less than what the kernel has not taken.
* `lost` comes last and once. It is never called while a call of the same receiver into its transport is running.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final, Protocol

from twisted.internet.error import ConnectionAborted

from echod.model import PLAIN, Arrival
from echod.names import SocketAddress
from echod.shape import Shape

LINGER: Final = 5.0
"""Seconds that a peer has to finish after we have: the same as Apache's and nginx's lingering close."""


class LingerTimeout(ConnectionAborted):
    """We had finished, and the peer did not finish within LINGER."""


class HandshakeTimeout(ConnectionAborted):
    """A layer's handshake took longer than `limits.handshake`."""


class MessageTooLarge(ConnectionAborted):
    """A message, received or to be sent, has more bytes than `limits.message` or the socket's buffer allows."""


@dataclass(slots=True)
class Facts:
    """What is known of one connection. There is one object for a whole stack; each layer adds what it learns.

    `remote` is the peer of the socket until a layer learns the address of the client from a proxy. `user` is the
    number of the user at the other end of a Unix socket, from the kernel, and `groups` are its
    groups.
    """

    local: SocketAddress
    remote: SocketAddress
    user: int | None = None
    groups: frozenset[int] = frozenset()
    shape: Shape = Shape.STREAM
    truncated: bool = False  #: the peer ended without the end that the layer's protocol requires
    learned: dict[str, object] | None = None  #: by layers: a TLS version, a path


class StreamTransport(Protocol):
    """What a level offers the one above it. Nothing raises; after `lost` every call does nothing.

    A transport of shape MESSAGE has the same methods: each `write` is one message, and may be empty.
    """

    facts: Facts
    receiver: Receiver  #: settable: a layer that has nothing left to do puts the one above it here

    @property
    def unsent(self) -> int:
        """Bytes given to `write` of which the kernel has not taken the last one yet: an upper bound; 0 means 0."""

    @property
    def dropped(self) -> int:
        """Bytes that were received after `close` and dropped."""

    def write(self, data: bytes, text: bool | None = None) -> None:
        """Send behind everything else. More than `read_at_once` bytes unsent are reported by `stuck`.

        `text` is for transports that distinguish text from binary messages; None is their default.
        """

    def flush(self) -> None:
        """Give the kernel what waits, now instead of at the end of the reactor's turn."""

    def pause(self) -> None:
        """Receive nothing from now on, not even what has been decoded already."""

    def resume(self) -> None:
        """Receive again."""

    def read_at_once(self, size: int) -> None:
        """Read at most `size` bytes at once, and report more than that as `stuck`."""

    def clamp(self) -> None:
        """Bound the kernel's buffers of this connection."""

    def finish(self) -> None:
        """End sending, after everything that waits; receiving goes on."""

    def close(self, linger: float = LINGER) -> None:
        """Finish, drop what is received, and close when the peer has finished too, at most `linger` seconds later.

        Closing while input is unread would send RST, and the peer could lose the last reply (RFC 1122 4.2.2.13).
        """

    def abort(self, reason: Exception | None = None) -> None:
        """Close now, with RST; `reason` is that of `lost`."""


class Receiver(Protocol):
    """What a level offers the one below it."""

    def begin(self, below: StreamTransport) -> None:
        """The connection is there, and the handshakes below are over."""

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> None:
        """Bytes of the peer, or one message."""

    def ended(self) -> None:
        """The peer has finished sending. Called at most once."""

    def stuck(self) -> None:
        """The kernel takes less than there is to send, or more than `read_at_once` bytes wait."""

    def drained(self) -> None:
        """All that was written is with the kernel. Called only after `stuck`."""

    def lost(self, reason: Exception) -> None:
        """The connection is closed: ConnectionDone is in order."""


Build = Callable[[], Receiver]
"""Makes what is above a level."""
MakeLayer = Callable[[Build], "Layer"]
"""Makes one layer of a stack, and tells it how to build what is above."""


class Layer:
    """Passes everything on, in both directions. A subclass overrides what it changes."""

    __slots__ = ("below", "build", "facts", "receiver")

    def __init__(self, build: Build) -> None:
        self.build = build
        self.receiver: Any = None  # what is above, once it is built
        self.below: Any = None
        self.facts: Facts

    def begin(self, below: StreamTransport) -> None:
        self.below, self.facts = below, below.facts
        self.begin_above()

    def begin_above(self) -> None:
        """Build what is above: the handshake is over."""
        self.receiver = self.build()
        self.receiver.begin(self)

    def step_out(self) -> None:
        """Build what is above, directly upon what is below: this layer has nothing left to do."""
        self.below.receiver = self.receiver = self.build()
        self.receiver.begin(self.below)

    # for what is below

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> None:
        self.receiver.received(data, arrival)

    def ended(self) -> None:
        self.receiver.ended()

    def stuck(self) -> None:
        if self.receiver is not None:
            self.receiver.stuck()

    def drained(self) -> None:
        if self.receiver is not None:
            self.receiver.drained()

    def lost(self, reason: Exception) -> None:
        if self.receiver is not None:
            self.receiver.lost(reason)

    # for what is above

    @property
    def unsent(self) -> int:
        return int(self.below.unsent)

    @property
    def dropped(self) -> int:
        return int(self.below.dropped)

    def write(self, data: bytes, text: bool | None = None) -> None:
        self.below.write(data, text)

    def flush(self) -> None:
        self.below.flush()

    def pause(self) -> None:
        self.below.pause()

    def resume(self) -> None:
        self.below.resume()

    def read_at_once(self, size: int) -> None:
        self.below.read_at_once(size)

    def clamp(self) -> None:
        self.below.clamp()

    def finish(self) -> None:
        self.below.finish()

    def close(self, linger: float = LINGER) -> None:
        self.below.close(linger)

    def abort(self, reason: Exception | None = None) -> None:
        self.below.abort(reason)


class HandshakeLayer(Layer):
    """A layer whose handshake must be over within `seconds`, whatever is received meanwhile; 0 is no limit.

    `clock` has callLater. A subclass overrides `handshake` and calls `done` when it is over. If that takes too long,
    the connection is aborted with HandshakeTimeout. A layer that `steps_out` is not in the way afterwards.
    """

    __slots__ = ("_clock", "_deadline", "_paused", "_rest", "_seconds")

    steps_out: ClassVar[bool] = False

    def __init__(self, build: Build, clock: Any, seconds: float) -> None:
        super().__init__(build)
        self._clock, self._seconds = clock, seconds
        self._deadline: Any = None
        self._paused = False
        self._rest = b""  # received after the handshake, and not handed up yet

    def handshake(self, data: bytes) -> None:
        """More bytes of the handshake, cut anywhere."""
        raise NotImplementedError

    def begin(self, below: StreamTransport) -> None:
        self.below, self.facts = below, below.facts
        if self._seconds:
            self._deadline = self._clock.callLater(self._seconds, self._too_late)

    def done(self, rest: bytes = b"") -> None:
        """The handshake is over, and `rest` was received after it: build what is above, and hand it up."""
        self._cancel()
        if self.steps_out and not rest:
            self.step_out()
            return
        self._rest = rest
        self.begin_above()
        self._hand_up()

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> None:
        if self.receiver is None:
            self.handshake(data)
        else:
            self.receiver.received(data, arrival)

    def ended(self) -> None:
        if self.receiver is None:
            self.below.close()
        else:
            self.receiver.ended()

    def lost(self, reason: Exception) -> None:
        self._cancel()
        super().lost(reason)

    def pause(self) -> None:
        self._paused = True
        self.below.pause()

    def resume(self) -> None:
        self._paused = False
        self._hand_up()
        if not self._paused:
            self.below.resume()

    def close(self, linger: float = LINGER) -> None:
        self._rest = b""
        self.below.close(linger)

    def _hand_up(self) -> None:
        if self._rest and not self._paused:
            rest, self._rest = self._rest, b""
            self.receiver.received(rest)

    def _too_late(self) -> None:
        self._deadline = None
        self.below.abort(HandshakeTimeout())

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Rejection:
    """What is above a handshake if the connection is refused then: it resets the connection."""

    def begin(self, below: StreamTransport) -> None:
        below.abort()

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> None: ...

    def ended(self) -> None: ...

    def stuck(self) -> None: ...

    def drained(self) -> None: ...

    def lost(self, reason: Exception) -> None: ...


def stacked(layers: Sequence[MakeLayer], top: Build) -> Build:
    """Builds the lowest of these layers, which builds the next one in its time, and at last `top`."""
    build = top
    for make in reversed(layers):
        build = partial(make, build)
    return build

"""The levels of a connection: the interface between two of them, and the base of every layer.

      Conversation                 Receiver
           │ write, pause, close …    ▲ received, ended, lost …
           ▼                          │
        Layer                      Receiver and StreamTransport
           │                          ▲
           ▼                          │
      StreamSocket                 StreamTransport

A level is a `StreamTransport` for the level above, and a `Receiver` for the level below. A layer is both. No level
above the socket uses a descriptor.

Rules of every level:
* `begin` is called first and once. A layer with a handshake builds its receiver after the handshake.
* `pause` acts immediately at every level. A layer that has decoded more data keeps it, and passes it up in `resume`.
* `unsent` is never less than the number of bytes that the kernel has not accepted.
* `lost` is called last and once. It is never called while a call of the same receiver into its transport is running.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final, Protocol

from twisted.internet.error import ConnectionAborted

from echod.faults.injector import Injection
from echod.model import PLAIN, Arrival
from echod.shape import Shape
from echod.socket_names import SocketAddress
from echod.transports.kernel_socket import KernelSocket

LINGER: Final = 5.0  #: seconds to wait for the peer's FIN after ours, as Apache and nginx do


class LingerTimeout(ConnectionAborted):
    """The peer did not finish within LINGER seconds after this side had finished, or after it last took data."""


class HandshakeTimeout(Exception):
    """A layer's handshake took longer than `limits.handshake`."""


class ProtocolError(Exception):
    """The peer violated the protocol of a layer; the message says how. The layer stores it in `Facts.error`."""


class Answered(Exception):
    """A layer has answered the peer and closed, before a conversation began. The message says how."""


class MessageTooLarge(ConnectionAborted):
    """A message, received or to be sent, is larger than `limits.message` or than the socket's buffer allows."""


@dataclass(slots=True)
class Facts:
    """The facts of one connection. A stack shares one object, and layers add facts.

    `remote` is the peer of the socket, or the client that a proxy names. `user` and `groups` are IDs of a Unix peer.
    """

    local: SocketAddress
    remote: SocketAddress
    user: int | None = None
    groups: frozenset[int] = frozenset()
    shape: Shape = Shape.STREAM
    truncated: bool = False  #: the peer sent FIN without the closing message that the layer's protocol requires
    learned: dict[str, object] | None = None  #: facts that layers add, by the layer's name, as values of JSON
    error: Exception | None = None  #: why a layer ended the connection
    proxy: SocketAddress | None = None  #: the peer of the socket, if it has named `remote`
    path: str = ""  #: the path that the client requested; it selects the service of a shared port
    activity: int = 0  #: changes with each sign of life of the peer that is not data of the conversation
    going_away: bool = False  #: the service stops: a layer may inform the peer
    injection: Injection | None = None  #: the faults of the connection, if a level has needed them already
    kernel: KernelSocket | None = None  #: the socket, for faults; None if the service has none
    withheld: int = 0  #: bytes written by the service that a fault has dropped; negative if it has duplicated more


class StreamTransport(Protocol):
    """The interface of a level for the level above. No method raises. After `lost`, no call has an effect.

    A transport of shape MESSAGE has the same methods: each `write` is one message, and may be empty.
    """

    facts: Facts
    receiver: Receiver  #: settable: a layer that removes itself replaces itself here by its own receiver

    @property
    def unsent(self) -> int:
        """Upper bound of the bytes given to `write` that the kernel has not accepted; 0 is exact."""

    @property
    def dropped(self) -> int:
        """Bytes that were received after `close` and dropped."""

    def write(self, data: bytes, text: bool | None = None) -> None:
        """Send after earlier data. `text` selects text or binary if the transport distinguishes them."""

    def flush(self) -> None:
        """Pass queued data to the kernel now, and not at the end of the reactor's turn."""

    def pause(self) -> None:
        """Stop calling `received`, even for data that is decoded already."""

    def resume(self) -> None:
        """Continue to receive."""

    def read_at_once(self, size: int) -> None:
        """Read at most `size` bytes in one call, and report more unsent bytes as `stuck`."""

    def clamp(self) -> None:
        """Bound the kernel's buffers of this connection."""

    def keep_alive(self) -> None:
        """Ask the peer for a sign of life, if a layer's protocol can. The answer changes `Facts.activity`."""

    def finish(self) -> None:
        """Send the end after queued data. Receiving continues."""

    def close(self, linger: float = LINGER) -> None:
        """Finish, drop received data, and close after the peer has finished, or after `linger` seconds.

        Closing while input is unread would send RST, and the peer could lose the last reply (RFC 1122 4.2.2.13).
        """

    def abort(self, reason: Exception | None = None) -> None:
        """Close now, with RST; `lost` is called with `reason`."""


class Receiver(Protocol):
    """The interface of a level for the level below."""

    def begin(self, below: StreamTransport) -> None:
        """Start: the connection is made, and the handshakes below are complete."""

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> None:
        """Handle bytes of the peer, or one message."""

    def ended(self) -> None:
        """Handle the end of the peer's data. Called at most once."""

    def stuck(self) -> None:
        """Handle backpressure: the kernel does not accept all data, or more than `read_at_once` bytes are unsent."""

    def drained(self) -> None:
        """Handle the end of backpressure: the kernel has accepted all data. Called only after `stuck`."""

    def lost(self, reason: Exception) -> None:
        """Handle the end of the connection; ConnectionDone is an orderly close."""


Build = Callable[[], Receiver]  #: makes the receiver above a level
MakeLayer = Callable[[Build], "Layer"]
"""Makes one layer of a stack from the builder of its receiver."""


def _built_already() -> Receiver:
    """The builder of a level whose receiver is built."""
    raise AssertionError("a level builds its receiver once")


class Layer:
    """Passes everything on, in both directions. A subclass overrides what it changes."""

    __slots__ = ("below", "build", "facts", "receiver")

    def __init__(self, build: Build) -> None:
        self.build = build
        self.receiver: Any = None  # the level above, after it is built
        self.below: Any = None
        self.facts: Facts

    def begin(self, below: StreamTransport) -> None:
        self.below, self.facts = below, below.facts
        self.begin_above()

    def begin_above(self) -> None:
        """Build the receiver, because the handshake is complete."""
        self.receiver = self._built()
        self.receiver.begin(self)

    def step_out(self) -> None:
        """Build the receiver directly on the level below, and remove this layer from the stack."""
        self.below.receiver = self.receiver = self._built()
        self.receiver.begin(self.below)

    def _built(self) -> Receiver:
        """Build the receiver, and release the builder: its arguments are a kilobyte of an idle connection."""
        build, self.build = self.build, _built_already
        return build()

    # for the level below

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

    # for the level above

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

    def keep_alive(self) -> None:
        self.below.keep_alive()

    def finish(self) -> None:
        self.below.finish()

    def close(self, linger: float = LINGER) -> None:
        self.below.close(linger)

    def abort(self, reason: Exception | None = None) -> None:
        self.below.abort(reason)


class HandshakeLayer(Layer):
    """A layer whose handshake must be complete within `seconds`, even if data is received; 0 disables the limit.

    `clock` has callLater. A subclass overrides `handshake`, and calls `done` after it. At the limit, the connection is
    aborted with HandshakeTimeout. With `steps_out`, the layer is removed from the stack after the handshake.
    """

    __slots__ = ("_clock", "_deadline", "_paused", "_rest", "_seconds")

    steps_out: ClassVar[bool] = False

    def __init__(self, build: Build, clock: Any, seconds: float) -> None:
        super().__init__(build)
        self._clock, self._seconds = clock, seconds
        self._deadline: Any = None
        self._paused, self._rest = False, b""  # `_rest` came after the handshake, and is not passed up yet

    def handshake(self, data: bytes) -> None:
        """Handle more bytes of the handshake, which may be split anywhere."""
        raise NotImplementedError

    def begin(self, below: StreamTransport) -> None:
        self.below, self.facts = below, below.facts
        if self._seconds:
            self._deadline = self._clock.callLater(self._seconds, self._too_late)

    def done(self, rest: bytes = b"") -> None:
        """Complete the handshake: build the receiver, and pass up `rest`, the bytes after the handshake."""
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
        self.facts.error = HandshakeTimeout(f"the handshake was not complete within {self._seconds:g} s")
        self.below.abort(self.facts.error)

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def stacked(layers: Sequence[MakeLayer], top: Build) -> Build:
    """Return a builder of the lowest layer. Each layer builds the next one, and the last builds `top`."""
    build = top
    for make in reversed(layers):
        build = partial(make, build)
    return build

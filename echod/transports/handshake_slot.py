"""The lowest layer of a connection with handshakes: it holds the connection's slot until a conversation has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from echod.events import Closing
from echod.faults.injector import Injection
from echod.model import PLAIN, Arrival
from echod.socket_names import SocketAddress
from echod.transports.layers.detaching import Detached
from echod.transports.layers.fault_injection import FaultInjected
from echod.transports.layers.layer_interface import (
    Answered,
    Facts,
    HandshakeTimeout,
    Layer,
    MakeLayer,
    ProtocolError,
    Receiver,
    StreamTransport,
    stacked,
)


class Entrance(Layer):
    """Passes everything on. After the last handshake it calls `enter`, which makes the receiver above the last layer.

    The gate counts the connection by `host`. With `through_proxy`, `host` is empty until the first layer knows the
    client. Then it calls `name`, which returns None, or the receiver of a refused client.
    If the connection is lost before it has `entered`, it calls `turned_away`, which gives the slot back. After that,
    the conversation gives the slot back. A proxy that sends no byte has only checked that the listener accepts.
    """

    __slots__ = (
        "_turned_away", "closing", "entered", "error", "host", "injection", "remote", "silent", "through_proxy",
    )  # fmt: skip

    def __init__(
        self,
        layers: Sequence[MakeLayer],
        host: bytes,
        remote: SocketAddress,
        through_proxy: bool,
        name: Callable[[Entrance], Receiver | None],
        enter: Callable[[Entrance], Receiver],
        turned_away: Callable[[Entrance], None],
    ) -> None:
        build = stacked(layers[through_proxy:], lambda: enter(self))
        super().__init__(stacked(layers[:1], lambda: name(self) or build()) if through_proxy else build)
        self.host = host
        self.remote = remote
        self.through_proxy = through_proxy
        self.injection: Injection | None = None  # the faults of the connection, if they are known already
        self.entered = False
        self.silent = True  # no byte was received
        self.closing = Closing.LOST
        self.error = ""  # what was wrong with the handshake
        self._turned_away = turned_away

    @property
    def ends(self) -> tuple[SocketAddress, SocketAddress | None]:
        """The client, and the proxy that named it, if one did."""
        return (self.remote, None) if self.below is None else (self.facts.remote, self.facts.proxy)

    def begin(self, below: StreamTransport) -> None:
        below.facts.injection = self.injection
        super().begin(below)

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> None:
        """Pass bytes to the layers."""
        self.silent = False
        self.receiver.received(data, arrival)

    def detach(self) -> Detached:
        """As StreamSocket. The layers no longer refer to each other, so they need no garbage collection."""
        detached: Detached = self.below.detach()
        del self.receiver, self.build
        return detached

    def lost(self, reason: Exception) -> None:
        """Handle the end of the connection."""
        super().lost(reason)
        if not self.entered:
            wrong = reason if self.below is None else self.facts.error or reason
            if self.closing is Closing.LOST and isinstance(wrong, HandshakeTimeout | ProtocolError):
                self.closing = Closing.HANDSHAKE
                self.error = str(wrong)
            elif self.closing is Closing.LOST and self.through_proxy and self.silent:  # a health check
                self.closing = Closing.DONE
            elif self.closing is Closing.LOST and isinstance(wrong, Answered):
                self.closing = Closing.ANSWERED
            elif self.closing is Closing.LOST and isinstance(wrong, FaultInjected):
                self.closing = Closing.FAULT
            self._turned_away(self)


class _NoCalls:
    """A receiver that gets no calls after `begin`, or ignores them."""

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> None: ...

    def ended(self) -> None: ...

    def stuck(self) -> None: ...

    def drained(self) -> None: ...

    def lost(self, reason: Exception) -> None: ...


class Rejection(_NoCalls):
    """The receiver above a handshake if the connection is refused: it resets the connection."""

    def begin(self, below: StreamTransport) -> None:
        below.abort()


Adopt = Callable[[Detached, bytes, Facts], object]
"""Carries an admitted connection. It gets the host by which the gate counts it, and its facts."""


class HandOver(_NoCalls):
    """The receiver above a handshake if the fast path carries the connection: it takes the socket out of the stack."""

    def __init__(self, host: bytes, adopt: Adopt) -> None:
        self._host = host
        self._adopt = adopt

    def begin(self, below: Any) -> None:
        facts = below.facts
        self._adopt(below.detach(), self._host, facts)

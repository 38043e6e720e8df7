"""The lowest layer of a connection that has handshakes: it holds the connection's place until a conversation has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from echod.events import Closing
from echod.names import SocketAddress
from echod.transports.layers.stack import HandshakeTimeout, Layer, MakeLayer, Receiver, stacked


class Entrance(Layer):
    """Passes everything on. `enter` makes what is above the last layer, when every handshake is over.

    `host` is what the gate counts the connection by; it is empty while a client behind a proxy is not known
    (`through_proxy`). If the connection is lost before it has `entered`, `turned_away` is called, and nothing else
    gives its place back; afterwards its conversation does.
    """

    __slots__ = ("_turned_away", "closing", "entered", "host", "remote", "through_proxy")

    def __init__(
        self,
        layers: Sequence[MakeLayer],
        host: bytes,
        remote: SocketAddress,
        through_proxy: bool,
        enter: Callable[[Entrance], Receiver],
        turned_away: Callable[[Entrance], None],
    ) -> None:
        super().__init__(stacked(layers, lambda: enter(self)))
        self.host = host
        self.remote = remote
        self.through_proxy = through_proxy
        self.entered = False
        self.closing = Closing.LOST
        self._turned_away = turned_away

    def lost(self, reason: Exception) -> None:
        """The end of the connection."""
        super().lost(reason)
        if not self.entered:
            if self.closing is Closing.LOST and isinstance(reason, HandshakeTimeout):
                self.closing = Closing.HANDSHAKE
            self._turned_away(self)

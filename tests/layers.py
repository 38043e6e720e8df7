"""Layers for tests: they change so little that every other test can run over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from echod.socket_names import Inet
from echod.transports.layers.layer_interface import HandshakeLayer, Layer, MakeLayer, ProtocolError
from echod.transports.layers.proxy import Proxy
from echod.transports.layers.tls import TlsLayer
from tests.tls import server_contexts

HANDSHAKE: Final = 10.0  #: seconds


class Name(HandshakeLayer):
    """Reads `NAME HOST PORT` and a line feed, and removes itself: a proxy that names its client."""

    steps_out = True
    _line = b""

    def handshake(self, data: bytes) -> None:
        line, end, rest = (self._line + data).partition(b"\n")
        if not end:
            self._line = line
            return
        word, host, port = line.split(b" ")
        if word != b"NAME":
            self.facts.error = ProtocolError("the first word is not NAME")
            self.below.close()
            return
        self.facts.proxy = self.facts.remote
        self.facts.remote = Inet(host.decode(), int(port))
        self.facts.learned = {"name": {"line": line.decode()}}
        self.done(rest)


class Silent(HandshakeLayer):
    """Its handshake ends at once: the layer above begins in the same call."""

    steps_out = True

    def begin(self, below: Any) -> None:
        super().begin(below)
        self.done()


class Staying(Silent):
    """The same, but it stays."""

    steps_out = False


def tls(clock: Any) -> MakeLayer:
    """A server's TLS with a certificate for localhost."""
    return partial(TlsLayer, clock=clock, seconds=HANDSHAKE, context=server_contexts().default)


LAYERS: Final[Mapping[str, Callable[[Any], Sequence[MakeLayer]]]] = {
    "1 layer": lambda _clock: (Layer,),
    "3 layers": lambda _clock: (Layer, Layer, Layer),
    "handshakes": lambda clock: (
        partial(Silent, clock=clock, seconds=HANDSHAKE),
        partial(Staying, clock=clock, seconds=HANDSHAKE),
        Layer,
    ),
    "name": lambda clock: (partial(Name, clock=clock, seconds=HANDSHAKE),),
    "proxy and handshake": lambda clock: (
        partial(Proxy, versions="any", clock=clock, seconds=HANDSHAKE),
        partial(Name, clock=clock, seconds=HANDSHAKE),
    ),
    "proxy": lambda clock: (partial(Proxy, versions="any", clock=clock, seconds=HANDSHAKE),),
    "tls": lambda clock: (tls(clock),),
    "proxy and tls": lambda clock: (partial(Proxy, versions="any", clock=clock, seconds=HANDSHAKE), tls(clock)),
}
"""Stacks by their names; a clock runs their deadlines."""

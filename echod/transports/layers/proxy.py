"""PROXY: the header that a proxy sends before the bytes of its client (`proxy_header`). It names that client.

The factory admits the peer first: only a peer of `proxy-from` may send a header (`transports.service_factory`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from echod.socket_names import Inet, SocketAddress
from echod.transports.layers.detaching import Detached
from echod.transports.layers.layer_interface import (
    Build,
    HandshakeLayer,
    Layer,
    ProtocolError,
    StreamTransport,
)
from echod.transports.layers.proxy_header import Header, HeaderError, Versions, parse
from echod.transports.layers.proxy_tlvs import described

MakeHeader = Callable[[SocketAddress, SocketAddress], bytes]
"""Makes a header from the addresses of the two ends of a client's socket: its own, and the peer's."""

NAME: Final = "proxy"  #: of its facts in `Facts.learned`


class Proxy(HandshakeLayer):
    """Reads the header, and is removed. The bytes after the header are the client's.

    A wrong header resets the connection, as section 2 of the specification requires. A connection that ends without a
    byte is a health check of the proxy, and not an error.
    """

    __slots__ = ("_data", "_versions")

    steps_out = True

    def __init__(self, build: Build, versions: Versions, clock: Any, seconds: float) -> None:
        super().__init__(build, clock, seconds)
        self._versions: Versions = versions
        self._data = bytearray()

    def handshake(self, data: bytes) -> None:
        """Handle more bytes of the header."""
        self._data += data
        try:
            header = parse(self._data, self._versions)
        except HeaderError as wrong:
            self._fail(str(wrong))
            return
        if header is not None:
            facts = self.facts
            facts.learned = {**(facts.learned or {}), NAME: facts_of(header, facts.remote)}
            if header.source is not None:
                facts.proxy, facts.remote = facts.remote, header.source
            self.done(bytes(self._data[header.size :]))

    def ended(self) -> None:
        """Handle the end of the connection: within a header it is an error, and before it a health check."""
        if self.receiver is None and self._data:
            self._fail(f"the connection ended after {len(self._data)} bytes of a PROXY header")
        else:
            super().ended()

    def detach(self) -> Detached:
        """As StreamSocket, with the bytes after the header."""
        detached: Detached = self.below.detach()
        detached.received, self._rest = self._rest, b""
        self.receiver = None
        return detached

    def _fail(self, reason: str) -> None:
        self.facts.error = ProtocolError(reason)
        self.below.abort(self.facts.error)


class ProxyClient(Layer):
    """Sends a header, as a proxy does, and is removed."""

    __slots__ = ("_header",)

    def __init__(self, build: Build, header: MakeHeader) -> None:
        super().__init__(build)
        self._header = header

    def begin(self, below: StreamTransport) -> None:
        """Send the header before any other byte."""
        self.below, self.facts = below, below.facts
        below.write(self._header(self.facts.local, self.facts.remote))
        self.step_out()


def facts_of(header: Header, proxy: SocketAddress) -> dict[str, object]:
    """The facts of a header as values of JSON: its version, the proxy's address, and what the records say."""
    facts: dict[str, object] = {"version": header.version, **_end("", proxy)}
    if header.local:
        facts["command"] = "LOCAL"
    if header.destination is not None:
        facts |= _end("destination_", header.destination)
    return facts | described(header.tlvs)


def _end(prefix: str, name: SocketAddress) -> dict[str, object]:
    if isinstance(name, Inet):
        return {f"{prefix}address": name.host, f"{prefix}port": name.port}
    return {f"{prefix}path": name.path}

"""The registry of transports: one line for each scheme, with the module and the layers that implement it.

To add a transport, write its module (`echod.transports.transport` has the interface) and add a line to `SCHEMES`. The
address grammar, the configuration, both programs and the tests of the documentation read this table.

Nothing here imports Twisted, so that `echoctl --help` and the configuration can use it. `transport_of` in
`echod.transports.transport` imports the module of a scheme when it is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from echod.shape import Shape

_TLS: Final = "tls"  #: the name of the layer


@dataclass(frozen=True)
class Scheme:
    """One scheme of an address: its shape, its options, and the module that implements it."""

    shape: Shape
    options: frozenset[str] = frozenset()  #: the names that may follow the `?` of an address
    module: str = ""  #: below `echod.transports`; it has a `TRANSPORT`. Empty: not available in this version
    layers: tuple[str, ...] = ()  #: between the socket and the conversation, lowest first: names in `transports.layers`
    has_path: bool = False  #: a path of the file system instead of a host and a port
    has_url_path: bool = False  #: a path after host and port, as in `ws://127.0.0.1:8007/echo`
    is_bare: bool = False  #: a connection is one kernel stream socket and nothing else
    shown_as: str = ""  #: the scheme that peers are shown as using, if it is another one

    @property
    def is_encrypted(self) -> bool:
        """Whether its connections use TLS, and its listeners need a certificate."""
        return _TLS in self.layers

    @property
    def available(self) -> bool:
        """Whether this version implements it."""
        return bool(self.module)


_INET: Final = frozenset({"interface", "dscp", "df", "ttl", "freebind", "retry", "v6only", "proxy", "source"})
_FILE: Final = frozenset({"mode", "user", "group"})
_BACKLOG: Final = frozenset({"backlog"})
_INET_STREAM: Final = _INET | _BACKLOG | {"mptcp", "fastopen"}

SCHEMES: Final[Mapping[str, Scheme]] = MappingProxyType(
    {
        "tcp": Scheme(Shape.STREAM, _INET_STREAM, "tcp", is_bare=True),
        "udp": Scheme(Shape.DATAGRAM, _INET, "udp"),
        "tls": Scheme(Shape.STREAM, _INET_STREAM, "tcp", layers=(_TLS,)),
        "ws": Scheme(Shape.MESSAGE, _INET_STREAM, "tcp", layers=("websocket",), has_url_path=True),
        "wss": Scheme(Shape.MESSAGE, _INET_STREAM, "tcp", layers=(_TLS, "websocket"), has_url_path=True),
        "http": Scheme(Shape.REQUEST, _INET_STREAM - {"source"}, "tcp"),
        "unix": Scheme(Shape.STREAM, _FILE | _BACKLOG, "unix", has_path=True, is_bare=True),
        "unix-dgram": Scheme(Shape.DATAGRAM, _FILE, "unix_dgram", has_path=True),
        "unix-seqpacket": Scheme(Shape.MESSAGE, _FILE | _BACKLOG, "unix_seqpacket", has_path=True),
    }
)
"""Every scheme that can be written before `://`."""

OTHER_FORMS: Final[Mapping[str, Scheme]] = MappingProxyType(
    {
        "endpoint": Scheme(Shape.STREAM, module="twisted_endpoint_strings", shown_as="tcp"),
        "systemd": Scheme(Shape.STREAM, frozenset({"as", "proxy"})),
    }
)
"""Addresses without `://`: a Twisted endpoint string, and a socket that systemd passes. The shape of a passed socket is
known only after it was passed. Then it has the scheme of the socket."""

EVERY_FORM: Final[Mapping[str, Scheme]] = MappingProxyType({**SCHEMES, **OTHER_FORMS})

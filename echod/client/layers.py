"""The layers between the socket of a client and its conversation, with the options of the command line."""

from __future__ import annotations

import argparse
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from echod.address import Address
from echod.socket_names import Inet, SocketAddress
from echod.transports.layers.proxy import MakeHeader, ProxyClient
from echod.transports.layers.proxy_header import version_1, version_2
from echod.transports.layers.stack import MakeLayer, ProtocolError
from echod.transports.transport import layer_of

HANDSHAKE: Final = 10.0  #: seconds for a handshake, as the default of the daemon

Configure = Callable[[Address, argparse.Namespace, Any], MakeLayer]
"""Makes a layer for an address, with the options of the command line; the last argument is the reactor."""


def _tls(address: Address, _arguments: argparse.Namespace, reactor: Any) -> MakeLayer:
    from echod.tls.verification import Expectations, client_context, server_name, verify_name
    from echod.transports.layers.tls import TlsLayer

    def verify(tls: ssl.SSLObject) -> None:
        wrong = verify_name(tls.getpeercert(binary_form=True) or b"", address.host)
        if wrong is not None:
            raise ProtocolError(wrong)

    context, name = client_context(Expectations(address.host)), server_name(address.host)
    return partial(TlsLayer, clock=reactor, seconds=HANDSHAKE, context=context, server_hostname=name, verify=verify)


CONFIGURED: Final[Mapping[str, Configure]] = MappingProxyType({"tls": _tls})
"""The layers that have options, by their names in `Scheme.layers`."""


def layers_of(address: Address, arguments: argparse.Namespace, reactor: Any) -> tuple[MakeLayer, ...]:
    """The layers of a connection to `address`, lowest first."""
    header = header_of(arguments)
    proxy = () if header is None else (partial(ProxyClient, header=header),)
    named = (
        CONFIGURED[name](address, arguments, reactor) if name in CONFIGURED else layer_of(name)
        for name in address.form.layers
    )
    return (*proxy, *named)


def header_of(arguments: argparse.Namespace, *, datagrams: bool = False) -> MakeHeader | None:
    """Makes the PROXY header of a connection, or of a datagram, by the options of the command; None without one."""
    version = getattr(arguments, "proxy", None)
    if version is None:
        return None

    def header(local: SocketAddress, remote: SocketAddress) -> bytes:
        assert isinstance(local, Inet)
        assert isinstance(remote, Inet)
        source = arguments.proxy_source or local
        return version_1(source, remote) if version == "v1" else version_2(source, remote, datagrams=datagrams)

    return header

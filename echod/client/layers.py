"""The layers between the socket of a client and its conversation, with the options of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final

from echod.address import Address
from echod.socket_names import Inet, SocketAddress
from echod.transports.layers.layer_interface import MakeLayer
from echod.transports.layers.proxy import MakeHeader, ProxyClient
from echod.transports.layers.proxy_header import version_1, version_2
from echod.transports.transport import layer_of

Configure = Callable[[Address, argparse.Namespace, Any], MakeLayer]
"""Makes a layer for an address, with the options of the command line; the last argument is the reactor."""

CONFIGURED: Final[Mapping[str, str]] = MappingProxyType(
    {"tls": "echod.client.tls_settings", "websocket": "echod.client.websocket_layer"}
)
"""The layers that have options, by their names in `Scheme.layers`: modules with a `configure`, slow to import."""


def layers_of(address: Address, arguments: argparse.Namespace, reactor: Any) -> tuple[MakeLayer, ...]:
    """The layers of a connection to `address`, lowest first."""
    header = header_of(arguments)
    proxy = () if header is None else (partial(ProxyClient, header=header),)
    named = (
        configured(name)(address, arguments, reactor) if name in CONFIGURED else layer_of(name)
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


def configured(name: str) -> Configure:
    """The function that makes a layer with options. Imports its module."""
    made: Configure = import_module(CONFIGURED[name]).configure
    return made

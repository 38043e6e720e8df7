"""The WebSocket layer of a client, with the options of the command line."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any, Final

from echod.address import Address
from echod.escaping import escaped
from echod.gate.limits import Limits
from echod.stdio import report
from echod.transports.layers.layer_interface import MakeLayer
from echod.transports.layers.websocket_client import WebSocketClient

HANDSHAKE: Final = 10.0  #: seconds, as a server's default


def configure(address: Address, arguments: argparse.Namespace, reactor: Any) -> MakeLayer:
    """The layer of a client's connection. With `--verbose` it prints the heads of request and response."""
    more: dict[str, Any] = {"show": _show} if getattr(arguments, "verbose", False) else {}
    return partial(
        WebSocketClient,
        clock=reactor,
        seconds=HANDSHAKE,
        address=address,
        message=Limits().message,
        secure=address.form.is_encrypted,
        headers=getattr(arguments, "header", ()),
        origin=getattr(arguments, "origin", None),
        subprotocols=getattr(arguments, "subprotocol", ()),
        **more,
    )


def _show(direction: str, head: bytes) -> None:
    """Print the lines of a head on standard error, escaped."""
    for line in head.decode("latin-1").rstrip().splitlines():
        report(f"{direction} {escaped(line)}")

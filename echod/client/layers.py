"""The layers between the socket of a client and its conversation, with the options of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from echod.address import Address
from echod.transports.layers.stack import MakeLayer
from echod.transports.transport import layer_of

Configure = Callable[[Address, argparse.Namespace, Any], MakeLayer]
"""Makes a layer for an address, with the options of the command line; the last argument is the reactor."""

CONFIGURED: Final[Mapping[str, Configure]] = MappingProxyType({})
"""The layers that have options, by their names in `Scheme.layers`."""


def layers_of(address: Address, arguments: argparse.Namespace, reactor: Any) -> tuple[MakeLayer, ...]:
    """The layers of a connection to `address`, lowest first."""
    return tuple(
        CONFIGURED[name](address, arguments, reactor) if name in CONFIGURED else layer_of(name)
        for name in address.form.layers
    )

"""The layers between the sockets of an address and its conversations, with the settings of its service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from echod.address import Address
from echod.daemon.running_service import DaemonContext, RunningService
from echod.transports.layers.stack import MakeLayer
from echod.transports.transport import layer_of

Configure = Callable[[Address, RunningService, DaemonContext], MakeLayer]
"""Makes a layer for an address, with the settings of the service."""

CONFIGURED: Final[Mapping[str, Configure]] = MappingProxyType({})
"""The layers that have settings, by their names in `Scheme.layers`."""


def layers_of(address: Address, served: RunningService, shared: DaemonContext) -> tuple[MakeLayer, ...]:
    """The layers of every connection to `address`, lowest first."""
    return tuple(
        CONFIGURED[name](address, served, shared) if name in CONFIGURED else layer_of(name)
        for name in address.form.layers
    )

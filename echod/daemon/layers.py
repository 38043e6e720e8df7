"""The layers between the sockets of an address and its conversations, with the settings of its service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from echod.address import Address
from echod.config.settings import ServiceConfig
from echod.daemon.running_service import DaemonContext, RunningService
from echod.gate.access import Access
from echod.transports.layers.http_answer import Resource
from echod.transports.layers.layer_interface import MakeLayer
from echod.transports.layers.proxy import Proxy
from echod.transports.layers.websocket_server import WebSocketServer
from echod.transports.transport import layer_of

Configure = Callable[[Address, RunningService, DaemonContext], MakeLayer]
"""Makes a layer for an address, with the settings of the service."""


def _tls(_address: Address, running: RunningService, shared: DaemonContext) -> MakeLayer:
    from echod.transports.layers.tls import TlsLayer  # this imports `cryptography`, which most daemons do not need

    config = running.config
    contexts = None if config.tls is None else config.tls.contexts
    assert contexts is not None  # the configuration checks it
    return partial(
        TlsLayer,
        clock=shared.reactor,
        seconds=config.limits.handshake,
        context=contexts.default,
        choose=contexts.context_for_hello,
        handshakes=shared.state.handshakes,
        work=shared.context.work,
    )


CONFIGURED: Final[Mapping[str, Configure]] = MappingProxyType({"tls": _tls})
"""The layers that have settings, by their names in `Scheme.layers`."""


def layers_of(
    address: Address, running: RunningService, shared: DaemonContext, resources: Mapping[str, Resource]
) -> tuple[MakeLayer, ...]:
    """The layers of every connection to `address`, lowest first. `resources` are the services of its socket by path."""
    configured: dict[str, Configure] = {**CONFIGURED, "websocket": partial(_websocket, resources)}
    proxy = (_proxy(address, running, shared),) if "proxy" in address.options else ()
    named = (
        configured[name](address, running, shared) if name in configured else layer_of(name)
        for name in address.form.layers
    )
    return (*proxy, *named)


def resource_of(address: Address, config: ServiceConfig) -> Resource:
    """A service at its path, with the settings of `[services.NAME.websocket]`."""
    settings = config.websocket
    return Resource(
        address.path or "/",
        config.name,
        config.kind.kind,
        settings.origins,
        settings.hosts,
        settings.subprotocols,
        settings.compression == "on",
        settings.page,
        config.limits.message,
        config.kind.summary,
    )


def _websocket(
    resources: Mapping[str, Resource], _address: Address, running: RunningService, shared: DaemonContext
) -> MakeLayer:
    return partial(
        WebSocketServer,
        clock=shared.reactor,
        seconds=running.config.limits.handshake,
        resources=resources,
        work=shared.context.work,
        mark=shared.state.send_budget.mark(running.config.limits.total_buffer),
        answer_get=shared.pages.answer,
    )


def proxies_of(address: Address, running: RunningService) -> Access | None:
    """The peers that may connect to `address` and name their clients; None without PROXY headers."""
    return Access(running.config.proxy_from) if "proxy" in address.options else None


def _proxy(address: Address, running: RunningService, shared: DaemonContext) -> MakeLayer:
    versions: Any = address.options["proxy"]
    seconds = running.config.limits.handshake
    return partial(Proxy, versions=versions, clock=shared.reactor, seconds=seconds)

"""The layers between the sockets of an address and its conversations, with the settings of its service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from echod.address import Address
from echod.daemon.running_service import DaemonContext, RunningService
from echod.faults.injector import Count, Injection
from echod.faults.settings import TlsFault, WebSocketFault
from echod.gate.access import Access, packed_address
from echod.socket_names import Inet
from echod.transports.layers.http_answer import Resource
from echod.transports.layers.layer_interface import Build, Facts, Layer, MakeLayer
from echod.transports.layers.proxy import Proxy
from echod.transports.layers.websocket_faults import FaultyWebSocket
from echod.transports.layers.websocket_server import WebSocketServer
from echod.transports.transport import layer_of

Configure = Callable[[Address, RunningService, DaemonContext], MakeLayer]
"""Makes a layer for an address, with the settings of the service."""


def _tls(address: Address, running: RunningService, shared: DaemonContext) -> MakeLayer:
    from echod.transports.layers.tls import TlsLayer  # this imports `cryptography`, which most daemons do not need

    config = running.config
    contexts = None if config.tls is None else config.tls.contexts
    assert contexts is not None  # the configuration checks it
    options: dict[str, Any] = {
        "clock": shared.reactor,
        "seconds": config.limits.handshake,
        "handshakes": shared.state.handshakes,
        "work": shared.context.work,
    }
    if running.injector is None:
        return partial(TlsLayer, context=contexts.default, choose=contexts.context_for_hello, **options)
    from echod.transports.layers.tls_faults import FaultyTls

    return partial(
        FaultyTls,
        contexts=contexts,
        choose_fault=partial(tls_fault, running, _count_of(address, running, shared)),
        **options,
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


def _count_of(address: Address, running: RunningService, shared: DaemonContext) -> Count:
    """Counts the faults of a listener."""
    return shared.all_counters[running.config.name, address.label].inject


def injection_of(running: RunningService, count: Count, facts: Facts, layer: str, text: str | None) -> Injection | None:
    """The faults of a connection, as soon as a layer needs them; None if the service injects none.

    `count` counts them. `text` is from the client: the server name of `tls`, or the query of `websocket`. A service may
    choose by it.
    """
    injector = running.injector
    if injector is None:
        return None
    if facts.injection is None or facts.injection.injector is not injector:
        host = b""
        with suppress(ValueError):  # the peer of an endpoint string may have a name instead of an address
            host = packed_address(facts.remote.host) if isinstance(facts.remote, Inet) else b""
        facts.injection = injector.connection(host, count)
    if text and (chosen := running.service.chosen_faults(layer, text)) is not None:
        facts.injection.choose(chosen)
    return facts.injection


def tls_fault(running: RunningService, count: Count, facts: Facts, name: str | None) -> TlsFault | None:
    """How TLS of a connection misbehaves."""
    injection = injection_of(running, count, facts, "tls", name)
    if injection is None or injection.faults.tls is None:
        return None
    injection.count("tls")
    return injection.faults.tls


def websocket_fault(running: RunningService, count: Count, facts: Facts, query: str) -> WebSocketFault | None:
    """How WebSocket of a connection misbehaves."""
    injection = injection_of(running, count, facts, "websocket", query)
    if injection is None or injection.faults.websocket is None:
        return None
    injection.count("websocket")
    return injection.faults.websocket


def resource_of(address: Address, running: RunningService, shared: DaemonContext) -> Resource:
    """A service at its path, with the settings of `[services.NAME.websocket]`."""
    config = running.config
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
        None if running.injector is None else partial(websocket_fault, running, _count_of(address, running, shared)),
    )


def _websocket(
    resources: Mapping[str, Resource], _address: Address, running: RunningService, shared: DaemonContext
) -> MakeLayer:
    options: dict[str, Any] = {
        "clock": shared.reactor,
        "seconds": running.config.limits.handshake,
        "resources": resources,
        "work": shared.context.work,
        "mark": shared.state.send_budget.mark(running.config.limits.total_buffer),
        "answer_get": shared.pages.answer,
    }

    def make(build: Build) -> Layer:
        misbehaves = any(one.choose_fault is not None for one in resources.values())
        return (FaultyWebSocket if misbehaves else WebSocketServer)(build, **options)

    return make


def proxies_of(address: Address, running: RunningService) -> Access | None:
    """The peers that may connect to `address` and name their clients; None without PROXY headers."""
    return Access(running.config.proxy_from) if "proxy" in address.options else None


def _proxy(address: Address, running: RunningService, shared: DaemonContext) -> MakeLayer:
    versions: Any = address.options["proxy"]
    seconds = running.config.limits.handshake
    return partial(Proxy, versions=versions, clock=shared.reactor, seconds=seconds)

"""The hub of a daemon: its own only, or with `[bus]` one that shares rooms and consoles with other daemons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from echod.bus.brokered_hub import BrokeredHub
from echod.bus.local_bus import LocalBus
from echod.bus.local_hub import LocalHub
from echod.bus.redis_broker import RedisBroker
from echod.bus.redis_connect import UnusableTls, connector, tls_options
from echod.config.line_numbers import error_at
from echod.config.settings import Bus, Configuration
from echod.daemon.config_diff import ConfigurationRefused
from echod.daemon.daemon import Daemon
from echod.daemon.daemon_wide_state import LocalState, MakeState
from echod.gate.work_budget import WorkBudget
from echod.membership import Membership
from echod.model import Context
from echod.services.replicated_membership import Memberships

EX_CONFIG = 78  #: sysexits(3)
CHANNEL = "echod:1:{database}"
"""The channel of a database: publish and subscribe do not distinguish databases. 1 is the version of the messages."""


def tls_of(configuration: Configuration) -> Any:
    """The options of TLS to the broker, or None without TLS. Raises ConfigurationRefused."""
    bus = configuration.bus
    if bus.url is None:
        return None
    try:
        return tls_options(bus.url.host, tls=bus.url.tls, ca=bus.ca)
    except UnusableTls as error:
        raise ConfigurationRefused(EX_CONFIG, [str(error_at(configuration, error.key, str(error)))]) from error


def hub_of(reactor: Any, configuration: Configuration) -> tuple[BrokeredHub | None, MakeState]:
    """The hub for `[bus]`, and what makes the state of a daemon with one process. Raises ConfigurationRefused."""
    url = configuration.bus.url
    if url is None:
        return None, LocalState
    connect = connector(reactor, url.host, url.port, tls_of(configuration))
    login = (url.user or "default", url.password) if url.password else None
    work = WorkBudget(reactor.callLater)
    channel = CHANNEL.format(database=url.database)
    hub = BrokeredHub(reactor, RedisBroker(reactor, connect, channel, login, str(url), work), work)
    return hub, partial(HubState, reactor=reactor, hub=hub)


class HubState(LocalState):
    """The state of a daemon with one process, whose rooms and queues belong to a hub. As `daemon_wide_state`."""

    def __init__(self, clock: Callable[[], float], tell: Callable[..., Any], *, reactor: Any, hub: LocalHub) -> None:
        super().__init__(clock, tell)
        hub.change, hub.miss = self.send_budget.change, self.send_budget.miss
        bus = LocalBus(reactor, change=self.send_budget.change)
        bus.connect(hub.connect())
        self._memberships = Memberships(bus)

    # LocalState declares the class of one process here; its callers use only what both have.
    def membership(self, service: str, context: Context) -> Membership:  # type: ignore[override]
        """As SharedState."""
        return self._memberships.of(service, context)


class HubLife:
    """Starts the hub when the daemon is ready, and closes it at the end."""

    def __init__(self, hub: BrokeredHub, bus: Bus, daemon: Daemon) -> None:
        self._hub = hub
        self._url = str(bus.url)
        hub.say = daemon.log.say
        daemon.bus = self
        daemon.events.subscribe(self.event)

    def event(self, name: str, _fields: Mapping[str, Any]) -> None:
        """As `events.Sink`."""
        if name == "daemon.ready":
            self._hub.start()

    def end(self) -> Deferred[None]:
        """Close the hub; fires when its last messages are sent, or after a second."""
        self._hub.close()
        return self._hub.broker.ended

    def status(self) -> dict[str, Any]:
        """The state of the bus, as the admin interface shows it."""
        broker = self._hub.broker
        return {
            "url": self._url,
            "connected": self._hub.is_connected,
            "outages": broker.outages,
            "sent": broker.published,
            "received": broker.arrived,
            "unconfirmed": self._hub.unreturned.taken,
        }


def attach(hub: BrokeredHub | None, bus: Bus, daemon: Daemon) -> None:
    """Let a daemon start and close its hub, if it has one."""
    if hub is not None:
        HubLife(hub, bus, daemon)

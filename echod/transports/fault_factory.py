"""The factory of a service with faults: each conversation is under a layer that injects them."""

from __future__ import annotations

from typing import Any

from echod.faults.injector import FaultInjector, Injection
from echod.model import Service
from echod.socket_names import SocketAddress
from echod.transports.conversation import Conversation
from echod.transports.handshake_slot import Entrance
from echod.transports.layers.fault_injection import FaultInjected, FaultLayer
from echod.transports.layers.layer_interface import Receiver
from echod.transports.service_factory import ServiceFactory


class FaultFactory(ServiceFactory):
    """Serves a service with the faults of `injector`. The other arguments are those of ServiceFactory.

    The faults of a connection depend on its client. They are known when it is accepted; behind a proxy, or if a path
    selects the service, after the handshake.
    """

    injects = True

    def __init__(self, service: Service, *, injector: FaultInjector, **keywords: Any) -> None:
        super().__init__(service, **keywords)
        self.injector = injector

    @property
    def hands_over(self) -> bool:
        """False: the fast path injects no faults."""
        return False

    def receiver_for(self, host: bytes, remote: SocketAddress) -> Receiver | None:
        """As ServiceFactory. A fault may refuse the connection, before any handshake."""
        receiver = super().receiver_for(host, remote)
        if receiver is None or self.proxies is not None:
            return receiver
        injection = self.injector.connection(host, self.counters.inject)
        if injection.refuses():
            receiver.lost(FaultInjected())
            return None
        if isinstance(receiver, Entrance):
            receiver.injection = injection
            return receiver
        return self.above_layers(receiver, host, injection)

    def above_layers(self, receiver: Receiver, host: bytes, injection: Injection | None = None) -> Receiver:
        """As ServiceFactory: the layer of the faults. A shared port may have used those of another service."""
        if injection is None or injection.injector is not self.injector:
            injection = self.injector.connection(host, self.counters.inject)
        return FaultLayer(lambda: receiver, self.clock, injection)

    def _begin(self, entrance: Entrance) -> Receiver:
        """As ServiceFactory. The conversation of an admitted client is under the layer of its faults."""
        receiver = super()._begin(entrance)
        if isinstance(receiver, Conversation):
            return self.above_layers(receiver, entrance.host, entrance.facts.injection)
        return receiver

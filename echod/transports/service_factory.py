"""A service for every connection of a listener, in any Twisted program:

endpoint.listen(ServiceFactory(Upper()))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall

from echod.events import Closing, Events, Tally
from echod.gate.access import Access, canonical, packed_address
from echod.gate.connections import ConnectionGate
from echod.gate.limits import Limits
from echod.gate.refusal import Refusal
from echod.gate.send_budget import Pressure, SendBudget
from echod.model import Service
from echod.names import Inet, SocketAddress, UnixName
from echod.transports.conversation import SILENCE, Conversation
from echod.transports.entrance import Entrance
from echod.transports.layers.stack import MakeLayer, Receiver, Rejection
from echod.transports.peers import socket_address
from echod.transports.twisted_socket import TwistedSocket

SLICE: Final = 32  #: connections whose byte counts are settled at once: about 0.1 ms


class Carrier(Protocol):
    """Who carries connections of a factory that are no Conversations: the fast plane."""

    def watch(self, now: float) -> None:
        """End what has been still for too long, as Conversation.watch does."""

    def settle_slices(self) -> Iterator[None]:
        """Bring what came and went into the tally, as ServiceFactory.settle_slices does."""

    def hold_back(self, pressure: Pressure) -> None:
        """So much waits for all together, as Conversation.hold_back hears it."""

    def told(self) -> Iterator[dict[str, Any]]:
        """Each connection, as ServiceFactory.told tells them."""


class ServiceFactory(Factory):
    """Serves one service to every connection that its gate admits.

    Without a gate everybody is admitted. `unsent` counts what waits to be sent to everybody together, where this
    factory is not the only one. `scheme` is what peers are shown as having come by; `loopback` says
    whether only this machine reaches the listener; `clock` runs the time limits (default: the reactor). `layers` are
    between each socket and its conversation, the lowest first; `proxies` are the peers whose word about their clients
    a layer believes.
    """

    noisy = False

    def __init__(
        self,
        service: Service,
        *,
        gate: ConnectionGate | None = None,
        limits: Limits | None = None,
        tally: Tally | None = None,
        events: Events | None = None,
        name: str = "",
        place: str = "",
        scheme: str = "tcp",
        loopback: bool = False,
        clock: IReactorTime | None = None,
        unsent: SendBudget | None = None,
        layers: Sequence[MakeLayer] = (),
        proxies: Access | None = None,
    ) -> None:
        self.service = service
        self.gate = gate
        self.limits = limits or (gate.limits if gate else Limits())
        self.tally = tally or Tally()
        self.events = events or Events()
        self.name = name or service.kind
        self.place = place
        self.scheme = scheme
        self.loopback = loopback
        self.layers = tuple(layers)
        self.proxies = proxies
        self.conversations: dict[Conversation, bytes] = {}  # and the host that the gate knows it by
        self.entrances: dict[Entrance, None] = {}  # connections whose handshakes are not over
        self.carrier: Carrier | None = None
        self.mark = (unsent or SendBudget()).mark(self.limits.total_buffer)
        self._sweep = LoopingCall(self._look)
        if clock is not None:
            self._sweep.clock = clock
        self._drained: Deferred[None] | None = None
        self._conversation_over = self._over  # one bound method for all connections, as is the next
        self._begin_session = service.session
        self._silence = SILENCE

    def govern(self, service: Service, limits: Limits) -> None:
        """Serve new connections by another service of the same kind, and other limits; those that are open stay."""
        self.service, self._begin_session = service, service.session
        self.limits = limits
        self.mark.leave(self._hold_back)
        self.mark = self.mark.budget.mark(limits.total_buffer)
        if self._sweep.running:
            self.mark.join(self._hold_back)
        if self._sweep.running and self._drained is None:
            self._sweep.stop()
            self._begin_sweep()

    def startFactory(self) -> None:
        """Watch the time from now on."""
        if not self._sweep.running:
            self.mark.join(self._hold_back)
            self._begin_sweep()

    def _begin_sweep(self) -> None:
        limits = [limit for limit in (self.limits.idle, self.limits.stall) if limit]
        self._sweep.start(max(0.05, min([1.0, *(limit / 4 for limit in limits)])), now=False)

    def stopFactory(self) -> None:
        """No listener is left; time goes on for as long as there are connections."""
        if not self.conversations and not self.entrances:
            self._rest()

    def _rest(self) -> None:
        if self._sweep.running:
            self._sweep.stop()
            self.mark.leave(self._hold_back)

    def _hold_back(self, pressure: Pressure) -> None:
        for conversation in tuple(self.conversations):
            if conversation.begun:
                conversation.hold_back(pressure)
        if self.carrier is not None:
            self.carrier.hold_back(pressure)

    @property
    def clock(self) -> Any:
        """What runs the time limits: it has callLater, in seconds."""
        return self._sweep.clock

    def admit(self, host: bytes, peer: Callable[[], SocketAddress]) -> Refusal | None:
        """Ask the gate for a connection of `host`, and count and tell the verdict; `peer` is asked only to be told."""
        refusal = self.gate.admit(host, loopback=self.loopback) if self.gate else None
        return self._counted(refusal, peer)

    def _counted(self, refusal: Refusal | None, peer: Callable[[], SocketAddress]) -> Refusal | None:
        if refusal:
            self.tally.refuse(refusal)
            if self.events.connections:
                self._tell("connection.refused", peer(), reason=str(refusal))
            elif refusal is Refusal.DENIED:
                denied = peer()
                self._tell("client.denied", denied, host=getattr(denied, "host", "").partition("%")[0])
            return refusal
        self.tally.accepted += 1
        self.tally.open += 1
        if self.events.connections:
            self._tell("connection.opened", peer())
        return None

    def ended(self, host: bytes, reason: Closing, bytes_in: int, bytes_out: int, peer: SocketAddress | None) -> None:
        """A connection that was admitted is over."""
        if self.gate:
            self.gate.release(host)
        self.tally.close(reason)
        if self.events.connections and peer is not None:
            self._tell("connection.closed", peer, reason=str(reason), bytes_in=bytes_in, bytes_out=bytes_out)

    def buildProtocol(self, address: IAddress | None) -> TwistedSocket | None:
        """The lowest level of a connection that Twisted has accepted, or None: refused, counted and told."""
        remote: SocketAddress = socket_address(address) if address else UnixName("")
        receiver = self.receiver_for(_host_octets(address), remote)
        return None if receiver is None else TwistedSocket(lambda: receiver, self.clock)

    def receiver_for(self, host: bytes, remote: SocketAddress) -> Receiver | None:
        """What is to be above the socket of a connection that was accepted, or None: refused, counted and told.

        Without layers that is a Conversation. A peer of `proxies` is refused only for want of a place: the client
        that a layer names later meets the rest of the gate (`Entrance`).
        """
        if not self.layers:
            return None if self.admit(host, lambda: remote) else self.converse(host)
        through_proxy = bool(host) and self.proxies is not None and self.proxies.allows(canonical(host))
        if through_proxy:
            host = b""
        if self.admit(host, lambda: remote):
            return None
        entrance = Entrance(self.layers, host, remote, through_proxy, self._enter, self._turned_away)
        self.entrances[entrance] = None
        return entrance

    def _enter(self, entrance: Entrance) -> Receiver:
        """The handshakes of a connection are over; now its client is known."""
        if entrance.through_proxy:
            remote = entrance.facts.remote
            host = packed_address(remote.host) if isinstance(remote, Inet) else b""
            refusal = self.gate.name(host, loopback=self.loopback) if self.gate else None
            if refusal is not None:
                self.tally.refuse(refusal)
                if self.events.connections:
                    self._tell("connection.refused", remote, reason=str(refusal))
                entrance.closing = Closing.REFUSED
                return Rejection()
            entrance.host = host
        entrance.entered = True
        del self.entrances[entrance]
        return self.converse(entrance.host)

    def _turned_away(self, entrance: Entrance) -> None:
        """A connection is over before its handshakes were."""
        del self.entrances[entrance]
        self.ended(entrance.host, entrance.closing, 0, 0, entrance.remote)
        self._maybe_drained()

    def converse(self, host: bytes) -> Conversation:
        """A conversation for a connection that the gate has admitted."""
        begin, over, work = self._begin_session, self._conversation_over, self.service.context.work
        conversation = Conversation(begin, self.scheme, self.limits, self.tally, over, self.mark, work)
        self.conversations[conversation] = host
        return conversation

    def settle(self) -> None:
        """Bring the octets of connections that are open into the tally: it is exact until more come or go.

        By itself a connection does so when it ends, for counting each message costs more than carrying it.
        """
        for _ in self.settle_slices():
            pass

    def settle_slices(self) -> Iterator[None]:
        """As settle, in steps of SLICE connections, between which others may come and go."""
        for at, conversation in enumerate(tuple(self.conversations), 1):
            if conversation in self.conversations:
                conversation.settle()
            if not at % SLICE:
                yield
        if self.carrier is not None:
            yield from self.carrier.settle_slices()

    def told(self) -> Iterator[dict[str, Any]]:
        """Each open conversation; others may come and go between two of them."""
        for conversation in tuple(self.conversations):
            if conversation in self.conversations and hasattr(conversation, "peer"):
                yield {
                    "peer": str(conversation.peer.remote),
                    "bytes_in": conversation.bytes_in,
                    "bytes_out": conversation.bytes_out,
                    "unsent": conversation.unsent,
                }
        if self.carrier is not None:
            yield from self.carrier.told()

    def drain(self, seconds: float = 10.0) -> Deferred[None]:
        """Let the conversations end; fires when the last one has. `abandon` makes it so, after `seconds`.

        Who is silent for SILENCE, or for half the time there is, hears goodbye.
        """
        self._silence = min(SILENCE, seconds / 2)
        self._drained = Deferred()
        if self.conversations or self.entrances:
            self._look()
            if self._sweep.running:
                self._sweep.stop()
            self._sweep.start(max(self._silence / 4, 0.01), now=False)
        else:
            self._drained.callback(None)
        return self._drained

    def abandon(self) -> None:
        """End what is left, at once."""
        for conversation in list(self.conversations):
            conversation.abort(Closing.DRAIN)
        for entrance in list(self.entrances):
            entrance.closing = Closing.DRAIN
            entrance.abort()

    def _look(self) -> None:
        now = self._sweep.clock.seconds()
        for conversation in list(self.conversations):
            conversation.watch(now)
            if self._drained is not None:
                conversation.leave(now, self._silence)
        if self.carrier is not None:
            self.carrier.watch(now)

    def _over(self, conversation: Conversation, reason: Closing) -> None:
        host = self.conversations.pop(conversation)
        peer = conversation.peer.remote if hasattr(conversation, "peer") else None
        self.ended(host, reason, conversation.bytes_in, conversation.bytes_out, peer)
        self._maybe_drained()

    def _maybe_drained(self) -> None:
        if not self.conversations and not self.entrances:
            if self._drained is not None and not self._drained.called:
                self._drained.callback(None)
            if not self.numPorts:
                self._rest()

    def _tell(self, event: str, peer: SocketAddress, **fields: object) -> None:
        self.events.tell(event, service=self.name, address=self.place, peer=str(peer), **fields)


def _host_octets(address: IAddress | None) -> bytes:
    host = getattr(address, "host", None)
    return packed_address(host) if host is not None else b""

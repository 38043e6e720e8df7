"""Serves every connection of a listener by a service, in any Twisted program:

endpoint.listen(ServiceFactory(Upper()))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall

from echod.events import Closing, Counters, Events
from echod.faults.injector import Injection
from echod.gate.access import Access, canonical, in_disguise, packed_address
from echod.gate.connections import ConnectionGate
from echod.gate.datagram_member_gate import is_local
from echod.gate.limits import Limits
from echod.gate.refusal import Refusal
from echod.gate.total_buffer import Pressure, SendBudget
from echod.model import Service
from echod.socket_names import Inet, SocketAddress, UnixName
from echod.transports.conversation import SILENCE, Conversation
from echod.transports.fast_path_interface import Carrier, Worth
from echod.transports.handshake_slot import Adopt, Entrance, HandOver, Rejection
from echod.transports.layers.detaching import hands_engine
from echod.transports.layers.layer_interface import MakeLayer, Receiver
from echod.transports.peers import described, socket_address
from echod.transports.twisted_connection import TwistedSocket

SLICE: Final = 32  #: connections whose byte counts are flushed in one step: about 0.1 ms


class ServiceFactory(Factory):
    """Serves one service to every connection that its gate admits.

    Without a gate every client is admitted. `unsent` is the send budget that several factories share. `scheme` is
    shown as the transport of peers. `loopback` means that only this machine can reach the listener. `clock` runs the
    time limits (default: the reactor). `layers` are between each socket and its conversation, the lowest first.
    `proxies` are the only peers that may connect, if given: a layer lets them name their clients.
    """

    noisy = False
    injects = False  #: whether connections have faults

    def __init__(
        self,
        service: Service,
        *,
        gate: ConnectionGate | None = None,
        limits: Limits | None = None,
        counters: Counters | None = None,
        events: Events | None = None,
        name: str = "",
        label: str = "",
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
        self.counters = counters or Counters()
        self.events = events or Events()
        self.name = name or service.kind
        self.label = label
        self.scheme = scheme
        self.loopback = loopback
        self.layers = tuple(layers)
        self.proxies = proxies
        self.conversations: dict[Conversation, bytes] = {}  # with the host by which the gate counts it
        self.entrances: dict[Entrance, None] = {}  # connections whose handshakes are not over
        self.carrier: Carrier | None = None
        self.adopt: Adopt | None = None  # carries connections whose layers have removed themselves
        self.mark = (unsent or SendBudget()).mark(self.limits.total_buffer)
        self._sweep = LoopingCall(self._check_time_limits)
        if clock is not None:
            self._sweep.clock = clock
        self._drained: Deferred[None] | None = None
        self._conversation_over = self._over  # one bound method for all connections, as is the next
        self._begin_session = service.session
        self._silence = SILENCE

    def reconfigure(
        self,
        service: Service,
        limits: Limits,
        layers: Sequence[MakeLayer] | None = None,
        proxies: Access | None = None,
    ) -> None:
        """Serve new connections by another service of the same kind, with other limits, and other layers if given.

        Open connections keep what they have. The number of layers does not change.
        """
        self.service, self._begin_session = service, service.session
        if layers is not None:
            self.layers, self.proxies = tuple(layers), proxies
        self.limits = limits
        self.mark.leave(self._hold_back)
        self.mark = self.mark.budget.mark(limits.total_buffer)
        if self._sweep.running:
            self.mark.join(self._hold_back)
        if self._sweep.running and self._drained is None:
            self._sweep.stop()
            self._begin_sweep()

    def startFactory(self) -> None:
        """Start the sweep for time limits."""
        self.service.context.work.use(self._sweep.clock.callLater)
        if not self._sweep.running:
            self.mark.join(self._hold_back)
            self._begin_sweep()

    def _begin_sweep(self) -> None:
        limits = [limit for limit in (self.limits.idle, self.limits.stall) if limit]
        self._sweep.start(max(0.05, min([1.0, *(limit / 4 for limit in limits)])), now=False)

    def stopFactory(self) -> None:
        """Handle the end of the last listener. The sweep runs until the last connection ends."""
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
    def hands_over(self) -> bool:
        """Whether `adopt` may be set: the layers are that of PROXY headers, which removes itself, and that of TLS."""
        return len(self.layers) == (self.proxies is not None) + hands_engine(self.layers) > 0

    @property
    def clock(self) -> Any:
        """The clock of the time limits; its callLater takes seconds."""
        return self._sweep.clock

    def admit(self, host: bytes, peer: Callable[[], SocketAddress]) -> Refusal | None:
        """Ask the gate about a connection of `host`; count and log the result. `peer` is called only for the log."""
        refusal = self.gate.admit(host, loopback=self.loopback) if self.gate else None
        if refusal is not None:
            return self._refused(refusal, peer)
        self._accepted()
        if self.events.connections:
            self._tell("connection.opened", peer())
        return None

    def _accepted(self) -> None:
        self.counters.accepted += 1
        self.counters.open += 1

    def _refused(
        self, refusal: Refusal, peer: Callable[[], SocketAddress], proxy: SocketAddress | None = None
    ) -> Refusal:
        """Count and log a refused client, or a refused peer that may name no client."""
        self.counters.refuse(refusal)
        if self.events.connections:
            self._tell("connection.refused", peer(), proxy, reason=str(refusal))
        if refusal is Refusal.DENIED or refusal is Refusal.PROXY:
            event = "client.denied" if refusal is Refusal.DENIED else "proxy.denied"
            denied = peer()
            self._tell(event, denied, proxy, host=getattr(denied, "host", "").partition("%")[0])
        return refusal

    def ended(
        self,
        host: bytes,
        reason: Closing,
        bytes_in: int,
        bytes_out: int,
        peer: SocketAddress | None,
        proxy: SocketAddress | None = None,
    ) -> None:
        """Give back the slot of an admitted connection, and count and log its end."""
        if self.gate:
            self.gate.release(host)
        self.counters.close(reason)
        if self.events.connections and peer is not None:
            self._tell("connection.closed", peer, proxy, reason=str(reason), bytes_in=bytes_in, bytes_out=bytes_out)

    def buildProtocol(self, address: IAddress | None) -> TwistedSocket | None:
        """The lowest level of a connection that Twisted has accepted, or None if it was refused."""
        remote: SocketAddress = socket_address(address) if address else UnixName("")
        receiver = self.receiver_for(_packed_host(address), remote)
        return None if receiver is None else TwistedSocket(lambda: receiver, self.clock)

    def receiver_for(self, host: bytes, remote: SocketAddress) -> Receiver | None:
        """The receiver above the socket of an accepted connection, or None if it was refused, counted and logged.

        Without layers it is a Conversation. With `proxies`, any other peer is refused, and a peer of them only if no
        slot is free. The gate applies its other rules to the client that a layer names later (`Entrance`).
        """
        if not self.layers:
            return None if self.admit(host, lambda: remote) else self.converse(host)
        through_proxy = self.proxies is not None
        if self.proxies is not None:
            if not host or in_disguise(host) or not self.proxies.allows(canonical(host)):
                self._refused(Refusal.PROXY, lambda: remote)
                return None
            if self.gate and (refusal := self.gate.admit(b"", loopback=self.loopback)):
                self._refused(refusal, lambda: remote)
                return None
            host = b""
            self._accepted()
        elif self.admit(host, lambda: remote):
            return None
        entrance = Entrance(self.layers, host, remote, through_proxy, self._name, self._begin, self._turned_away)
        self.entrances[entrance] = None
        return entrance

    def _name(self, entrance: Entrance) -> Rejection | None:
        """Ask the gate about the client that a proxy has named, before the handshakes of further layers."""
        remote, proxy = entrance.facts.remote, entrance.facts.proxy
        # Without a client, the proxy itself has connected: `proxy-from` has admitted it. A listener on loopback
        # is reachable from other machines if a proxy is.
        host = packed_address(remote.host) if proxy is not None and isinstance(remote, Inet) else b""
        loopback = self.loopback and is_local(host)
        if self.gate and (refusal := self.gate.name(host, loopback=loopback)):
            self._refused(refusal, lambda: remote, proxy)
            entrance.closing = Closing.REFUSED
            return Rejection()
        entrance.host = host
        return None

    def _begin(self, entrance: Entrance) -> Receiver:
        """Make the conversation of a client that the gate has admitted, after the last handshake."""
        if entrance.through_proxy and self.events.connections:
            self._tell("connection.opened", entrance.facts.remote, entrance.facts.proxy)
        entrance.entered = True
        del self.entrances[entrance]
        return self.converse(entrance.host) if self.adopt is None else HandOver(entrance.host, self.adopt)

    def _turned_away(self, entrance: Entrance) -> None:
        """Handle the end of a connection before its handshakes were complete."""
        del self.entrances[entrance]
        remote, proxy = entrance.ends
        if entrance.closing is Closing.HANDSHAKE:
            self._tell("handshake.failed", remote, proxy, error=entrance.error)
        self.ended(entrance.host, entrance.closing, 0, 0, remote, proxy)
        self._maybe_drained()

    def converse(self, host: bytes) -> Conversation:
        """A conversation for a connection that the gate has admitted."""
        begin, over, work = self._begin_session, self._conversation_over, self.service.context.work
        conversation = Conversation(begin, self.scheme, self.limits, self.counters, over, self.mark, work)
        self.conversations[conversation] = host
        return conversation

    def above_layers(self, receiver: Receiver, _host: bytes, _injection: Injection | None = None) -> Receiver:
        """The receiver above the last layer of a connection, given its conversation."""
        return receiver

    def flush_counters(self) -> None:
        """Flush the byte counts of open connections into the counters.

        A connection itself does this only when it ends: counting each message would cost more than carrying it.
        """
        for _ in self.flush_counters_in_steps():
            pass

    def flush_counters_in_steps(self) -> Iterator[None]:
        """As settle, in steps of SLICE connections. Connections may open and close between two steps."""
        for at, conversation in enumerate(tuple(self.conversations), 1):
            if conversation in self.conversations:
                conversation.flush_counters()
            if not at % SLICE:
                yield
        if self.carrier is not None:
            yield from self.carrier.flush_counters_in_steps()

    def describe_connections(self, worth: Worth | None = None) -> Iterator[dict[str, Any] | None]:
        """Describe each open conversation, or yield None for one that is not `worth` it. They may open and close."""
        for one in tuple(self.conversations):
            if one in self.conversations and hasattr(one, "peer"):
                counts = one.bytes_in, one.bytes_out, one.unsent
                shown = worth is None or worth(*counts)
                yield described(one.peer.remote, one.below.facts.proxy, *counts) if shown else None
        if self.carrier is not None:
            yield from self.carrier.describe_connections(worth)

    def drain(self, seconds: float = 10.0) -> Deferred[None]:
        """End the conversations when they are silent. The Deferred fires after the last one.

        A client that is silent for SILENCE, or for half of `seconds` if that is shorter, is sent the end of its
        session. The caller calls `abandon` after `seconds`.
        """
        self._silence = min(SILENCE, seconds / 2)
        self._drained = Deferred()
        if self.conversations or self.entrances:
            self._check_time_limits()
            if self._sweep.running:
                self._sweep.stop()
            self._sweep.start(max(self._silence / 4, 0.01), now=False)
        else:
            self._drained.callback(None)
        return self._drained

    def abandon(self) -> None:
        """Reset the remaining connections immediately."""
        for conversation in list(self.conversations):
            conversation.abort(Closing.DRAIN)
        for entrance in list(self.entrances):
            entrance.closing = Closing.DRAIN
            entrance.abort()

    def _check_time_limits(self) -> None:
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
        proxy = conversation.below.facts.proxy if peer is not None else None
        self.ended(host, reason, conversation.bytes_in, conversation.bytes_out, peer, proxy)
        self._maybe_drained()

    def _maybe_drained(self) -> None:
        if not self.conversations and not self.entrances:
            if self._drained is not None and not self._drained.called:
                self._drained.callback(None)
            if not self.numPorts:
                self._rest()

    def _tell(self, event: str, peer: SocketAddress, proxy: SocketAddress | None = None, **fields: object) -> None:
        if proxy is not None:
            fields["proxy"] = str(proxy)
        self.events.tell(event, service=self.name, address=self.label, peer=str(peer), **fields)


def _packed_host(address: IAddress | None) -> bytes:
    host = getattr(address, "host", None)
    return packed_address(host) if host is not None else b""

"""UDP: replies of any size are sent from the address and the link that received the request."""

from __future__ import annotations

import socket
from collections.abc import Callable, Container, Hashable, Iterator
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorFDSet

from echod.address import Address
from echod.escaping import system_error
from echod.gate.access import packed_address
from echod.gate.datagrams import is_many
from echod.gate.refusal import Refusal
from echod.model import Peer, Say, Service, Session
from echod.socket_names import Inet, inet_name
from echod.transports.datagram import A_TURN, ANCILLARY, LARGEST, DatagramPort, ServiceDatagrams
from echod.transports.datagram_client import DatagramDialogue
from echod.transports.error_queue import ask_for_errors, refusing_peers
from echod.transports.lookup import Target, look_up
from echod.transports.multicast import TTL, is_group, limit_ttl
from echod.transports.packet_stamps import arrival_of, traffic_class_message
from echod.transports.socket_filter import FloodFilter
from echod.transports.sockets import inet_sockets, prepare_client
from echod.transports.transport import INET_FAMILIES, ConnectRequest, Datagram
from echod.transports.udp_options import (
    IP_PKTINFO,
    RECEIVE_BUFFER,
    allow_fragments,
    joins,
    prepare,
    reduce_ancillary,
)
from echod.transports.udp_sender_cache import Source, Sources, is_four, local_text, segment_size, source_key


class UDPPort(DatagramPort):
    """A bound UDP socket."""

    def __init__(
        self, reactor: IReactorFDSet, bound: socket.socket, protocol: ServiceDatagrams, close: Callable[[], None]
    ) -> None:
        super().__init__(reactor, bound, protocol, close)
        self._host, self._port = inet_name(bound.getsockname())
        self._bound = None if self._host == "::" else packed_address(self._host)
        self._group = self._bound if is_group(self._host) else None  # the multicast group of the socket
        protocol.never_larger = self._group is not None
        # The filter sees the addresses of proxies only, and would drop their other clients too.
        gate = None if protocol.proxied else protocol.gate
        self.filter = FloodFilter(reactor, bound, gate, protocol.counters, self._filter_refused)
        self._sources = Sources()
        # A service that uses only the short form of `datagram` needs no metadata of single datagrams.
        short = type(protocol.service).datagram is Service.datagram
        self._short_form = short and not protocol.conversational and not protocol.proxied and protocol.faults is None
        self._one_address = False  # the kernel reports no metadata: the socket has only one local address

    def doRead(self) -> None:
        """Answer queued datagrams, up to A_TURN, and set the socket filter if the gate has found a flood."""
        if self.protocol.conversational:
            self._read_errors()
        if self._short_form:
            self._read_short_form()
        else:
            super().doRead()
        self.filter.look()

    def _filter_refused(self, error: OSError) -> None:
        report, self.protocol.filter_refused = self.protocol.filter_refused, None
        if report is not None:
            report(system_error(error))

    def _read_short_form(self) -> None:
        """As `doRead` of the base, with one decision for all datagrams of a source."""
        known, receive, receive_from = self._sources.get, self.socket.recvmsg, self.socket.recvfrom
        for _ in range(A_TURN):
            ancillary: list[tuple[int, int, bytes]] = []
            try:
                if self._one_address:
                    datagram, name = receive_from(LARGEST)
                    key: Hashable = name
                else:
                    datagram, ancillary, _, name = receive(LARGEST, ANCILLARY)
                    key = source_key(ancillary, name)
            except BlockingIOError:
                return
            except OSError:
                if self._failed():
                    return
                continue
            self._failures = 0
            if key is None:
                self.serve(datagram, ancillary, name)
            else:
                self._answer(datagram, known(key) or self._sources.add(key, self._source(ancillary, name)))

    def _source(self, ancillary: list[tuple[int, int, bytes]], name: tuple[Any, ...]) -> Source:
        arrived_at, refusal, ancillary = self._arrival_address(ancillary, name)
        if refusal is None and arrived_at is not None and is_four(arrived_at) != is_four(packed_address(name[0])):
            refusal = Refusal.SOURCE_ADDRESS  # an IPv6 packet with an IPv4-mapped source
        local = None if arrived_at == self._bound else arrived_at
        source = Source(self.protocol.gate, self.protocol.loopback, name, local, refusal, ancillary)
        source.larger = source.larger and not self.protocol.never_larger
        return source

    def _answer(self, datagram: bytes, source: Source) -> None:
        """Serve one datagram by `Service.answer`, and send the reply now."""
        protocol, counters, size = self.protocol, self.protocol.counters, len(datagram)
        counters.datagrams_in += 1
        counters.bytes_in += size
        refusal = source.refusal
        if refusal is not None and protocol.gate is not None:
            protocol.gate.forbade(refusal, 1)
        elif source.limited and protocol.gate is not None:
            refusal = protocol.gate.admit_permitted(source.key, source.port, datagram, loopback=protocol.loopback)
        if refusal is not None:
            counters.refuse(refusal)
            return
        peer = source.peer
        if peer is None:
            peer = source.peer = self._peer(source.local, source.name)
        reply = protocol.answer(datagram, peer)
        if reply is None:
            return
        try:
            if len(reply) > size and not source.larger:
                refusal = Refusal.LARGER
            elif source.ancillary:
                self.socket.sendmsg([reply], source.ancillary, 0, source.name)
            else:
                self.socket.sendto(reply, source.name)
        except OSError:
            refusal = Refusal.SEND
        if refusal is not None:
            counters.refuse(refusal)
        else:
            counters.datagrams_out += 1
            counters.bytes_out += len(reply)

    def forget(self) -> None:
        """Drop cached sources, because the access lists or the addresses of echod have changed."""
        self._sources.forget()

    def connectionLost(self, reason: Any) -> None:
        """Stop when the reactor ends. After an ICMP error, which is an error without data to read, continue."""
        if self.connected and self.protocol.conversational and reason.check(ConnectionDone):
            self._read_errors()
            self.startReading()
        else:
            super().connectionLost(reason)

    def reach(self, data: bytes, ancillary: list[tuple[int, int, bytes]], name: Any) -> OSError | None:
        """Send a datagram; returns the error, or None. It retries, as the first error may be of another peer."""
        error = super().reach(data, ancillary, name)
        if error is not None and self.protocol.conversational and not isinstance(error, BlockingIOError):
            error = super().reach(data, ancillary, name)
        return error

    def _failed(self) -> bool:
        """Read ICMP errors from the queue; they do not pause the port."""
        return not (self.protocol.conversational and self._read_errors()) and super()._failed()

    def _read_errors(self) -> int:
        """End the membership of peers whose ports are unreachable. Returns how many errors were read."""
        count = 0
        for name in refusing_peers(self.socket):
            count += 1
            if name is not None:
                self.protocol.unreachable(name)
        return count

    def startListening(self) -> None:
        """Serve from now on."""
        self.filter.begin()
        if self.protocol.conversational:
            ask_for_errors(self.socket, True)
        if self._short_form:
            to_many = self._bound is None or not any(self._bound) or is_many(self._bound, self._broadcasts())
            reduce_ancillary(self.socket, destination=to_many)
            self._one_address = not to_many and not joins(self.socket)
        super().startListening()

    def stopListening(self) -> None:
        """Remove the filter, answer queued requests, then close the socket."""
        if self.connected:
            self.filter.stop()
        super().stopListening()

    def release(self) -> None:
        """Leave the socket to another port, without a filter, and with the queued datagrams."""
        self.filter.stop()
        super().release()
        prepare(self.socket)

    def serve(self, datagram: bytes, ancillary: list[tuple[int, int, bytes]], name: Any) -> None:
        """Answer one datagram, or each of those that the kernel has joined (UDP_GRO) for the fast path."""
        size = segment_size(ancillary)
        if not 0 < size < len(datagram):
            self._serve_one(datagram, ancillary, name)
            return
        for at in range(0, len(datagram), size):
            self._serve_one(datagram[at : at + size], ancillary, name)

    def _serve_one(self, datagram: bytes, ancillary: list[tuple[int, int, bytes]], name: Any) -> None:
        """Answer one datagram: its destination becomes the source of the reply (RFC 1122 4.1.3.5).

        The gate decides before any other object is made, so that a flood is refused at low cost.
        """
        protocol = self.protocol
        host, port = packed_address(name[0]), name[1]
        arrived_at, refusal, source = self._arrival_address(ancillary, name)
        if refusal is None and arrived_at is not None and is_four(arrived_at) != is_four(host):
            refusal = Refusal.SOURCE_ADDRESS  # an IPv6 packet with an IPv4-mapped source
        if not protocol.admits(datagram, host, port, refusal):
            return

        def set_traffic_class(traffic_class: int) -> None:
            source.append(traffic_class_message(traffic_class, ipv4=is_four(host)))

        peer = self._peer(arrived_at, name, set_traffic_class)

        def send(data: bytes) -> OSError | None:
            return self.reach(data, source, name)

        arrival = arrival_of(ancillary)
        if protocol.conversational:
            protocol.handle(datagram, peer, arrival, host, name, send)
        else:
            protocol.serve(datagram, peer, arrival, host, send)

    def peer_of(self, ancillary: list[tuple[int, int, bytes]], name: Any) -> Peer:
        """The sender of a datagram, and the address that it was sent to."""
        return self._peer(self._arrival_address(ancillary, name)[0], name)

    def _peer(self, arrived_at: bytes | None, name: Any, traffic_class: Callable[[int], None] | None = None) -> Peer:
        host = self._host if arrived_at in (None, self._bound) else local_text(arrived_at, name)
        local = Inet(host, self._port)
        return Peer(self.protocol.scheme, local, inet_name(name), set_traffic_class=traffic_class)

    def _arrival_address(
        self, ancillary: list[tuple[int, int, bytes]], name: Any
    ) -> tuple[bytes | None, Refusal | None, list[tuple[int, int, bytes]]]:
        """The local address of a request, a reason to refuse it, and the control message for the reply's source."""
        for level, kind, data in ancillary:
            if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
                ours, destination = data[4:8], data[8:12]
                if destination == self._group and any(ours):
                    return ours, None, [(level, kind, data[:4] + ours + bytes(4))]
                if any(ours):
                    to_many = ours != destination
                else:  # the kernel omits it for datagrams queued before IP_PKTINFO was set
                    ours, to_many = destination, is_many(destination, self._broadcasts())
                return ours, Refusal.DESTINATION if to_many else None, [(level, kind, bytes(4) + ours + bytes(4))]
            if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
                if data[:16] == self._group:
                    return self._bound, None, [(level, kind, bytes(16) + data[16:])]
                to_many = is_many(data[:16], self._broadcasts())
                source = [(level, kind, data if name[3] else data[:16] + bytes(4))]
                return data[:16], Refusal.DESTINATION if to_many else None, source
        return self._bound, None, []

    def _broadcasts(self) -> Container[bytes]:
        gate = self.protocol.gate
        return gate.broadcasts if gate is not None else ()


class UDP(Datagram):
    """`udp`: datagrams of any IP version."""

    scheme = "udp"
    families = INET_FAMILIES
    protocols = frozenset({socket.IPPROTO_UDP})

    def prepare(self, bound: socket.socket) -> None:
        """As the function `prepare`, and then `allow_fragments`; replies to a group stay on the link."""
        prepare(bound)
        if is_group(str(bound.getsockname()[0])):
            limit_ttl(bound, TTL)
        allow_fragments(bound)

    def bind(self, _reactor: object, address: Address) -> Iterator[socket.socket]:
        """Yield sockets bound to each address that `address` stands for. Raises OSError."""
        for bound in inet_sockets(address, socket.SOCK_DGRAM):
            yield _prepared(bound, address)

    def bind_beside(self, bound: socket.socket, address: Address) -> socket.socket:
        """Another socket at the address of a bound one. The kernel assigns each flow to one of them.

        Raises OSError, for example if another user has bound the socket.
        """
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        [other] = inet_sockets(address, socket.SOCK_DGRAM, share=True)
        return _prepared(other, address)

    def listen(
        self,
        reactor: IReactorFDSet,
        bound: socket.socket,
        _address: Address,
        protocol: ServiceDatagrams,
        close: Callable[[], None],
    ) -> UDPPort:
        """The port that serves a bound socket after `startListening`; it calls `close` at the end."""
        return UDPPort(reactor, bound, protocol, close)

    def dial(
        self, request: ConnectRequest, begin: Callable[[Peer, Say], Session], over: Callable[[OSError | None], None]
    ) -> Deferred[DatagramDialogue]:
        """A session with the first address of a name that replies. The Deferred fails with OSError."""
        reactor, address, family = request.reactor, request.address, request.family

        def connect(targets: list[Target]) -> DatagramDialogue:
            return DatagramDialogue(
                reactor, address.scheme, targets, lambda opened: prepare_client(opened, address), begin, over
            )

        return look_up(reactor, address.host, address.port, socket.SOCK_DGRAM, family).addCallback(connect)


def _prepared(bound: socket.socket, address: Address) -> socket.socket:
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    prepare(bound)
    if "df" not in address.options:
        allow_fragments(bound)
    return bound


TRANSPORT: Final = UDP()

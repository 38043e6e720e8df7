"""Datagrams: replies to requests, from the address that received the request.

`ServiceDatagrams` serves a service in any Twisted program:

    reactor.listenUDP(10007, ServiceDatagrams(Upper()), maxPacketSize=65536)

The daemon itself uses `DatagramPort`. It passes the metadata of the kernel to the protocol and never truncates. It
bounds the datagrams of one turn, and counts every send error.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from echod.events import Counters
from echod.gate.access import packed_address
from echod.gate.datagrams import DatagramGate
from echod.gate.refusal import Refusal
from echod.gate.reply_allowance import ReplyAllowance
from echod.model import PLAIN, Arrival, Peer, Service
from echod.socket_names import inet_name
from echod.transports.datagram_faults import WITHHELD, DatagramFaults
from echod.transports.peers import socket_address

_log = Logger()

Send = Callable[[bytes], OSError | None]
"""Sends a datagram to one peer; returns the error, or None."""

LARGEST: Final = 65_536  #: bytes: more than any UDP datagram has (65,507 over IPv4, 65,527 over IPv6)
A_TURN: Final = 16
"""Datagrams served in one turn: a quarter of a millisecond. A stream next to five flooded addresses waits for little
more than one millisecond. A limit in bytes would not bound a flood of empty datagrams."""
BACKLOG_TURNS: Final = 512  #: at the stop: 8,192 datagrams, more than a receive buffer of 4 MiB holds
REST: Final = 0.1  #: seconds without a read after repeated errors: the socket would be reported as readable immediately
ANCILLARY: Final = 256  #: bytes of control messages: destination, hops, traffic class and time fit in 128


def answer_backlog(counters: Counters, read: Callable[[], object]) -> None:
    """Answer queued requests at the stop, until none is left; at most BACKLOG_TURNS, since a flood does not end."""
    for _ in range(BACKLOG_TURNS):
        before = counters.datagrams_in
        read()
        if counters.datagrams_in == before:
            return


class ServiceDatagrams(DatagramProtocol):
    """Answers datagrams by one service, through its gate.

    Without a gate every client is answered, and replies may be larger than their requests.
    """

    noisy = False
    transport: Any

    proxied = False  #: whether each datagram begins with a PROXY header
    never_larger = False  #: whether no source may get a reply larger than its request: the socket is of a group
    conversational = False  #: whether `handle` handles datagrams, in place of `answer`
    filter_refused: Callable[[str], None] | None = None  #: called once if the kernel refuses the filter of a flood

    def __init__(
        self,
        service: Service,
        *,
        gate: DatagramGate | None = None,
        counters: Counters | None = None,
        scheme: str = "udp",
        loopback: bool = False,
    ) -> None:
        self.service = service
        self.gate = gate
        self.counters = counters or Counters()
        self.scheme = scheme
        self.loopback = loopback
        self.faults: DatagramFaults | None = None  #: those of the service

    def stopProtocol(self) -> None:
        """Drop the datagrams that faults delay."""
        if self.faults is not None:
            self.faults.stop()

    def datagramReceived(self, datagram: bytes, addr: tuple[Any, ...]) -> None:
        """Handle a datagram from Twisted."""
        host, port = str(addr[0]), int(addr[1])
        packed = packed_address(host)
        if not self.admits(datagram, packed, port):
            return
        peer = Peer(self.scheme, socket_address(self.transport.getHost()), inet_name(addr))
        send = partial(self._write, addr)
        if self.conversational:
            self.handle(datagram, peer, PLAIN, packed, addr, send)
        else:
            self.serve(datagram, peer, PLAIN, packed, send)

    def admits(self, datagram: bytes, host: bytes, port: int, refusal: Refusal | None = None) -> bool:
        """Count a datagram, and return whether to serve it.

        The gate counts the peer by `host`. `refusal` is a reason that only the transport can detect.
        """
        counters = self.counters
        counters.datagrams_in += 1
        counters.bytes_in += len(datagram)
        gate = self.gate
        if refusal is None and gate is not None:
            refusal = gate.admit(host, port, datagram, loopback=self.on_loopback(host))
        if refusal is not None:
            counters.refuse(refusal)
        return refusal is None

    def on_loopback(self, host: bytes) -> bool:
        """Whether the limits for listeners on loopback apply to a peer."""
        return self.loopback

    def serve(
        self,
        request: bytes,
        peer: Peer,
        arrival: Arrival,
        host: bytes,
        send: Send,
        unreachable: Refusal | None = None,
    ) -> None:
        """Let the service reply to an admitted datagram; `unreachable` is the reason if no reply can be sent."""
        peer, send = self.with_faults(peer, host, send)
        try:
            self.service.datagram(request, peer, arrival, Replies(self, len(request), host, send, unreachable))
        except Exception:  # a bug of the service; the listener continues
            _log.failure("the service failed on a datagram from {peer}", peer=peer.remote)

    def with_faults(self, peer: Peer, host: bytes, send: Send) -> tuple[Peer, Send]:
        """A peer and its `send`, with the faults of the service if it has any."""
        if self.faults is None:
            return peer, send
        repeats = not self.never_larger and (self.gate is None or self.gate.may_be_larger(host))
        return self.faults.around(peer, host, send, repeats=repeats)

    def answer(self, request: bytes, peer: Peer) -> bytes | None:
        """The reply by the short form of the service; None if it has no reply, or if the service failed."""
        try:
            return self.service.answer(request, peer)
        except Exception:  # a bug of the service; the listener continues
            _log.failure("the service failed on a datagram from {peer}", peer=peer.remote)
            return None

    def _write(self, addr: tuple[Any, ...], data: bytes) -> OSError | None:
        if self.transport is None:  # the port is closed
            return OSError(errno.EBADF, os.strerror(errno.EBADF))
        try:
            self.transport.write(data, addr)
        except OSError as error:
            return error
        return None

    def handle(self, datagram: bytes, peer: Peer, arrival: Arrival, host: bytes, name: Any, send: Send) -> None:
        """For conversational services: handle an admitted datagram of `name`; `send` sends to it, also later."""
        raise NotImplementedError

    def unreachable(self, name: Any) -> None:
        """For conversational services: the host of `name` has reported its port as unreachable."""
        raise NotImplementedError


def _never() -> bool:
    return False


class Replies:
    """Sends replies to one request, now or later. It counts them, including those that it does not send."""

    __slots__ = ("_allowance", "_counters", "_send", "_unreachable")

    def __init__(
        self, datagrams: ServiceDatagrams, size: int, host: bytes, send: Send, unreachable: Refusal | None
    ) -> None:
        gate = datagrams.gate
        larger = _never if datagrams.never_larger or gate is None else partial(gate.may_be_larger, host)
        self._allowance = ReplyAllowance(size, larger) if gate is not None else None
        self._send = send
        self._counters = datagrams.counters
        self._unreachable = unreachable

    def __call__(self, data: bytes) -> bool:
        """Send one reply. Returns False if that was not possible."""
        counters = self._counters
        if self._allowance is not None and not self._allowance.takes(len(data)):
            counters.refuse(Refusal.LARGER)
        elif self._unreachable is not None:
            counters.refuse(self._unreachable)
        elif (error := self._send(data)) is None:
            counters.datagrams_out += 1
            counters.bytes_out += len(data)
            return True
        elif error is WITHHELD:  # the service has sent the reply: a fault looks like the network
            return True
        else:
            counters.refuse(Refusal.SEND)
        return False


class DatagramPort(FileDescriptor):
    """A bound datagram socket, and the callable that closes it. A subclass implements its family."""

    largest = LARGEST
    ancillary = ANCILLARY

    def __init__(
        self, reactor: IReactorFDSet, bound: socket.socket, protocol: ServiceDatagrams, close: Callable[[], None]
    ) -> None:
        super().__init__(reactor)
        self.reactor: Any = reactor
        self.socket = bound
        self.protocol = protocol
        self._close_socket = close
        self._failures = 0  # of receiving, in a row
        self._resume: DelayedCall | None = None

    def fileno(self) -> int:
        """The descriptor that the reactor watches."""
        return self.socket.fileno()

    def startListening(self) -> None:
        """Serve from now on."""
        self.connected = 1
        self.protocol.startProtocol()
        self.startReading()

    def stopListening(self) -> None:
        """Answer queued requests, then close the socket."""
        if self.connected:
            self.connected = 0
            answer_backlog(self.protocol.counters, self.doRead)
            self._wake()
            self.stopReading()
            self.protocol.stopProtocol()
            self._close_socket()

    def release(self) -> None:
        """Leave the socket to another port, with the queued datagrams. Those that faults delay are still sent."""
        self.connected = 0
        self._wake()
        self.stopReading()
        self.protocol.faults = None
        self.protocol.stopProtocol()

    def doRead(self) -> None:
        """Answer queued datagrams, up to A_TURN."""
        for _ in range(A_TURN):
            try:
                datagram, ancillary, flags, name = self.socket.recvmsg(self.largest, self.ancillary)
            except BlockingIOError:
                return
            except OSError:
                if self._failed():
                    return
                continue
            self._failures = 0
            if flags & socket.MSG_TRUNC:
                self.protocol.counters.refuse(Refusal.TRUNCATED)
            else:
                self.serve(datagram, ancillary, name)

    def _failed(self) -> bool:
        """Count an error; whether to stop reading now. One error may be of an earlier reply (ip(7), IP_RECVERR)."""
        self._failures += 1
        if self._failures < A_TURN:
            return False
        if self.connected and self._resume is None:
            self.stopReading()
            self._resume = self.reactor.callLater(REST, self._read_again)
        return True

    def _read_again(self) -> None:
        self._resume = None
        self.startReading()

    def _wake(self) -> None:
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None

    def serve(self, datagram: bytes, ancillary: list[tuple[int, int, bytes]], name: Any) -> None:
        """Answer one datagram from `name`."""
        raise NotImplementedError

    def reach(self, data: bytes, ancillary: list[tuple[int, int, bytes]], name: Any) -> OSError | None:
        """Send a datagram; returns the error, or None."""
        try:
            self.socket.sendmsg([data], ancillary, 0, name)
        except OSError as error:
            return error
        return None

    def forget(self) -> None:
        """Drop cached decisions about sources, because the access lists or the addresses of echod have changed."""

    def connectionLost(self, reason: object) -> None:
        """Stop, because the reactor ends or the socket failed."""
        self.stopListening()

    def logPrefix(self) -> str:
        """The name in Twisted's own messages."""
        return self.protocol.scheme

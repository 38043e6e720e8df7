"""Datagrams: one question, at most one answer, from the address that was asked.

`ServiceDatagrams` serves a service in any Twisted program:

    reactor.listenUDP(10007, ServiceDatagrams(Upper()), maxPacketSize=65536)

The daemon itself uses `DatagramPort`, which tells the protocol more of what the kernel knows, never truncates,
never lets a flood keep the reactor, and turns every error of a send into a count.
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

from echod.events import Tally
from echod.gate.access import packed_address
from echod.gate.datagrams import DatagramGate
from echod.gate.refusal import Refusal
from echod.gate.reply_allowance import ReplyAllowance
from echod.model import PLAIN, Arrival, Peer, Service
from echod.names import inet_name
from echod.transports.peers import socket_address

_log = Logger()

Send = Callable[[bytes], OSError | None]
"""Sends a datagram to one peer; returns what went wrong."""

LARGEST: Final = 65_536  #: octets: more than any UDP datagram has (65,507 over IPv4, 65,527 over IPv6)
A_TURN: Final = 16
"""Datagrams before others have their turn: a quarter of a millisecond, so that a stream beside five flooded addresses
waits for little more than one. Bytes would not bound a flood of empty ones."""
BACKLOG_TURNS: Final = 512  #: at the stop: 8,192 datagrams, more than a receive buffer of 4 MiB holds
REST: Final = 0.1  #: seconds without a read where the kernel only fails: it would say that there is something, at once
ANCILLARY: Final = 256  #: octets of control messages: destination, hops, traffic class and time fit in 128


def answer_backlog(tally: Tally, read: Callable[[], object]) -> None:
    """Answer who asked before the stop: until nothing comes, or for BACKLOG_TURNS, for a flood has no end."""
    for _ in range(BACKLOG_TURNS):
        before = tally.datagrams_in
        read()
        if tally.datagrams_in == before:
            return


class ServiceDatagrams(DatagramProtocol):
    """Answers datagrams by one service, through its gate.

    Without a gate everybody is answered, and answers may be larger than their questions.
    """

    noisy = False
    transport: Any

    conversational = False  #: whether `heard` takes what comes, in place of `answer`

    def __init__(
        self,
        service: Service,
        *,
        gate: DatagramGate | None = None,
        tally: Tally | None = None,
        scheme: str = "udp",
        loopback: bool = False,
    ) -> None:
        self.service = service
        self.gate = gate
        self.tally = tally or Tally()
        self.scheme = scheme
        self.loopback = loopback

    def datagramReceived(self, datagram: bytes, addr: tuple[Any, ...]) -> None:
        """Twisted's way in."""
        host, port = str(addr[0]), int(addr[1])
        octets = packed_address(host)
        if not self.admits(datagram, octets, port):
            return
        peer = Peer(self.scheme, socket_address(self.transport.getHost()), inet_name(addr))
        send = partial(self._write, addr)
        if self.conversational:
            self.heard(datagram, peer, PLAIN, octets, addr, send)
        else:
            self.serve(datagram, peer, PLAIN, octets, send)

    def admits(self, datagram: bytes, host: bytes, port: int, refusal: Refusal | None = None) -> bool:
        """Whether a datagram that came is to be served: counted either way.

        `host` is what the gate knows the peer by; `refusal` is what the transport sees, and the gate cannot.
        """
        tally = self.tally
        tally.datagrams_in += 1
        tally.bytes_in += len(datagram)
        gate = self.gate
        if refusal is None and gate is not None:
            refusal = gate.admit(host, port, datagram, loopback=self.loopback)
        if refusal is not None:
            tally.refuse(refusal)
        return refusal is None

    def serve(
        self,
        request: bytes,
        peer: Peer,
        arrival: Arrival,
        host: bytes,
        send: Send,
        unreachable: Refusal | None = None,
    ) -> None:
        """Let the service reply to a datagram that was admitted; `unreachable` is why nothing can be sent."""
        try:
            self.service.datagram(request, peer, arrival, Replies(self, len(request), host, send, unreachable))
        except Exception:  # a bug of the service, and no reason to stop
            _log.failure("the service failed on a datagram of {peer}", peer=peer.remote)

    def answer(self, request: bytes, peer: Peer) -> bytes | None:
        """The reply by the short form of the service; None if there is none, or if the service failed."""
        try:
            return self.service.answer(request, peer)
        except Exception:  # a bug of the service, and no reason to stop
            _log.failure("the service failed on a datagram of {peer}", peer=peer.remote)
            return None

    def _write(self, addr: tuple[Any, ...], data: bytes) -> OSError | None:
        if self.transport is None:  # the port is closed
            return OSError(errno.EBADF, os.strerror(errno.EBADF))
        try:
            self.transport.write(data, addr)
        except OSError as error:
            return error
        return None

    def heard(self, datagram: bytes, peer: Peer, arrival: Arrival, host: bytes, name: Any, send: Send) -> None:
        """Where the service is conversational: take an admitted datagram of `name`, whom `send` reaches, later too."""
        raise NotImplementedError

    def unreachable(self, name: Any) -> None:
        """Where the service is conversational: the host of `name` has said that no socket has its port."""
        raise NotImplementedError


class Replies:
    """Sends replies to one request, now or later, and counts them: those too that are not sent."""

    __slots__ = ("_allowance", "_send", "_tally", "_unreachable")

    def __init__(
        self, datagrams: ServiceDatagrams, size: int, host: bytes, send: Send, unreachable: Refusal | None
    ) -> None:
        gate = datagrams.gate
        self._allowance = ReplyAllowance(size, partial(gate.may_be_larger, host)) if gate is not None else None
        self._send = send
        self._tally = datagrams.tally
        self._unreachable = unreachable

    def __call__(self, data: bytes) -> None:
        """Send one reply."""
        tally = self._tally
        if self._allowance is not None and not self._allowance.takes(len(data)):
            tally.refuse(Refusal.LARGER)
        elif self._unreachable is not None:
            tally.refuse(self._unreachable)
        elif self._send(data) is None:
            tally.datagrams_out += 1
            tally.bytes_out += len(data)
        else:
            tally.refuse(Refusal.SEND)


class DatagramPort(FileDescriptor):
    """A bound datagram socket, and what closes it at the end; a subclass knows its family."""

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
        """Serve no more."""
        if self.connected:
            self.connected = 0
            answer_backlog(self.protocol.tally, self.doRead)
            self._wake()
            self.stopReading()
            self.protocol.stopProtocol()
            self._close_socket()

    def release(self) -> None:
        """Leave the socket to another port, with what waits in it."""
        self.connected = 0
        self._wake()
        self.stopReading()
        self.protocol.stopProtocol()

    def doRead(self) -> None:
        """Answer what waits, up to A_TURN."""
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
                self.protocol.tally.refuse(Refusal.TRUNCATED)
            else:
                self.serve(datagram, ancillary, name)

    def _failed(self) -> bool:
        """Once is what an earlier answer met on its way (ip(7), IP_RECVERR); again and again, a reason to rest."""
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
        """Send a datagram; what went wrong, or None."""
        try:
            self.socket.sendmsg([data], ancillary, 0, name)
        except OSError as error:
            return error
        return None

    def forget(self) -> None:
        """The lists, or the ports and addresses of echod, have changed: decisions about sources must be taken again."""

    def connectionLost(self, reason: object) -> None:
        """The reactor ends, or found the socket broken."""
        self.stopListening()

    def logPrefix(self) -> str:
        """How Twisted's own messages name us."""
        return self.protocol.scheme

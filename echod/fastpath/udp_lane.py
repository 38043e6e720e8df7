"""The common part of all lanes of UDP sockets: start and end, failures of receiving, and the counters."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from select import EPOLLIN

from twisted.internet.base import DelayedCall

from echod.fastpath import syscalls
from echod.fastpath.gate_cache import GateCache
from echod.fastpath.loop import Loop, Ready
from echod.fastpath.native_library import NativeDatagramLane
from echod.fastpath.sockaddr import is_mapped, packed
from echod.gate.datagrams import is_many
from echod.gate.refusal import Refusal
from echod.transports.broadcast_addresses import broadcasts
from echod.transports.datagram import A_TURN, REST, answer_backlog
from echod.transports.udp import UDPPort
from echod.transports.udp_options import prepare


class UDPLane(ABC):
    """A UDP socket on the fast path. It replaces a UDPPort of the plain path, which serves all other cases.

    A subclass sets `_serve`, the function that serves a turn.
    """

    _serve: Ready
    _native: NativeDatagramLane | None = None

    def __init__(self, loop: Loop, plain: UDPPort) -> None:
        self._loop = loop
        self._plain = plain
        self._protocol = plain.protocol
        self._socket = plain.socket
        self._six = plain.socket.family == socket.AF_INET6
        bound = packed(plain.socket.getsockname()[0])
        self._wildcard = not any(bound)
        never_mapped = self._six and not self._wildcard and not is_mapped(bound)
        self._gate_cache = GateCache(self._protocol, six=self._six, never_mapped=never_mapped)
        self._failures = 0  # consecutive failures of recvmmsg
        self._resume: DelayedCall | None = None

    @abstractmethod
    def _prepare_socket(self) -> None:
        """Set the options that the lane needs."""

    @abstractmethod
    def discard(self) -> None:
        """Free the memory of a lane that was not started or has ended."""

    def startListening(self) -> None:
        """Start to receive datagrams."""
        self._prepare_socket()
        self._plain.filter.begin()
        self._plain.connected = 1  # so that it can be stopped without having listened
        self._loop.watch(self._socket.fileno(), EPOLLIN, self._serve, native=self._native)

    def stopListening(self) -> None:
        """Reply to waiting datagrams, then close the socket."""
        descriptor = self._socket.fileno()
        answer_backlog(self._protocol.counters, lambda: self._serve(descriptor, EPOLLIN))
        self._leave()
        self._plain.stopListening()
        self.discard()

    def release(self) -> None:
        """Leave the open socket to another port, with the datagrams waiting in it."""
        self._leave()
        prepare(self._socket)
        self._plain.release()
        self.discard()

    def forget(self) -> None:
        """Clear caches: the service, access lists, or our own ports or addresses, have changed."""
        self._gate_cache.forget()
        self._plain.forget()

    def _failed(self, descriptor: int) -> None:
        """Ignore a failure, as the plain path does; after A_TURN consecutive failures, pause for REST seconds."""
        self._failures += 1
        if self._failures >= A_TURN and self._resume is None:
            self._loop.forget(descriptor)
            self._loop.yield_to_reactor()
            self._resume = self._plain.reactor.callLater(REST, self._serve_again)

    def _serve_again(self) -> None:
        self._resume = None
        self._loop.watch(self._socket.fileno(), EPOLLIN, self._serve, native=self._native)

    def _leave(self) -> None:
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        else:
            self._loop.forget(self._socket.fileno())

    def _count(self, datagrams: int, size: int) -> None:
        counters = self._protocol.counters
        counters.datagrams_in += datagrams
        counters.bytes_in += size
        counters.datagrams_out += datagrams
        counters.bytes_out += size

    def _refuse(self, refusal: Refusal, datagrams: int, size: int) -> None:
        counters = self._protocol.counters
        counters.datagrams_in += datagrams
        counters.bytes_in += size
        counters.refuse(refusal, datagrams)

    def _uncount(self, datagrams: int, size: int) -> None:
        counters = self._protocol.counters
        counters.datagrams_out -= datagrams
        counters.bytes_out -= size
        counters.refuse(Refusal.SEND, datagrams)


def is_batched(plain: UDPPort) -> bool:
    """Whether a lane can serve a port: it is bound to a unicast address or a wildcard.

    Datagrams with PROXY headers or faults are left to the plain path.
    """
    to_many = is_many(packed(plain.socket.getsockname()[0]), broadcasts() or ())
    return syscalls.batches and not to_many and not plain.protocol.proxied and plain.protocol.faults is None

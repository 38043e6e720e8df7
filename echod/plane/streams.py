"""Streams on the plane: a connection is a descriptor and a few numbers, not an object.

      accept4 ─► gate ─► [ carry ] ◄──────────────── drained ──┐
                          │  read, transform, write            │
                          │  identity: socket ─► pipe ─► socket (splice: bytes never enter the process)
                          ├─ short write ─► [ drain ]: only EPOLLOUT is watched, nothing is read
                          ├─ end of input ─► close: everything is back
                          └─ error ─► close

Rules:

* One read a round for each connection, of `limits.buffer` octets at most: that is also all that one can hold.
* A short write stops the reading. That is the backpressure, and what makes half-close right: the end of input
  is only seen once everything before it has gone.
* What waits stays in the pipe it is in (`pipes`), and counts as unsent. While too much of it waits for all together
  (`gate.unsent`), a round reads a page.
* The gate, counters, events and time limits are those of the factory, as on the plain way.
* When the listener stops, its connections become Conversations, with what waits: the plain way drains them.
"""

from __future__ import annotations

import os
import socket
import sys
from functools import partial
from select import EPOLLIN, EPOLLOUT
from typing import Any, Final

from twisted.internet.base import DelayedCall
from twisted.logger import Logger

from echod.events import Closing
from echod.gate.unsent import KERNEL_BUFFER, LITTLE, Pressure
from echod.model import Transform, identity
from echod.names import SocketAddress, inet, unix_name
from echod.plane import calls
from echod.plane.loop import Loop, Ready
from echod.plane.pipes import Pipe, Pipes, Waiting
from echod.transports.accept import A_TURN, RESET_ON_CLOSE, Reluctance, Reserve, StreamPort, accept_backlog
from echod.transports.sockets import scoped

_log = Logger()

NAME_ROOM: Final = 128  #: octets of struct sockaddr_storage


class StreamLane:
    """A listening socket and its connections. It stands where the plain way has a StreamPort, and uses its factory.

    Its pipes wait full only on descriptors below `pipes_below`.
    """

    def __init__(self, loop: Loop, plain: StreamPort, reserve: Reserve, pipes_below: int = sys.maxsize) -> None:
        self._loop = loop
        self._plain = plain
        self._factory = plain.factory
        self._reactor: Any = plain.reactor
        self._listening = plain.socket
        transform = type(plain.factory.service).transform
        if transform is None:
            raise ValueError(f"{plain.factory.service.kind} needs its bytes in Python")
        self._transform: Transform = transform
        self._most = plain.factory.limits.buffer  # octets that a round reads
        self._reluctance = Reluctance(plain.factory.place, reserve, self._tell)
        self._resume: DelayedCall | None = None
        self._name = calls.ffi.new("char[]", NAME_ROOM)
        self._name_octets = calls.ffi.buffer(self._name)
        self._length = calls.ffi.new("unsigned int *")
        self._tcp = plain.socket.family != socket.AF_UNIX
        self._clamped = calls.ffi.new("int *", KERNEL_BUFFER)
        self._linger = calls.ffi.new("char[]", RESET_ON_CLOSE)
        # What every connection has is in lists by descriptor, what few have in dicts.
        self._hosts: dict[int, bytes] = {}  # the open connections, and the host that the gate knows each by
        self._carried: list[int] = []  # octets that came, by descriptor
        self._grown: dict[int, int] = {}  # octets that the answers had more (or less) than what came
        self._settled: dict[int, tuple[int, int]] = {}  # octets in and out that the tally has already
        self._seen: list[int] = []  # octets that had gone when `watch` looked last, by descriptor
        self._since: list[float] = []  # when that was new, by descriptor
        self._peers: dict[int, SocketAddress] = {}  # only while somebody hears of connections
        self._waiting: dict[int, Waiting] = {}
        self._pipe: Pipe  # the one that everybody uses in turn: `_pipes` says which, here at once and when it changes
        self._pipes = Pipes(self._most, self._use_pipe, pipes_below)
        self._carry = self._splicing() if transform is identity else self._changing()

    @staticmethod
    def suits(plain: StreamPort) -> bool:
        """Whether the plane can serve what a port of the plain way would."""
        return calls.available and plain.factory.service.transform is not None

    # the listener

    def startListening(self) -> None:
        """Serve from now on."""
        self._factory.carrier = self
        self._factory.doStart()
        self._loop.watch(self._listening.fileno(), EPOLLIN, self._accept)

    def stopListening(self) -> None:
        """Serve no new connection but those that wait already; the open ones go the plain way, and are drained."""
        if self._resume is None:
            accept_backlog(partial(self._accept, self._listening.fileno()))
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        else:
            self._loop.forget(self._listening.fileno())
        for descriptor in list(self._hosts):
            self._hand_over(descriptor)
        self._factory.carrier = None
        self._pipes.close()
        self._plain.close_socket()
        self._factory.doStop()

    def _accept(self, listening: int, _events: int = EPOLLIN) -> bool:
        for _ in range(A_TURN):
            self._length[0] = NAME_ROOM
            descriptor = calls.C.accept4(listening, self._name, self._length, calls.SOCK_NONBLOCK | calls.SOCK_CLOEXEC)
            if descriptor < 0:
                if calls.would_block():
                    return False
                if pause := self._reluctance.pause_after(calls.failure(), self._plain.shed):
                    self._loop.forget(listening)
                    self._resume = self._reactor.callLater(pause, self._accept_again)
                    self._loop.yield_to_reactor()
                    return False
                continue
            self._reluctance.succeeded()
            host = self._host()
            refusal = self._factory.admit(host, self._peer)
            if refusal:
                self._refuse(descriptor)
            else:
                self._begin(descriptor, host)
        return True

    def _accept_again(self) -> None:
        self._resume = None
        self._loop.watch(self._listening.fileno(), EPOLLIN, self._accept)

    def _host(self) -> bytes:
        """The 4 or 16 octets of who was just accepted; none for a Unix socket."""
        name = self._name_octets
        family = name[0:2]
        if family == _AF_INET:
            return bytes(name[4:8])
        if family == _AF_INET6:
            return bytes(name[8:24])
        return b""

    def _peer(self) -> SocketAddress:
        name = bytes(self._name_octets[: self._length[0]])
        port = int.from_bytes(name[2:4], "big")
        if name[:2] == _AF_INET:
            return inet(socket.inet_ntop(socket.AF_INET, name[4:8]), port)
        if name[:2] == _AF_INET6:
            host = socket.inet_ntop(socket.AF_INET6, name[8:24])
            scope = int.from_bytes(name[24:28], sys.byteorder)
            return inet(scoped(host, scope) if scope else host, port)
        return unix_name(name[2:].rstrip(b"\0") if name[2:3] != b"\0" else name[2:])

    def _refuse(self, descriptor: int) -> None:
        calls.C.setsockopt(descriptor, socket.SOL_SOCKET, socket.SO_LINGER, self._linger, len(RESET_ON_CLOSE))
        os.close(descriptor)

    # the connections

    def _begin(self, descriptor: int, host: bytes) -> None:
        while descriptor >= len(self._carried):
            self._carried.append(0)
            self._seen.append(0)
            self._since.append(0.0)
        self._hosts[descriptor] = host
        self._carried[descriptor] = 0
        self._seen[descriptor] = -1
        if self._factory.mark.pressure:
            self._clamp(descriptor)
        if self._factory.events.connections:
            self._peers[descriptor] = self._peer()
        try:
            self._loop.watch(descriptor, EPOLLIN, self._carry)
        except OSError:  # no memory for another watch, or this user has too many (epoll(7))
            self._reset(descriptor, Closing.LOST)

    def _splicing(self) -> Ready:
        """Makes the call that carries for echo: what came goes out again without being looked at.

        It is a closure because local names are found faster than attributes: two of seven microseconds.
        """
        splice, flags, carried = os.splice, calls.SPLICE_FLAGS, self._carried
        by_reading = self._changing()

        def carry(descriptor: int, events: int) -> None:
            out, into = self._pipe
            left = 0  # octets in the pipe: where a splice fails, this tells the one into it from the one out of it
            try:
                left = came = splice(descriptor, into, self._most, None, None, flags)
                if not came:
                    self._end(descriptor, Closing.DONE)
                    return
                carried[descriptor] += came
                left -= splice(out, descriptor, left, None, None, flags)
                while left:
                    left -= splice(out, descriptor, left, None, None, flags)
            except BlockingIOError:
                if left:
                    self._keep(descriptor, left)
                else:  # urgent data stops a splice, and not a read (tcp(7)); or there was nothing after all
                    by_reading(descriptor, events)
            except OSError:
                if left:
                    self._pipes.empty(left)
                self._end(descriptor, Closing.LOST, left)

        return carry

    def _changing(self) -> Ready:
        """Makes the call that carries for every other transform: what came goes out changed."""
        read, write, carried, transform = os.read, os.write, self._carried, self._transform

        def carry(descriptor: int, _events: int) -> None:
            left, answer = 0, b""  # octets that came, and then of the answer: what is lost where a call fails
            try:
                data = read(descriptor, self._most)
                if not data:
                    self._end(descriptor, Closing.DONE)
                    return
                left = len(data)
                carried[descriptor] += left
                answer = transform(data)
                left = len(answer)
                if left != len(data):  # of another package's kind; ours have one octet for each
                    self._grown[descriptor] = self._grown.get(descriptor, 0) + left - len(data)
                sent = write(descriptor, answer)
                if sent != left:
                    self._wait(descriptor, Waiting(left - sent, None, memoryview(answer[sent:])))
            except BlockingIOError:
                if left:
                    self._wait(descriptor, Waiting(left, None, memoryview(answer)))
            except OSError:
                self._end(descriptor, Closing.LOST, left)
            except Exception:  # a bug of the service, and no reason to leave its peer waiting
                _log.failure("the service failed; a connection of {place} is reset", place=self._factory.place)
                self._reset(descriptor, Closing.FAILED, left)

        return carry

    def _keep(self, descriptor: int, left: int) -> None:
        try:
            waiting = self._pipes.keep(left)
        except Exception:  # no memory, or a bug: what is left in the pipe must not reach the next connection
            self._pipes.renew()
            self._reset(descriptor, Closing.FAILED, left)
            raise
        self._wait(descriptor, waiting)

    def _wait(self, descriptor: int, waiting: Waiting) -> None:
        mark = self._factory.mark
        mark.change(waiting.whole)
        self._waiting[descriptor] = waiting
        if mark.pressure:
            self._clamp(descriptor)
            self._factory.tally.held_back += mark.pressure is Pressure.FULL
        self._seen[descriptor] = -1  # the time to take it begins now
        try:
            self._loop.change(descriptor, EPOLLOUT, self._drain)
        except Exception:  # no memory, or a bug: nobody would ever tell us that the peer takes more
            _log.failure("a connection of {place} is reset", place=self._factory.place)
            self._reset(descriptor, Closing.FAILED)

    def _drain(self, descriptor: int, _events: int) -> None:
        """Send what waits; read on once it has gone."""
        waiting = self._waiting[descriptor]
        try:
            waiting.send(descriptor)
        except BlockingIOError:
            return
        except OSError:
            self._end(descriptor, Closing.LOST)
            return
        if not waiting.left:
            del self._waiting[descriptor]
            self._factory.mark.change(-waiting.whole)
            self._pipes.give_back(waiting)
            self._loop.change(descriptor, EPOLLIN, self._carry)

    def _end(self, descriptor: int, reason: Closing, unsent: int = 0) -> None:
        """Close, and count: whatever `unsent` or still waits had come and did not go."""
        waiting = self._waiting.pop(descriptor, None)
        if waiting is not None:
            unsent += waiting.left
            self._factory.mark.change(-waiting.whole)
            self._pipes.drop(waiting)
        host = self._hosts.pop(descriptor)
        os.close(descriptor)
        came, gone = self._settle_last(descriptor, unsent)
        self._factory.ended(host, reason, came, gone, self._peers.pop(descriptor, None))

    def _reset(self, descriptor: int, reason: Closing, unsent: int = 0) -> None:
        calls.C.setsockopt(descriptor, socket.SOL_SOCKET, socket.SO_LINGER, self._linger, len(RESET_ON_CLOSE))
        self._end(descriptor, reason, unsent)

    def watch(self, now: float) -> None:
        """End what has been still for too long, as Conversation.watch does."""
        limits = self._factory.limits
        carried, grown, seen, since = self._carried, self._grown, self._seen, self._since
        for descriptor in list(self._hosts):
            waiting = self._waiting.get(descriptor)
            gone = carried[descriptor] + grown.get(descriptor, 0) - (waiting.left if waiting else 0)
            if gone != seen[descriptor]:
                seen[descriptor] = gone
                since[descriptor] = now
            elif waiting and limits.stall and now - since[descriptor] >= limits.stall:
                self._reset(descriptor, Closing.STALL)
            elif not waiting and limits.idle and now - since[descriptor] >= limits.idle:
                self._end(descriptor, Closing.IDLE)

    def hold_back(self, pressure: Pressure) -> None:
        """So much waits for all together, as Conversation.hold_back hears it."""
        buffer = self._factory.limits.buffer
        self._most = min(buffer, LITTLE) if pressure is Pressure.FULL else buffer
        if pressure:
            self._factory.tally.held_back += len(self._waiting) * (pressure is Pressure.FULL)
            for descriptor in self._waiting:
                self._clamp(descriptor)

    def _clamp(self, descriptor: int) -> None:
        """As transports.sockets.clamp."""
        if self._tcp:
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                calls.C.setsockopt(descriptor, socket.SOL_SOCKET, option, self._clamped, calls.ffi.sizeof("int"))

    def _hand_over(self, descriptor: int) -> None:
        """Let the plain way go on with a connection, and with what waits for it."""
        self._loop.forget(descriptor)
        waiting = self._waiting.pop(descriptor, None)
        unsent = b""
        if waiting is not None:
            unsent = waiting.content()
            self._factory.mark.change(-waiting.whole)
            self._pipes.give_back(waiting)
        host = self._hosts.pop(descriptor)
        self._peers.pop(descriptor, None)
        came, gone = self._settle_last(descriptor, len(unsent))
        self._plain.take_over(descriptor, host, came, gone, unsent)

    def settle(self) -> None:
        """Bring the octets of every connection into the tally, as Conversation.settle does."""
        for descriptor in self._hosts:
            waiting = self._waiting.get(descriptor)
            self._settled[descriptor] = self._settle(descriptor, waiting.left if waiting else 0)

    def _settle(self, descriptor: int, unsent: int) -> tuple[int, int]:
        """Bring what came and went since the last time into the tally; returns all that came, and went."""
        came = self._carried[descriptor]
        gone = came + self._grown.get(descriptor, 0) - unsent
        came_before, gone_before = self._settled.get(descriptor, (0, 0))
        self._factory.tally.bytes_in += came - came_before
        self._factory.tally.bytes_out += gone - gone_before
        return came, gone

    def _settle_last(self, descriptor: int, unsent: int) -> tuple[int, int]:
        """The same, for a connection that leaves the plane."""
        came, gone = self._settle(descriptor, unsent)
        self._settled.pop(descriptor, None)
        self._grown.pop(descriptor, None)
        return came, gone

    def _use_pipe(self, pipe: Pipe) -> None:
        self._pipe = pipe

    def _tell(self, event: str, **fields: object) -> None:
        self._factory.events.tell(event, service=self._factory.name, **fields)


_AF_INET: Final = int(socket.AF_INET).to_bytes(2, sys.byteorder)  # as sa_family_t stands in memory
_AF_INET6: Final = int(socket.AF_INET6).to_bytes(2, sys.byteorder)

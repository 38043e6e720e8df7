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
* What waits is held in the pipe it is in; the number of such pipes is bounded, and beyond it what waits is read
  into memory. The gate, counters, events and time limits are those of the factory, as on the plain way.
* A connection that stops being simple becomes a Conversation, with what waits: `hand_over`.
"""

from __future__ import annotations

import fcntl
import os
import socket
from select import EPOLLIN, EPOLLOUT
from typing import Any, Final

from twisted.internet.base import DelayedCall

from echod.events import Closing
from echod.model import Transform, identity
from echod.names import SocketAddress, inet, unix_name
from echod.plane import calls
from echod.plane.loop import Loop
from echod.transports.accept import A_TURN, RESET_ON_CLOSE, Reluctance, Reserve, StreamPort

STUCK_PIPES: Final = 256
"""Pipes that may wait full, of a listener: with 64 KiB each, 16 MiB of the 64 MiB that the kernel lets a user
have without privilege (pipe-user-pages-soft)."""
SPARE_PIPES: Final = 16  #: empty pipes that are kept for the next who get stuck

NAME_ROOM: Final = 128  #: octets of struct sockaddr_storage


class Stuck:
    """What waits for one connection: in a pipe of its own, or in memory."""

    __slots__ = ("data", "left", "pipe")

    def __init__(self, left: int, pipe: tuple[int, int] | None, data: memoryview | None) -> None:
        self.left = left
        self.pipe = pipe
        self.data = data


class StreamLane:
    """A listening socket and its connections. It stands where the plain way has a StreamPort, and uses its factory."""

    def __init__(self, loop: Loop, plain: StreamPort, reserve: Reserve) -> None:
        self._loop = loop
        self._plain = plain
        self._factory = plain.factory
        self._reactor: Any = plain.reactor
        self._listening = plain.socket
        transform = type(plain.factory.service).transform
        if transform is None:
            raise ValueError(f"{plain.factory.service.kind} needs its bytes in Python")
        self._transform: Transform = transform
        self._carry = self._splice if transform is identity else self._change
        self._buffer = int(os.environ.get("XBUF", plain.factory.limits.buffer))
        self._reluctance = Reluctance(plain.factory.place, reserve, self._tell)
        self._resume: DelayedCall | None = None
        self._name = calls.ffi.new("char[]", NAME_ROOM)
        self._name_octets = calls.ffi.buffer(self._name)
        self._length = calls.ffi.new("unsigned int *")
        self._linger = calls.ffi.new("char[]", RESET_ON_CLOSE)
        self._hosts: dict[int, bytes] = {}  # the open connections, and the host that the gate knows each by
        self._carried: list[int] = []  # octets that came, by descriptor
        self._seen: list[int] = []  # octets that had gone when `watch` looked last, by descriptor
        self._since: list[float] = []  # when that was new, by descriptor
        self._peers: dict[int, SocketAddress] = {}  # only while somebody hears of connections
        self._stuck: dict[int, Stuck] = {}
        self._stuck_pipes = 0
        self._spare: list[tuple[int, int]] = []
        self._pipe = self._new_pipe()

    # the listener

    def startListening(self) -> None:
        """Serve from now on."""
        self._factory.also_watch = self._watch
        self._factory.doStart()
        self._loop.watch(self._listening.fileno(), EPOLLIN, self._accept)

    def stopListening(self) -> None:
        """Serve no new connection; those that are open go the plain way, where they are drained."""
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        else:
            self._loop.forget(self._listening.fileno())
        for descriptor in list(self._hosts):
            self._hand_over(descriptor)
        self._factory.also_watch = None
        for pipe in (self._pipe, *self._spare):
            _close_pipe(pipe)
        self._spare.clear()
        self._plain.close_socket()
        self._factory.doStop()

    @property
    def open(self) -> int:
        """Connections now."""
        return len(self._hosts)

    def _accept(self, listening: int, _events: int) -> None:
        for _ in range(A_TURN):
            self._length[0] = NAME_ROOM
            descriptor = calls.C.accept4(listening, self._name, self._length, calls.SOCK_NONBLOCK | calls.SOCK_CLOEXEC)
            if descriptor < 0:
                if calls.would_block():
                    return
                if pause := self._reluctance.pause_after(calls.failure(), self._plain.shed):
                    self._loop.forget(listening)
                    self._resume = self._reactor.callLater(pause, self._accept_again)
                    self._loop.yield_to_reactor()
                    return
                continue
            self._reluctance.succeeded()
            host = self._host()
            refusal = self._factory.admit(host, self._peer)
            if refusal:
                self._refuse(descriptor)
            else:
                self._begin(descriptor, host)

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
            return inet(socket.inet_ntop(socket.AF_INET6, name[8:24]), port)
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
        if self._factory.events.connections:
            self._peers[descriptor] = self._peer()
        self._loop.watch(descriptor, EPOLLIN, self._carry)

    def _splice(self, descriptor: int, _events: int) -> None:
        """Echo what came, without looking at it."""
        out, into = self._pipe
        left = 0
        try:
            left = came = os.splice(descriptor, into, self._buffer, None, None, calls.SPLICE_FLAGS)
            if not came:
                self._end(descriptor, Closing.DONE)
                return
            self._carried[descriptor] += came
            while left:
                left -= os.splice(out, descriptor, left, None, None, calls.SPLICE_FLAGS)
        except BlockingIOError:
            if left:
                self._wait_in_pipe(descriptor, left)
        except OSError:
            if left:
                self._renew_pipe()
            self._end(descriptor, Closing.LOST, left)

    def _change(self, descriptor: int, _events: int) -> None:
        """Answer what came with its transform."""
        left = 0
        try:
            data = os.read(descriptor, self._buffer)
            if not data:
                self._end(descriptor, Closing.DONE)
                return
            left = len(data)
            self._carried[descriptor] += left
            data = self._transform(data)
            sent = os.write(descriptor, data)
            if sent < left:
                self._wait(descriptor, Stuck(left - sent, None, memoryview(data)[sent:]))
        except BlockingIOError:
            if left:
                self._wait(descriptor, Stuck(left, None, memoryview(data)))
        except OSError:
            self._end(descriptor, Closing.LOST, left)

    def _wait_in_pipe(self, descriptor: int, left: int) -> None:
        if self._stuck_pipes < STUCK_PIPES:
            stuck = Stuck(left, self._pipe, None)
            try:
                self._pipe = self._spare.pop() if self._spare else self._new_pipe()
            except OSError:  # no descriptors, or no pages for another: memory, then
                pass
            else:
                self._stuck_pipes += 1
                self._wait(descriptor, stuck)
                return
        self._wait(descriptor, Stuck(left, None, memoryview(_read_all(self._pipe[0], left))))

    def _wait(self, descriptor: int, stuck: Stuck) -> None:
        self._stuck[descriptor] = stuck
        self._loop.change(descriptor, EPOLLOUT, self._drain)

    def _drain(self, descriptor: int, _events: int) -> None:
        """Write what waits; read on once it has gone."""
        stuck = self._stuck[descriptor]
        try:
            if stuck.pipe is not None:
                sent = os.splice(stuck.pipe[0], descriptor, stuck.left, None, None, calls.SPLICE_FLAGS)
            else:
                sent = os.write(descriptor, stuck.data[-stuck.left :])  # type: ignore[index]  # one of both is there
        except BlockingIOError:
            return
        except OSError:
            self._end(descriptor, Closing.LOST)
            return
        stuck.left -= sent
        if not stuck.left:
            del self._stuck[descriptor]
            self._give_back(stuck)
            self._loop.change(descriptor, EPOLLIN, self._carry)

    def _end(self, descriptor: int, reason: Closing, unsent: int = 0) -> None:
        """Close, and count: whatever `unsent` or still waits had come and did not go."""
        stuck = self._stuck.pop(descriptor, None)
        if stuck is not None:
            unsent += stuck.left
            self._drop(stuck)
        host = self._hosts.pop(descriptor)
        came = self._carried[descriptor]
        os.close(descriptor)
        self._count(came, unsent)
        self._factory.ended(host, reason, came, came - unsent, self._peers.pop(descriptor, None))

    def _reset(self, descriptor: int, reason: Closing) -> None:
        calls.C.setsockopt(descriptor, socket.SOL_SOCKET, socket.SO_LINGER, self._linger, len(RESET_ON_CLOSE))
        self._end(descriptor, reason)

    def _watch(self, now: float) -> None:
        """End what has been still for too long, as Conversation.watch does."""
        limits = self._factory.limits
        carried, seen, since, stuck = self._carried, self._seen, self._since, self._stuck
        for descriptor in list(self._hosts):
            waiting = stuck.get(descriptor)
            gone = carried[descriptor] - (waiting.left if waiting else 0)
            if gone != seen[descriptor]:
                seen[descriptor] = gone
                since[descriptor] = now
            elif waiting and limits.stall and now - since[descriptor] >= limits.stall:
                self._reset(descriptor, Closing.STALL)
            elif not waiting and limits.idle and now - since[descriptor] >= limits.idle:
                self._end(descriptor, Closing.IDLE)

    def _hand_over(self, descriptor: int) -> None:
        """Let the plain way go on with a connection, and with what waits for it."""
        self._loop.forget(descriptor)
        stuck = self._stuck.pop(descriptor, None)
        waiting = b""
        if stuck is not None:
            waiting = _read_all(stuck.pipe[0], stuck.left) if stuck.pipe else bytes(stuck.data[-stuck.left :])  # type: ignore[index]
            self._give_back(stuck)
        host = self._hosts.pop(descriptor)
        self._peers.pop(descriptor, None)
        self._count(self._carried[descriptor], len(waiting))
        self._plain.take_over(descriptor, host, self._carried[descriptor], waiting)

    def _count(self, came: int, unsent: int) -> None:
        self._factory.tally.bytes_in += came
        self._factory.tally.bytes_out += came - unsent

    # pipes

    def _new_pipe(self) -> tuple[int, int]:
        pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(pipe[0], calls.F_SETPIPE_SZ, max(self._buffer, 65_536))
        except OSError:  # above what this user may have: 64 KiB, or 4, will do
            pass
        return pipe

    def _renew_pipe(self) -> None:
        """What is in the pipe belongs to nobody any more."""
        _close_pipe(self._pipe)
        self._pipe = self._spare.pop() if self._spare else self._new_pipe()

    def _give_back(self, stuck: Stuck) -> None:
        """An empty pipe can serve again."""
        if stuck.pipe is not None:
            self._stuck_pipes -= 1
            if len(self._spare) < SPARE_PIPES:
                self._spare.append(stuck.pipe)
            else:
                _close_pipe(stuck.pipe)

    def _drop(self, stuck: Stuck) -> None:
        """A pipe with something in it cannot."""
        if stuck.pipe is not None:
            self._stuck_pipes -= 1
            _close_pipe(stuck.pipe)

    def _tell(self, event: str, **fields: object) -> None:
        self._factory.events.tell(event, service=self._factory.name, **fields)


_AF_INET: Final = int(socket.AF_INET).to_bytes(2, "little")
_AF_INET6: Final = int(socket.AF_INET6).to_bytes(2, "little")


def _read_all(descriptor: int, length: int) -> bytes:
    parts = []
    while length:
        parts.append(os.read(descriptor, length))
        length -= len(parts[-1])
    return b"".join(parts)


def _close_pipe(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    os.close(pipe[1])

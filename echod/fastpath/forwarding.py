"""Forwards the bytes of streams: sends received bytes back, for all ready descriptors in one loop.

      identity:   socket ─► pipe ─► socket     (splice: the bytes never enter the process)
      any other:  read ─► transform ─► write

Rules:

* One loop with local names serves all ready descriptors of a lane. A call for each message, and attribute lookups,
  were a third of Python's cost besides the system calls.
* All other cases leave the loop and call a method: end of input, errors, short writes. `stream_lane` handles them.
* Received bytes are counted even if a later call fails.
* A read of a large message takes whole TCP segments (`_set_unit`), so that no reply ends with a short one.
* Sockets and pipes are set non-blocking. So a splice needs no flags, and a call with three arguments is faster.
* With the native loop (`native_loop`), C does the same, and this code continues a connection that C cannot.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from select import EPOLLIN
from typing import Final

from twisted.logger import Logger

from echod.events import Closing
from echod.fastpath.acceptor import Accepting
from echod.fastpath.byte_counts import ByteCounts
from echod.fastpath.loop import Events, Loop, Ready, Round
from echod.fastpath.native_library import NativeStreamLane, What
from echod.fastpath.pipes import Pipe, Pipes, Waiting
from echod.model import Transform, identity
from echod.transports.service_factory import ServiceFactory

_log = Logger()

SMALL: Final = 448
"""Bytes of a read until a read returns as many. Python has a fast allocator for objects of up to 512 bytes including
their header, and shrinking 64 KiB to a small message takes the C library longer."""


def room_after(received: int, requested: int, most: int) -> int:
    """The size of the next read: `most` after a full one; it shrinks step by step while reads return little."""
    if received == requested:
        return most
    return min(most, requested if received >= SMALL else max(requested // 4, SMALL))


class Forwarder(ABC):
    """Forwards bytes. A subclass handles connections that block or end."""

    _accepting: Accepting
    _pipes: Pipes

    def __init__(self, loop: Loop, factory: ServiceFactory, transform: Transform) -> None:
        self._loop = loop
        self._factory = factory
        self._transform = transform
        self._native = self._native_lane()
        self._byte_counts = ByteCounts(factory.counters, self._native)
        self._most = factory.limits.buffer  # bytes of a read
        if self._native is not None:
            self._native.read_at_most(self._most)
        self._little = min(SMALL, self._most)  # bytes of a read after small messages
        self._room: list[int] = []  # bytes of the next read, by descriptor
        self._units: list[int] = []  # bytes of a splice, by descriptor
        self._pipe: Pipe  # the shared pipe, set by `_pipes` at once and whenever it changes
        self._carry: Ready = self._carry_one
        self._change_all = self._changing()
        self._carry_all = self._splicing() if transform is identity else self._change_all

    def _native_lane(self) -> NativeStreamLane | None:
        """The data of the connections that C shares; None: Python forwards all bytes."""
        return self._loop.native_stream_lane(self._transform, self._told)

    @abstractmethod
    def _keep(self, descriptor: int, left: int) -> None:
        """Keep the last `left` bytes in the pipe for a connection that blocks."""

    @abstractmethod
    def _wait(self, descriptor: int, waiting: Waiting) -> None:
        """Keep pending output for a connection that blocks."""

    @abstractmethod
    def _end(self, descriptor: int, reason: Closing, unsent: int = 0) -> None:
        """Close a connection; `unsent` received bytes are lost."""

    @abstractmethod
    def _reset(self, descriptor: int, reason: Closing, unsent: int = 0) -> None:
        """Reset a connection; `unsent` received bytes are lost."""

    def _begin_to_carry(self, descriptor: int) -> None:
        self._byte_counts.begin(descriptor)
        while descriptor >= len(self._room):
            self._room.append(0)
            self._units.append(0)
        self._room[descriptor] = self._little
        self._units[descriptor] = self._most

    def _read_at_most(self, size: int) -> None:
        """Limit reads to `size` bytes from now on."""
        self._most, self._little = size, min(SMALL, size)
        self._room[:] = [self._little] * len(self._room)
        self._units[:] = [size] * len(self._units)
        if self._native is not None:
            self._native.read_at_most(size)

    def _use_pipe(self, pipe: Pipe) -> None:
        self._pipe = pipe
        if self._native is not None:
            self._native.use_pipe(pipe)

    def _told(self, descriptor: int, what: int, received: int, sent: int) -> None:
        """Act for a connection that the native loop cannot continue, as the loops below do (`native_library.What`)."""
        assert self._native is not None
        if what == What.END:
            self._end(descriptor, Closing.DONE)
        elif what == What.FULL:
            self._set_unit(descriptor)
        elif what == What.SHORT:
            self._wait(descriptor, Waiting(received - sent, None, memoryview(self._native.rest(sent, received))))
        elif what == What.SHORT_IN_PIPE:
            self._keep(descriptor, received - sent)
        else:
            if what == What.LOST_IN_PIPE:
                self._pipes.empty(received)
            self._reset(descriptor, Closing.LOST, received)

    def _carry_one(self, descriptor: int, events: int) -> None:
        self._carry_all([(descriptor, events)])

    def _reply(self, descriptor: int, data: bytes) -> None:
        """Reply to bytes that were received before the lane began to carry the connection."""
        left = len(data)  # bytes that are lost if a call fails
        self._byte_counts.carried[descriptor] += left
        try:
            answer = self._transform(data)
            self._byte_counts.grow(descriptor, len(answer) - left)
            left = len(answer)
            try:
                sent = os.write(descriptor, answer)
            except BlockingIOError:
                sent = 0
            if sent != left:
                self._wait(descriptor, Waiting(left - sent, None, memoryview(answer)))
        except OSError:
            self._reset(descriptor, Closing.LOST, left)
        except Exception:  # a bug of the service: its peer must not wait
            _log.failure("the service failed; a connection to {label} is reset", label=self._factory.label)
            self._reset(descriptor, Closing.FAILED, left)

    def _splicing(self) -> Round:
        """Create the function for echo, which forwards bytes with splice(2)."""
        splice, carried, ready, units = os.splice, self._byte_counts.carried, self._loop.ready, self._units

        def carry_all(events: Events) -> None:
            carry, most, (out, into) = self._carry, self._most, self._pipe
            descriptor = -1
            try:
                for descriptor, happened in events:
                    if ready[descriptor] is carry:
                        received = gone = 0
                        try:
                            received = splice(descriptor, into, units[descriptor])
                            if received and (gone := splice(out, descriptor, received)) == received:
                                carried[descriptor] += received
                                if received == most:
                                    self._set_unit(descriptor)
                                continue
                        except OSError as failure:
                            self._spliced_badly(descriptor, received, failure)
                        else:
                            self._spliced_less(descriptor, received, gone)
                    else:
                        ready[descriptor](descriptor, happened)
                    most, (out, into) = self._most, self._pipe  # both may have changed
            except Exception:
                self._loop.give_up(descriptor)

        return carry_all

    def _set_unit(self, descriptor: int) -> None:
        """After a full read, let the next ones take whole segments."""
        unit = self._accepting.whole_segments(descriptor, self._factory.limits.buffer)
        self._units[descriptor] = min(unit or self._most, self._most)
        if self._native is not None:
            self._native.read_units(descriptor, unit)

    def _spliced_less(self, descriptor: int, received: int, gone: int) -> None:
        """Handle a splice that sent less than received. If nothing was received, a read checks for end of input."""
        if received:
            self._byte_counts.carried[descriptor] += received
            self._keep(descriptor, received - gone)
        else:
            # splice(2) returns 0 at the end of input, and also before an urgent byte that is followed by a FIN. Only a
            # read can distinguish the two.
            self._change_all([(descriptor, EPOLLIN)])

    def _spliced_badly(self, descriptor: int, received: int, failure: OSError) -> None:
        """Handle a failed splice: the one out of the pipe if `received` is not 0, otherwise the one into it."""
        if isinstance(failure, BlockingIOError) and received:
            self._spliced_less(descriptor, received, 0)
        elif isinstance(failure, BlockingIOError):
            # Urgent data stops a splice, but not a read (tcp(7)); or the wakeup was spurious.
            self._change_all([(descriptor, EPOLLIN)])
        else:
            self._byte_counts.carried[descriptor] += received
            if received:
                self._pipes.empty(received)
            self._reset(descriptor, Closing.LOST, received)

    def _changing(self) -> Round:
        """Create the function for all other transforms, which reads, transforms and writes."""
        read, write, transform = os.read, os.write, self._transform
        carried, room, ready = self._byte_counts.carried, self._room, self._loop.ready

        def carry_all(events: Events) -> None:
            carry = self._carry
            descriptor = -1
            try:
                for descriptor, happened in events:
                    if ready[descriptor] is not carry:
                        ready[descriptor](descriptor, happened)
                        continue
                    left, answer = 0, b""  # bytes that are lost if a call fails: received, then of the answer
                    try:
                        data = read(descriptor, requested := room[descriptor])
                        if data:
                            left = received = len(data)
                            carried[descriptor] += received
                            if received == requested or requested > SMALL:
                                room[descriptor] = room_after(received, requested, self._most)
                            answer = transform(data)
                            left = len(answer)
                            if left != received:  # only kinds of other packages change the length
                                self._byte_counts.grow(descriptor, left - received)
                            sent = write(descriptor, answer)
                            if sent != left:
                                self._wait(descriptor, Waiting(left - sent, None, memoryview(answer[sent:])))
                    except BlockingIOError:
                        if left:
                            self._wait(descriptor, Waiting(left, None, memoryview(answer)))
                    except OSError:
                        self._reset(descriptor, Closing.LOST, left)
                    except Exception:  # a bug of the service: its peer must not wait
                        _log.failure("the service failed; a connection to {label} is reset", label=self._factory.label)
                        self._reset(descriptor, Closing.FAILED, left)
                    else:
                        if not data:
                            self._end(descriptor, Closing.DONE)
            except Exception:
                self._loop.give_up(descriptor)

        return carry_all

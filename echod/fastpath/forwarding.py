"""The straight way of a stream on the plane: what came goes out again, for all who are ready in one loop.

      identity:   socket ─► pipe ─► socket     (splice: the bytes never enter the process)
      any other:  read ─► transform ─► write

Rules:

* One loop of local names carries for everybody of a lane who is ready in a round. A call for each message, and
  attributes, were a third of what Python added to the system calls.
* Whatever is not straight leaves the loop for a method: an end, an error, a short write. What to do about it is the
  lane's (`streams`).
* Octets that came are counted, whatever fails behind them.
* Sockets and pipes are non-blocking, each by itself. So a splice needs no flag, and three arguments are read faster.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from select import EPOLLIN
from typing import Final

from twisted.logger import Logger

from echod.events import Closing
from echod.fastpath.byte_counts import Octets
from echod.fastpath.loop import Events, Loop, Ready, Round
from echod.fastpath.pipes import Pipe, Pipes, Waiting
from echod.model import Transform, identity
from echod.transports.service_factory import ServiceFactory

_log = Logger()

SMALL: Final = 448
"""Octets that a read asks for until so many come: Python has a quick allocator for objects of up to 512 octets, head
included, and the C library takes longer to cut 64 KiB down to a small message."""


def room_after(came: int, asked: int, most: int) -> int:
    """What the next read asks for: `most` after one that was filled, and little by little less where little comes."""
    if came == asked:
        return most
    return min(most, asked if came >= SMALL else max(asked // 4, SMALL))


class Carrier(ABC):
    """Carries; what to do with a connection that gets stuck or ends is another's."""

    _pipes: Pipes

    def __init__(self, loop: Loop, factory: ServiceFactory, transform: Transform) -> None:
        self._loop = loop
        self._factory = factory
        self._transform = transform
        self._octets = Octets(factory.tally)
        self._most = factory.limits.buffer  # octets that a round reads
        self._little = min(SMALL, self._most)  # where only little came
        self._room: list[int] = []  # and that the next read asks for, by descriptor
        self._pipe: Pipe  # the one that everybody uses in turn: `_pipes` says which, here at once and when it changes
        self._carry: Ready = self._carry_one
        self._change_all = self._changing()
        self._carry_all = self._splicing() if transform is identity else self._change_all

    @abstractmethod
    def _keep(self, descriptor: int, left: int) -> None:
        """The last `left` octets in the pipe wait for a connection."""

    @abstractmethod
    def _wait(self, descriptor: int, waiting: Waiting) -> None:
        """This waits for it."""

    @abstractmethod
    def _end(self, descriptor: int, reason: Closing, unsent: int = 0) -> None:
        """Close it; so many octets of what came are lost."""

    @abstractmethod
    def _reset(self, descriptor: int, reason: Closing, unsent: int = 0) -> None:
        """The same, with RST."""

    def _begin_to_carry(self, descriptor: int) -> None:
        self._octets.begin(descriptor)
        while descriptor >= len(self._room):
            self._room.append(0)
        self._room[descriptor] = self._little

    def _read_at_most(self, octets: int) -> None:
        """So much in a round, from now on."""
        self._most, self._little = octets, min(SMALL, octets)
        self._room[:] = [self._little] * len(self._room)

    def _use_pipe(self, pipe: Pipe) -> None:
        self._pipe = pipe

    def _carry_one(self, descriptor: int, events: int) -> None:
        self._carry_all([(descriptor, events)])

    def _splicing(self) -> Round:
        """Makes the call that carries for echo: what came goes out again without being looked at."""
        splice, carried, ready = os.splice, self._octets.carried, self._loop.ready

        def carry_all(events: Events) -> None:
            carry, most, (out, into) = self._carry, self._most, self._pipe
            descriptor = -1
            try:
                for descriptor, happened in events:
                    if ready[descriptor] is carry:
                        came = gone = 0
                        try:
                            came = splice(descriptor, into, most)
                            if came and (gone := splice(out, descriptor, came)) == came:
                                carried[descriptor] += came
                                continue
                        except OSError as failure:
                            self._spliced_badly(descriptor, came, failure)
                        else:
                            self._spliced_less(descriptor, came, gone)
                    else:
                        ready[descriptor](descriptor, happened)
                    most, (out, into) = self._most, self._pipe  # both may be others now
            except Exception:
                self._loop.give_up(descriptor)

        return carry_all

    def _spliced_less(self, descriptor: int, came: int, gone: int) -> None:
        """What came has not gone, or not all of it. Where splice returned 0, a read tells whether input has ended."""
        if came:
            self._octets.carried[descriptor] += came
            self._keep(descriptor, came - gone)
        else:
            # splice(2) returns 0 at the end of input, and also before an urgent byte that a FIN follows. Only a read
            # tells the two apart.
            self._change_all([(descriptor, EPOLLIN)])

    def _spliced_badly(self, descriptor: int, came: int, failure: OSError) -> None:
        """A splice failed: the one into the pipe, or, where something came, the one out of it."""
        if isinstance(failure, BlockingIOError) and came:
            self._spliced_less(descriptor, came, 0)
        elif isinstance(failure, BlockingIOError):
            # Urgent data stops a splice, and not a read (tcp(7)); or there was nothing after all.
            self._change_all([(descriptor, EPOLLIN)])
        else:
            self._octets.carried[descriptor] += came
            if came:
                self._pipes.empty(came)
            self._reset(descriptor, Closing.LOST, came)

    def _changing(self) -> Round:
        """Makes the call that carries for every other transform: what came goes out changed."""
        read, write, transform = os.read, os.write, self._transform
        carried, room, ready = self._octets.carried, self._room, self._loop.ready

        def carry_all(events: Events) -> None:
            carry = self._carry
            descriptor = -1
            try:
                for descriptor, happened in events:
                    if ready[descriptor] is not carry:
                        ready[descriptor](descriptor, happened)
                        continue
                    left, answer = 0, b""  # octets that came, and then of the answer: what is lost where a call fails
                    try:
                        data = read(descriptor, asked := room[descriptor])
                        if data:
                            left = came = len(data)
                            carried[descriptor] += came
                            if came == asked or asked > SMALL:
                                room[descriptor] = room_after(came, asked, self._most)
                            answer = transform(data)
                            left = len(answer)
                            if left != came:  # of another package's kind; ours have one octet for each
                                self._octets.grow(descriptor, left - came)
                            sent = write(descriptor, answer)
                            if sent != left:
                                self._wait(descriptor, Waiting(left - sent, None, memoryview(answer[sent:])))
                    except BlockingIOError:
                        if left:
                            self._wait(descriptor, Waiting(left, None, memoryview(answer)))
                    except OSError:
                        self._reset(descriptor, Closing.LOST, left)
                    except Exception:  # a bug of the service, and no reason to leave its peer waiting
                        _log.failure("the service failed; a connection of {place} is reset", place=self._factory.place)
                        self._reset(descriptor, Closing.FAILED, left)
                    else:
                        if not data:
                            self._end(descriptor, Closing.DONE)
            except Exception:
                self._loop.give_up(descriptor)

        return carry_all

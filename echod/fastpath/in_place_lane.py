"""UDP services whose replies are written over their requests: a turn receives up to 64 datagrams in one call.

      recvmmsg ─► fits, and the gate admits it? ┬─ yes: a run ─► write all ─► stamp 8, send 8, stamp 8, send 8 …
                                                └─ no: the run so far is sent; then the plain path, or a refusal

The time of sending is written into AT_ONCE replies before they are sent. The last of them is sent about 10 µs later.
The order within a source is kept, and the gate decides as on the plain path (`echod.fastpath.gate_cache`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from itertools import repeat
from typing import Final

from twisted.logger import Logger

from echod.fastpath import syscalls
from echod.fastpath.batch import MSG_DONTWAIT, ROOM, SLOTS
from echod.fastpath.gate_cache import REMEMBERED, CachedDecision
from echod.fastpath.loop import Loop
from echod.fastpath.sockaddr import is_mapped, python_name
from echod.fastpath.stamped_batch import StampedBatch
from echod.fastpath.udp_lane import UDPLane, is_batched
from echod.gate.datagrams import is_many
from echod.in_place_replies import InPlaceReplies
from echod.transports.udp import UDPPort
from echod.transports.udp_options import joins

_log = Logger()

AT_ONCE: Final = 8  #: replies with the same time of sending


class InPlaceLane(UDPLane):
    """A UDP socket whose service has replies in place (`Service.in_place`)."""

    def __init__(self, loop: Loop, plain: UDPPort) -> None:
        super().__init__(loop, plain)
        self._replies = self._replies_in_place()
        self._ends: dict[bytes, Hashable] = {}  # by names of senders, with the destination at a wildcard
        self._batch = StampedBatch(plain.socket.family, wildcard=self._wildcard)
        self._serve = self._serve_turn

    @staticmethod
    def can_serve(plain: UDPPort) -> bool:
        """Whether this lane can serve a port. One that joins datagrams has more control messages than fit."""
        return is_batched(plain) and plain.protocol.service.in_place() is not None and not joins(plain.socket)

    def _replies_in_place(self) -> InPlaceReplies:
        replies = self._protocol.service.in_place()
        if replies is None:
            raise ValueError(f"{self._protocol.service.kind} has no replies in place; the fast path needs them")
        return replies

    def _prepare_socket(self) -> None:
        """The options are those of the plain path."""

    def discard(self) -> None:
        """Free the batch."""
        self._batch.close()

    def forget(self) -> None:
        """Clear caches: the service, access lists, or our own ports or addresses, have changed."""
        super().forget()
        self._ends.clear()
        self._replies = self._replies_in_place()

    def _serve_turn(self, descriptor: int, _events: int) -> None:
        batch = self._batch
        count = syscalls.C.recvmmsg(descriptor, batch.requests, SLOTS, MSG_DONTWAIT, syscalls.ffi.NULL)
        if count < 0:
            if not syscalls.would_block():
                self._failed(descriptor)
            return
        self._failures = 0
        try:
            self._answer(descriptor, count)
        except Exception:  # a bug of the service: only the datagrams of this turn are lost
            _log.failure("the service failed on datagrams of {scheme}", scheme=self._protocol.scheme)
        if self._plain.filter.look():
            self._loop.yield_to_reactor()
        batch.clear(count)

    def _answer(self, descriptor: int, count: int) -> None:
        """In order of arrival: reply to runs of slots in place, and use the plain path for others."""
        batch, fits, data = self._batch, self._replies.fits, self._batch.data
        lengths, usual, names = batch.lengths(count), batch.usual(count), batch.names(count)
        suitable = [usual[slot] and fits(data, slot * ROOM, lengths[slot]) for slot in range(count)]
        if self._wildcard:
            suitable = [suitable[slot] and self._is_honest(slot, names[slot]) for slot in range(count)]
        first = slot = 0  # first: the begin of the run of admitted datagrams
        while slot < count:
            name, behind = names[slot], slot + 1
            decision: CachedDecision = False
            if suitable[slot]:
                while behind < count and suitable[behind] and names[behind] == name:
                    behind += 1
                decision = self._gate_cache.on_run(name, behind - slot, sum(lengths[slot:behind]))
                if decision is False:
                    behind = slot + 1
                    decision = self._gate_cache.on_one(name, batch.datagram(slot, lengths[slot]))
            if decision is not True:
                self._send_run(descriptor, first, lengths[first:slot])
                first = behind
                if decision is False:
                    datagram = batch.datagram(slot, lengths[slot])
                    self._plain.serve(datagram, batch.ancillary(slot), python_name(name, self._six))
                else:
                    self._refuse(decision, behind - slot, sum(lengths[slot:behind]))
            slot = behind
        self._send_run(descriptor, first, lengths[first:])

    def _send_run(self, descriptor: int, first: int, lengths: list[int]) -> None:
        """Reply to the datagrams in consecutive slots, all admitted."""
        if not lengths:
            return
        batch, replies = self._batch, self._replies
        end = first + len(lengths)
        batch.prepare(first, end)
        ends: Iterable[Hashable] = repeat(None)
        if replies.needs_ends:
            ends = [self._ends_of(slot) for slot in range(first, end)]
        replies.write(batch.data, batch.placed(first, lengths, ends))
        self._count(len(lengths), sum(lengths))
        for begin in range(first, end, AT_ONCE):
            behind = min(begin + AT_ONCE, end)
            replies.stamp(batch.data, range(begin * ROOM, behind * ROOM, ROOM))
            for slot in batch.send(descriptor, begin, behind):
                self._uncount(1, lengths[slot - first])

    def _ends_of(self, slot: int) -> Hashable:
        """Both addresses of the flow of a datagram, as the plain path names them."""
        key = self._batch.flow(slot)
        found = self._ends.get(key)
        if found is None:
            if len(self._ends) >= REMEMBERED:
                self._ends.clear()
            name = python_name(key, self._six)
            peer = self._plain.peer_of(self._batch.ancillary(slot), name)
            found = self._ends[key] = (peer.remote, peer.local)
        return found

    def _is_honest(self, slot: int, name: bytes) -> bool:
        """Whether a datagram was sent to a unicast address, and its source has the same IP version."""
        info = self._batch.pktinfo(slot)
        if not self._six:
            return info[4:8] == info[8:12]
        gate = self._protocol.gate
        broadcasts = gate.broadcasts if gate is not None else ()
        return not is_many(info[:16], broadcasts) and is_mapped(info[:16]) == is_mapped(name[8:24])

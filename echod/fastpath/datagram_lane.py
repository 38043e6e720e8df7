"""UDP on the fast path: a turn receives up to 64 datagrams in one call, and replies in one or two calls.

      recvmmsg ─► from? ┬─ one source, all admitted ─┬─ one size: one send, split by the kernel (UDP_SEGMENT)
                        │                            └─ else: sendmmsg
                        ├─ few sources, one size: one such send for each
                        ├─ many sources: sendmmsg for those that are admitted
                        ├─ joined by GRO on the way in: sent back joined, split by the kernel
                        └─ all other cases: the plain path, one by one

Rules:

* The gate decides as on the plain path. If all datagrams of a run have one decision, they are processed at once;
  otherwise the gate decides on each (`echod.fastpath.gate_cache`).
* The order within a source is kept, on both paths.
* Every reply that the kernel does not accept is counted, and no reply is sent twice.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress

from twisted.logger import Logger

from echod.fastpath import syscalls
from echod.fastpath.batch import CONTROL, MSG_DONTWAIT, NAME, ROOM, SLOTS, SOL_UDP, UDP_GRO, Batch
from echod.fastpath.gate_cache import REMEMBERED, CachedDecision
from echod.fastpath.joined_sends import JoinedSends
from echod.fastpath.loop import Loop, Ready
from echod.fastpath.native_library import What
from echod.fastpath.sockaddr import is_mapped, python_name
from echod.fastpath.udp_lane import UDPLane, is_batched
from echod.gate.datagrams import is_many
from echod.gate.refusal import Refusal
from echod.model import identity
from echod.transports.udp import UDPPort
from echod.transports.udp_options import IP_PKTINFO, reduce_ancillary

_log = Logger()


class DatagramLane(UDPLane):
    """A UDP socket whose service has a transform."""

    def __init__(self, loop: Loop, plain: UDPPort) -> None:
        super().__init__(loop, plain)
        transform = type(plain.protocol.service).transform
        if transform is None:
            raise ValueError(f"{plain.protocol.service.kind} has no transform; the fast path needs one")
        self._transform = None if transform is identity else transform
        self._batch = Batch(plain.socket.family, pktinfo=self._wildcard)
        self._joined = JoinedSends(self._batch)
        self._native = loop.native_datagram_lane(transform, self._told, self._count_answered, self._batch)
        self._answer_turn = self._answering()
        self._serve = self._serving()

    @staticmethod
    def can_serve(plain: UDPPort) -> bool:
        """Whether this lane can serve a port."""
        return is_batched(plain) and type(plain.protocol.service).transform is not None

    def _prepare_socket(self) -> None:
        reduce_ancillary(self._socket, destination=self._wildcard)
        with suppress(OSError):  # a kernel without GRO
            self._socket.setsockopt(SOL_UDP, UDP_GRO, 1)

    def discard(self) -> None:
        """Free the batch."""
        self._batch.close()
        if self._native is not None:
            self._loop.drop(self._native)
            self._native = None

    def forget(self) -> None:
        """Clear caches: access lists, or our own ports or addresses, have changed."""
        super().forget()
        self._batch.honest.clear()
        if self._native is not None:
            self._native.forget()

    def _serving(self) -> Ready:
        """Create the function that serves a turn."""
        receive, without_end, slots, answer = (
            syscalls.C.recvmmsg,
            syscalls.ffi.NULL,
            self._batch.slots,
            self._answer_turn,
        )

        def serve(descriptor: int, _events: int) -> None:
            count = receive(descriptor, slots, SLOTS, MSG_DONTWAIT, without_end)
            if count > 0:
                answer(descriptor, count)
            elif not syscalls.would_block():
                self._failed(descriptor)

        return serve

    def _told(self, descriptor: int, what: int, received: int, _sent: int) -> None:
        """Act for the native loop: it has received datagrams that Python has to answer, or could not receive."""
        if what == What.DATAGRAMS:
            self._answer_turn(descriptor, received)
        else:
            self._failed(descriptor)

    def _count_answered(self, datagrams: int, size: int, failed: int, failed_size: int) -> None:
        """Count datagrams that the native loop has answered, except the failed ones of them."""
        self._failures = 0
        self._count(datagrams, size)
        if failed:
            self._uncount(failed, failed_size)

    def _answering(self) -> Ready:
        """Create the function that answers the datagrams of a turn, given their number. Most turns have one datagram,
        of an admitted source.

        It is a closure because local names are faster than attributes: this saves 3 of 19 µs.
        """
        send, native, remember = syscalls.C.sendmsg, self._native, self._loop.remember
        batch, counters, changes = self._batch, self._protocol.counters, self._transform is not None
        passed, on_run = self._gate_cache.passed, self._gate_cache.on_run
        reply, space, is_simple = batch.reply, batch.pktinfo_space, batch.is_simple
        name, length, control, index = batch.first_name, batch.first_length, batch.first_control, batch.first_index
        reply_length = batch.reply_length

        def answer(descriptor: int, count: int) -> None:
            self._failures = 0
            decision: CachedDecision = False
            try:
                if (
                    count == 1
                    and control[0] == space
                    and (not space or is_simple())
                    and (decision := (source := name()) in passed or on_run(source, 1, length[0])) is True
                ):
                    size = reply_length[0] = length[0]
                    if changes:
                        self._change((0,), [size])
                    if space:
                        index[0] = 0  # the reply is sent by the interface of the route
                    counters.datagrams_in += 1
                    counters.bytes_in += size
                    if send(descriptor, reply, MSG_DONTWAIT) >= 0:
                        counters.datagrams_out += 1
                        counters.bytes_out += size
                    else:
                        counters.refuse(Refusal.SEND)
                    if native is not None and source in passed:
                        remember(native, 1)
                    control[0] = CONTROL
                else:
                    if isinstance(decision, Refusal):
                        self._refuse(decision, 1, length[0])
                    else:
                        self._answer(descriptor, count)
                    if self._plain.filter.look():
                        self._loop.yield_to_reactor()
                    batch.clear(count)
            except Exception:  # a bug of the service: only the datagrams of this turn are lost
                _log.failure("the service failed on datagrams of {scheme}", scheme=self._protocol.scheme)
                batch.clear(count)

        return answer

    def _answer(self, descriptor: int, count: int) -> None:
        """Reply to a turn: to one source at once, to many admitted sources at once, or slot by slot."""
        batch = self._batch
        lengths = batch.lengths(count)
        if batch.control_lengths(count).count(batch.pktinfo_space) == count and batch.to_one(count):
            names = bytes(batch.names[: NAME * count])
            name = names[:NAME]
            if names == name * count:
                size = sum(lengths)
                decision = self._gate_cache.on_run(name, count, size)
                if decision is True:
                    self._answer_all(descriptor, lengths, ())
                    self._remember(name in self._gate_cache.passed, count)
                    return
                if isinstance(decision, Refusal):
                    self._refuse(decision, count, size)
                    return
            sources = [names[at : at + NAME] for at in range(0, NAME * count, NAME)]
            if self._gate_cache.passed.issuperset(sources):
                self._answer_all(descriptor, lengths, sources)
                self._remember(True, count)
                return
            self._answer_each(descriptor, count, lengths)
            self._remember(self._gate_cache.passed.issuperset(sources), count)
            return
        self._answer_each(descriptor, count, lengths)

    def _remember(self, always_admitted: bool, count: int) -> None:
        """Let the native loop reply to the sources of these slots from now on, if the gate always admits them."""
        if always_admitted and self._native is not None:
            self._loop.remember(self._native, count)

    def _answer_all(self, descriptor: int, lengths: list[int], sources: Sequence[bytes]) -> None:
        """Reply to one datagram for each of `lengths`, all admitted; `sources` is empty if all have one source."""
        batch, count = self._batch, len(lengths)
        self._change(range(count), lengths)
        batch.prepare(0, count, ())
        self._count(count, sum(lengths))
        left = self._joined.send(descriptor, lengths, sources)
        if len(left) == count:
            left = batch.send(descriptor, 0, count)
        else:
            left = [slot for slot in left if batch.send(descriptor, slot, slot + 1)]
        for slot in left:
            self._uncount(1, lengths[slot])

    def _answer_each(self, descriptor: int, count: int, lengths: list[int]) -> None:
        """In order of arrival: reply to runs of slots in place, and use the plain path for others."""
        batch = self._batch
        controls = batch.control_lengths(count)
        all_to_one = controls.count(batch.pktinfo_space) == count and batch.to_one(count)
        names = [bytes(batch.names[at : at + NAME]) for at in range(0, NAME * count, NAME)]
        pieces = [self._pieces(slot, lengths[slot], controls[slot]) for slot in range(count)]
        run: dict[int, int] = {}  # adjacent slots, and the number of datagrams in each
        behind = 0
        while (slot := behind) < count:
            name, behind = names[slot], slot + 1
            decision: CachedDecision = False
            if all_to_one or self._honest(slot, name):
                while all_to_one and behind < count and names[behind] == name:
                    behind += 1
                decision = self._gate_cache.on_run(name, sum(pieces[slot:behind]), sum(lengths[slot:behind]))
                if decision is False:
                    behind = slot + 1
                    decision = pieces[slot] == 1 and self._gate_cache.on_one(name, self._datagram(slot, lengths[slot]))
            if decision is True:
                run |= zip(range(slot, behind), pieces[slot:behind], strict=True)
                continue
            self._send_run(descriptor, run, lengths, controls)
            run = {}
            if decision is False:
                self._plainly(slot, lengths[slot], pieces[slot], name)
            else:
                self._refuse(decision, sum(pieces[slot:behind]), sum(lengths[slot:behind]))
        self._send_run(descriptor, run, lengths, controls)

    def _pieces(self, slot: int, length: int, control: int) -> int:
        """The number of datagrams that GRO has joined in a slot."""
        size = self._batch.segment_size(slot) if control != self._batch.pktinfo_space else 0
        return -(-length // size) if size else 1

    def _send_run(self, descriptor: int, run: dict[int, int], lengths: list[int], controls: list[int]) -> None:
        if not run:
            return
        batch = self._batch
        self._change(run, lengths)
        first, behind = min(run), max(run) + 1
        joined = [slot for slot in run if controls[slot] != batch.pktinfo_space]
        batch.prepare(first, behind, joined)
        for slot in joined:
            batch.split_again(slot)
        for slot, pieces in run.items():
            self._count(pieces, lengths[slot])
        for slot in batch.send(descriptor, first, behind):
            self._uncount(run[slot], lengths[slot])

    def _honest(self, slot: int, name: bytes) -> bool:
        """Whether a datagram was sent to a unicast address, and its source has the same IP version."""
        if not self._wildcard:
            return True
        info = self._batch.pktinfo(slot)
        if not self._six:
            return info[4:8] == info[8:12]
        gate = self._protocol.gate
        if is_many(info[:16], gate.broadcasts if gate is not None else ()) or (
            is_mapped(info[:16]) != is_mapped(name[8:24])
        ):
            return False
        if len(self._batch.honest) >= REMEMBERED:
            self._batch.honest.clear()
        self._batch.honest.add(struct.unpack_from("QQ", info) + struct.unpack_from("QQ", name, 8))
        return True

    def _plainly(self, slot: int, length: int, pieces: int, name: bytes) -> None:
        """Let the plain path decide on each datagram of a slot, and reply."""
        batch = self._batch
        level, kind = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO) if self._six else (socket.IPPROTO_IP, IP_PKTINFO)
        ancillary = [(level, kind, batch.pktinfo(slot))] if self._wildcard else []
        data = self._datagram(slot, length)
        size = batch.segment_size(slot) if pieces > 1 else length
        for at in range(0, length, size) if length else (0,):
            self._plain.serve(data[at : at + size], ancillary, python_name(name, self._six))

    def _datagram(self, slot: int, length: int) -> bytes:
        return bytes(self._batch.data[slot * ROOM : slot * ROOM + length])

    def _change(self, slots: Iterable[int], lengths: list[int]) -> None:
        transform = self._transform
        if transform is not None:
            data = self._batch.data
            for slot in slots:
                place = slice(slot * ROOM, slot * ROOM + lengths[slot])  # a reply of another length raises ValueError
                data[place] = transform(data[place].tobytes())

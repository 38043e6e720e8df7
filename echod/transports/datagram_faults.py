"""Injects faults into the datagrams of a listener, where each is sent.

A flow is the datagrams to one peer; its number is the order in which peers got their first reply. Rules:

* Delayed datagrams are bounded: in number, of which one host gets half, by `total-buffer`, and in the time that `rate`
  delays them. Others are dropped, and counted as `delayed`.
* A datagram is sent twice only to a peer that may get more bytes than it has sent. Otherwise a forged source would
  turn `duplicate` into an amplifier.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Final

from echod.events import Counters
from echod.faults.injector import FaultInjector
from echod.faults.pattern import Fates, Pattern, corrupted, cut
from echod.faults.settings import NO_FAULTS, Faults
from echod.gate.refusal import Refusal
from echod.gate.total_buffer import Pressure, Watermark
from echod.model import Peer

Send = Callable[[bytes], OSError | None]

WITHHELD: Final = OSError("a fault has withheld the datagram")
"""The result of a send if the datagram is dropped or sent later: this module counts it then."""
KEPT: Final = 1.0  #: seconds that a reordered datagram waits for the next one of its flow
MOST_DELAYED: Final = 4096  #: datagrams of a listener that wait; with their timers about 4 MiB
MOST_OF_HOST: Final = 2048  #: of them from one host, so that it leaves room for others
QUEUE: Final = 60.0  #: seconds that `rate` delays a datagram at most: a longer queue holds its place for too long
MOST_FLOWS: Final = 4096  #: flows that are remembered; an older one begins again under a new number


class Flow:
    """The state of one flow."""

    __slots__ = ("fates", "free_at", "kept")

    def __init__(self, pattern: Pattern) -> None:
        self.fates = Fates(pattern)
        self.free_at = 0.0  # when `rate` permits the next datagram
        self.kept: Delayed | None = None  # the reordered datagram


class Delayed:
    """A datagram that waits, the host that gets it, and its timer."""

    __slots__ = ("data", "host", "send", "timer")

    def __init__(self, data: bytes, host: bytes, send: Send) -> None:
        self.data, self.host, self.send = data, host, send
        self.timer: Any = None


class DatagramFaults:
    """The faults of one listener. `clock` has callLater and seconds; `mark` counts the bytes that wait."""

    def __init__(self, injector: FaultInjector, clock: Any, counters: Counters, mark: Watermark) -> None:
        self._injector, self._clock, self._counters, self._mark = injector, clock, counters, mark
        self._flows: OrderedDict[Hashable, Flow] = OrderedDict()
        self._waiting: set[Delayed] = set()
        self._of_hosts: Counter[bytes] = Counter()  # how many wait for each host
        self._generation = injector.generation

    def around(self, peer: Peer, host: bytes, send: Send, *, repeats: bool) -> tuple[Peer, Send]:
        """The peer with `choose_faults`, and a `send` that injects the faults.

        `repeats` is whether the peer may get a datagram twice.
        """
        own: list[Faults] = []

        def send_with_faults(data: bytes) -> OSError | None:
            faults = own[-1] if own else self._injector.datagram(host)
            return send(data) if faults is NO_FAULTS else self._inject(faults, data, peer, host, send, repeats)

        return peer._replace(choose_faults=own.append), send_with_faults

    def stop(self) -> None:
        """Drop the datagrams that wait."""
        for delayed in tuple(self._waiting):
            self._forget(delayed)
        self._flows.clear()

    def _inject(
        self, faults: Faults, data: bytes, peer: Peer, host: bytes, send: Send, repeats: bool
    ) -> OSError | None:
        count = self._count
        if faults.silent:
            count("silent")
            return WITHHELD
        flow = self._flow(str(peer.remote))
        fate = flow.fates.next(faults)
        if fate.drop:
            count("drop")
            return WITHHELD
        if faults.truncate is not None and len(data) > faults.truncate:
            data = cut(data, faults.truncate, None)
            count("truncate")
        if fate.corrupt is not None and data:
            data = corrupted(data, fate.corrupt, None)
            count("corrupt")
        kept, flow.kept = flow.kept, None
        if fate.reorder and kept is None:
            count("reorder")
            flow.kept = self._wait(data, host, send, KEPT)
            return WITHHELD
        delay = self._delay(faults, flow, fate.delay, len(data))
        if delay > fate.delay + QUEUE:  # a reordered datagram keeps its own timer
            self._counters.refuse(Refusal.DELAYED)
            return WITHHELD
        self._transmit(data, host, send, delay)
        if fate.duplicate and repeats:
            count("duplicate")
            self._transmit(data, host, send, delay)
        elif fate.duplicate:
            self._counters.refuse(Refusal.LARGER)
        if kept is not None and kept in self._waiting:
            self._forget(kept)
            self._transmit(kept.data, kept.host, kept.send, delay)
        return WITHHELD

    def _count(self, fault: str) -> None:
        self._counters.inject(fault)
        self._injector.report(fault)

    def _flow(self, key: Hashable) -> Flow:
        if self._generation != self._injector.generation:  # the faults were changed: the numbers begin again
            self._generation = self._injector.generation
            self._flows.clear()
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = Flow(self._injector.flow())
            if len(self._flows) > MOST_FLOWS:
                self._flows.popitem(last=False)
        else:
            self._flows.move_to_end(key)
        return flow

    def _delay(self, faults: Faults, flow: Flow, delay: float, size: int) -> float:
        """The seconds until a datagram is sent: its delay, and then its turn at `rate`."""
        if delay:
            self._count("delay")
        if not faults.rate:
            return delay
        self._count("rate")
        now = float(self._clock.seconds())
        begin = max(flow.free_at, now + delay)
        if begin - now <= delay + QUEUE:
            flow.free_at = begin + size / faults.rate
        return begin - now

    def _transmit(self, data: bytes, host: bytes, send: Send, delay: float) -> None:
        if delay > 0:
            self._wait(data, host, send, delay)
            return
        if send(data) is None:
            self._counters.datagrams_out += 1
            self._counters.bytes_out += len(data)
        else:
            self._counters.refuse(Refusal.SEND)

    def _wait(self, data: bytes, host: bytes, send: Send, seconds: float) -> Delayed | None:
        """Send a datagram later, or drop it if too many wait."""
        full = len(self._waiting) >= MOST_DELAYED or self._of_hosts[host] >= MOST_OF_HOST
        if full or self._mark.pressure is Pressure.FULL:
            self._counters.refuse(Refusal.DELAYED)
            return None
        delayed = Delayed(data, host, send)
        delayed.timer = self._clock.callLater(seconds, self._send_delayed, delayed)
        self._waiting.add(delayed)
        self._of_hosts[host] += 1
        self._mark.change(len(data))
        return delayed

    def _send_delayed(self, delayed: Delayed) -> None:
        self._forget(delayed)
        self._transmit(delayed.data, delayed.host, delayed.send, 0)

    def _forget(self, delayed: Delayed) -> None:
        self._waiting.discard(delayed)
        self._of_hosts[delayed.host] -= 1
        if not self._of_hosts[delayed.host]:
            del self._of_hosts[delayed.host]
        self._mark.change(-len(delayed.data))
        if delayed.timer.active():
            delayed.timer.cancel()

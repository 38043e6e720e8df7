"""The state of a daemon with several processes. As `echod.daemon.daemon_wide_state.SharedState`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from echod.events import Counters
from echod.gate.access import Access
from echod.gate.connections import ConnectionGate
from echod.gate.datagram_member_gate import OUTPUT, MemberGate
from echod.gate.datagrams import DatagramGate
from echod.gate.limits import Limits, Rate
from echod.membership import Membership
from echod.model import Context
from echod.shared_memory.counters import SharedCounters
from echod.shared_memory.limits import (
    Cells,
    MeteredBuckets,
    NetworkMeters,
    SharedConsents,
    SharedHandshakes,
    SharedSendBudget,
    SharedSlots,
    SharedTotal,
)
from echod.shared_memory.memory import Meter, SharedMemory

PUBLISH_EVERY: Final = 0.25  #: seconds: how old the counters of a worker may be; a publication costs less than 1 ms


class SharedMemoryState:
    """The state of one process: the parent, with column 0, or a worker with the column that the parent assigned to it.

    `clock` is the monotonic clock of the machine, in seconds. `tell` is that of `SendBudget`. `membership` makes the
    rooms and the queue of a service, from its name and context.

    The parent, before it starts workers, with a reactor:

        memory = SharedMemory.create(workers)
        hub = LocalHub(reactor)
        bus = LocalBus(reactor)
        bus.connect(hub.connect())
        state = SharedMemoryState(clock, tell, memory=memory, column=PARENT, membership=Memberships(bus).of)

    For each worker: `column = memory.assign()`, and `hub.connect()` for its socket. The worker inherits that socket and
    `memory.descriptor`, and gets the column:

        bus = LocalBus(reactor, gone=stop)
        bus.connect(inherited)
        state = SharedMemoryState(
            clock, tell, memory=SharedMemory(descriptor), column=column, membership=Memberships(bus).of
        )

    Call `publish` in each process every PUBLISH_EVERY seconds, and at the end of a worker. In the parent, call
    `collect` before it reads counters, and `release` when a worker has ended.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        tell: Callable[..., Any],
        *,
        memory: SharedMemory,
        column: int,
        membership: Callable[[str, Context], Membership],
    ) -> None:
        self._clock = clock
        self._memory = memory
        self._column = column
        self._connections = Cells(memory, column, Meter.CONNECTIONS)
        self._replies = Cells(memory, column, Meter.REPLIES)
        self._sizes = Cells(memory, column, Meter.REPLY_BYTES)
        self._total = SharedTotal(memory, column)
        self._counters = SharedCounters(memory, column)
        self.membership = membership
        self.send_budget = SharedSendBudget(tell, memory, column)
        consents = SharedConsents(memory, column, clock)
        self.members = MemberGate(clock, memory.secret, self._member_buckets, consents)
        self.handshakes = SharedHandshakes(memory, column)
        self.fault_seed = memory.hash_of(b"faults") & (2**63 - 1)

    def counters(self, service: str, address: str) -> Counters:
        """As SharedState: the counters of this process, and in the parent those that it has collected."""
        return self._counters.of(service, address)

    def publish(self) -> None:
        """Show the counters to the parent, and see the unsent bytes and the replies of other processes."""
        self._counters.publish()
        self.send_budget.refresh()
        self._total.take(0, 0, self._clock())

    def collect(self) -> None:
        """Add what the workers have published since the last call to the counters of this process, the parent."""
        self._counters.collect()

    def release(self, column: int) -> None:
        """Free the column of a worker that has ended; its open connections are closed. Only the parent does this."""
        self._counters.release(column)
        self._memory.release(column, int(self._clock() * 1000))

    def connection_gate(self, service: str, access: Access, limits: Limits) -> ConnectionGate:
        """As SharedState."""
        slots = SharedSlots(self._memory, self._column, service)
        return ConnectionGate(access, limits, self._clock, slots, partial(_buckets, self._connections, service))

    def datagram_gate(
        self, service: str, access: Access, limits: Limits, *, own_ports: set[int], broadcasts: set[bytes]
    ) -> DatagramGate:
        """As SharedState."""
        return DatagramGate(
            access,
            limits,
            self._clock,
            own_ports=own_ports,
            broadcasts=broadcasts,
            total=self._total,
            elsewhere=lambda rate: NetworkMeters(self._replies, self._sizes, _name(service, rate)),
        )

    def _member_buckets(self, rate: Rate) -> MeteredBuckets:
        meter = Meter.OUTPUT if rate is OUTPUT else Meter.CHALLENGES
        return _buckets(Cells(self._memory, self._column, meter), "", rate)


def _buckets(cells: Cells, service: str, rate: Rate) -> MeteredBuckets:
    return MeteredBuckets(rate, cells, _name(service, rate))


def _name(service: str, rate: Rate) -> bytes:
    return f"{service}\0{rate.per_second}\0{rate.burst}\0".encode()

"""The state of a whole daemon, with any number of processes: counters, budgets, slots, rates and membership.

Every gate, factory and service of a daemon gets its part from one `SharedState`; none of them makes its own. With
several processes, another implementation can keep it in memory that they share. `LocalState` is that of one process.
Nothing here is called for each message: a part is handed out once, for a listener or a service.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Protocol

from echod.events import Counters
from echod.gate.access import Access
from echod.gate.connections import ConnectionGate
from echod.gate.datagram_member_gate import MemberGate
from echod.gate.datagrams import DatagramGate
from echod.gate.handshakes import Handshakes
from echod.gate.limits import Limits
from echod.gate.network_rate import Total
from echod.gate.total_buffer import SendBudget
from echod.membership import Membership
from echod.model import Context
from echod.services.in_process_membership import LocalMembership


class SharedState(Protocol):
    """The parts that a daemon asks for. `service` is the name of a service, and `address` one that it listens on."""

    @property
    def send_budget(self) -> SendBudget:
        """The bytes that wait to be sent to all connections."""

    @property
    def members(self) -> MemberGate:
        """Cookies, output budgets and muted addresses of all datagram members."""

    @property
    def handshakes(self) -> Handshakes:
        """The unfinished TLS handshakes of all listeners."""

    @property
    def fault_seed(self) -> int:
        """The seed of faults that have none: random, and the same in all processes."""

    def counters(self, service: str, address: str) -> Counters:
        """The counters of one listener, at 0."""

    def membership(self, service: str, context: Context) -> Membership:
        """The chat rooms, and the queue of the console, of a service with this context. A reload keeps it."""

    def connection_gate(self, service: str, access: Access, limits: Limits) -> ConnectionGate:
        """The connection slots of a service, or of a part of it, and its rates of new connections; all are free.

        `service` is the name of what has the slots. With several processes, slots of one name are shared.
        """

    def datagram_gate(
        self, service: str, access: Access, limits: Limits, *, own_ports: set[int], broadcasts: set[bytes]
    ) -> DatagramGate:
        """The rates of the networks that send datagrams to a service. The rate of all networks counts all services."""


MakeState = Callable[[Callable[[], float], Callable[..., Any]], SharedState]
"""Makes the state of a daemon from its clock, in seconds, and the `tell` of its events."""


class LocalState:
    """The state of a daemon that is one process. `clock` is in seconds; `tell` is that of `SendBudget`."""

    def __init__(self, clock: Callable[[], float], tell: Callable[..., Any]) -> None:
        self.send_budget = SendBudget(tell)
        self.members = MemberGate(clock)
        self.handshakes = Handshakes()
        self.fault_seed = secrets.randbits(63)
        self._clock = clock
        self._total = Total()

    def counters(self, _service: str, _address: str) -> Counters:
        return Counters()

    def membership(self, _service: str, context: Context) -> LocalMembership:
        return LocalMembership(context)

    def connection_gate(self, _service: str, access: Access, limits: Limits) -> ConnectionGate:
        return ConnectionGate(access, limits, self._clock)

    def datagram_gate(
        self, _service: str, access: Access, limits: Limits, *, own_ports: set[int], broadcasts: set[bytes]
    ) -> DatagramGate:
        return DatagramGate(access, limits, self._clock, own_ports=own_ports, broadcasts=broadcasts, total=self._total)

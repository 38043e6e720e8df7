"""The membership of services whose connections belong to several processes, or machines."""

from __future__ import annotations

from echod.bus.bus_interface import Bus
from echod.model import Context
from echod.services.replicated_queue import ReplicatedQueue
from echod.services.replicated_rooms import ReplicatedRooms


class ReplicatedMembership:
    """As `Membership`, over a bus. `service` is the name of the service, and `context` its context."""

    def __init__(self, bus: Bus, service: str, context: Context) -> None:
        self._bus = bus
        self._service = service
        self._context = context
        self._rooms: ReplicatedRooms | None = None
        self._queue: ReplicatedQueue | None = None
        self._is_new = True  # whether the next call sets the limits

    def begin_again(self) -> None:
        """A service of this name was removed, and is added again: its limits are those of the next call."""
        self._is_new = True

    def rooms(self, history: int, rooms: int, room_rate: float) -> ReplicatedRooms:
        """As Membership."""
        limits = (history, rooms, room_rate)
        if self._rooms is None:
            self._rooms = ReplicatedRooms(self._bus, f"rooms {self._service}", self._context, limits)
        elif self._is_new:
            self._rooms.reconfigure(*limits)
        self._is_new = False
        return self._rooms

    def queue(self, away: str, most: int, most_in_all: int) -> ReplicatedQueue:
        """As Membership."""
        limits = (away, most, most_in_all)
        if self._queue is None:
            self._queue = ReplicatedQueue(self._bus, f"queue {self._service}", self._context, limits)
        elif self._is_new:
            self._queue.reconfigure(*limits)
        self._is_new = False
        return self._queue


class Memberships:
    """The memberships of all services of one process, over one bus: each topic is joined once."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._made: dict[str, ReplicatedMembership] = {}

    def of(self, service: str, context: Context) -> ReplicatedMembership:
        """The membership of a service, as `SharedState.membership`: at its start, or when it is added again."""
        if service in self._made:
            self._made[service].begin_again()
        else:
            self._made[service] = ReplicatedMembership(self._bus, service, context)
        return self._made[service]

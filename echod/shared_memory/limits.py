"""The limits of a daemon with several processes: each process decides by the use of all processes.

No process waits for another, so two of them may decide at the same moment. Therefore the limits have these bounds:

* Slots of connections, of a client, and of handshakes: a limit is exceeded by at most one for each other process.
* Rates: in t seconds at most `rate * t` plus one burst for each process is admitted. A process that meets a network for
  the first time, or after a pause, counts only what it and others take from then on: hence a burst of its own.
* Unsent bytes: each process sees the sum at each change of its own part; other changes after `refresh`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any, Final

from echod.gate.buckets import TABLE, Buckets
from echod.gate.handshakes import MOST, Evict, Handshakes
from echod.gate.limits import Rate
from echod.gate.network_rate import TOTAL, TOTAL_BYTES, Total
from echod.gate.total_buffer import SendBudget
from echod.shared_memory.memory import CELLS, Keys, Meter, Row, SharedMemory, Table

CLIENTS: Final = 4096  #: clients whose hashes are kept: a hash costs as much as the rest


class Gauge:
    """One number of this process, and the sum of all."""

    def __init__(self, memory: SharedMemory, column: int, row: Row) -> None:
        self._memory = memory
        self._start = memory.row_start(row)
        self._at = self._start + column

    def set(self, value: int) -> None:
        """Set the number of this process."""
        self._memory.words[self._at] = value

    def add(self, by: int) -> None:
        """Add to the number of this process."""
        self._memory.words[self._at] += by

    def total(self) -> int:
        """The sum of all processes."""
        return sum(self._memory.row(self._start))

    def elsewhere(self) -> int:
        """The sum of all other processes."""
        return self.total() - self._memory.words[self._at]


class Cells:
    """One meter, and the counts of other processes in each cell since this process looked at it last."""

    def __init__(self, memory: SharedMemory, column: int, meter: Meter) -> None:
        self._memory = memory
        self._column = column
        self._start = memory.cell_start(meter, 0)
        self._seen = array("q", bytes(8 * CELLS))
        self._known = bytearray(CELLS)  # whether the cell was looked at before

    def cell_of(self, key: bytes) -> int:
        """The cell of a key."""
        return self._memory.hash_of(key) % CELLS

    def add(self, cell: int, by: int) -> None:
        """Count for this process."""
        self._memory.words[self._start + cell * self._memory.columns + self._column] += by

    def since_last(self, cell: int) -> int:
        """The counts of other processes since the last call; 0 at the first call."""
        row = self._memory.row(self._start + cell * self._memory.columns)
        total = sum(row) - row[self._column]
        before, self._seen[cell] = self._seen[cell], total
        if not self._known[cell]:
            self._known[cell] = 1
            return 0
        return total - before


class SharedSlots:
    """The connections of one service in all processes. As `gate.connections.SlotsElsewhere`."""

    def __init__(self, memory: SharedMemory, column: int, service: str) -> None:
        self._memory = memory
        self._table = Keys(memory, Table.SLOTS, column)
        self._services = Keys(memory, Table.OPEN, column)
        self._hash_of = memory.hash_of
        self._service = service.encode()
        self._open = memory.hash_of(b"open", self._service)
        self._keys: dict[bytes, int] = {}  # by client

    def processes(self) -> int:
        """As SlotsElsewhere."""
        return max(0, len(self._memory.in_use()) - 2)  # without this one and the parent

    def open(self) -> int:
        """As SlotsElsewhere."""
        return self._services.elsewhere(self._open)

    def of_client(self, client: bytes) -> int:
        """As SlotsElsewhere."""
        return self._table.elsewhere(self._key_of(client))

    def set_open(self, count: int) -> None:
        """As SlotsElsewhere."""
        self._services.set(self._open, count)

    def set_of_client(self, client: bytes, count: int) -> None:
        """As SlotsElsewhere. If the place of a client is taken, other processes do not count its connections here."""
        self._table.set(self._key_of(client), count)

    def _key_of(self, client: bytes) -> int:
        key = self._keys.get(client)
        if key is None:
            if len(self._keys) >= CLIENTS:
                self._keys.clear()
            key = self._keys[client] = self._hash_of(b"client", self._service, client)
        return key


class MeteredBuckets(Buckets[bytes]):
    """Token buckets whose tokens all processes take. `name` distinguishes them from those of another service."""

    def __init__(self, rate: Rate, cells: Cells, name: bytes) -> None:
        super().__init__(rate)
        self._cells = cells
        self._name = name

    def take(self, key: bytes, now: float, cost: float = 1.0) -> bool:
        """As Buckets. Tokens of other processes count as if they were taken right after the last call."""
        cell = self._cells.cell_of(self._name + key)
        elsewhere = self._cells.since_last(cell)
        if key in self._full_at:
            self._full_at[key] += elsewhere * self._interval
        taken = super().take(key, now, cost)
        if taken:
            self._cells.add(cell, round(cost))
        return taken


class NetworkMeters:
    """The use of the rates of networks by all processes, for one service. As `gate.network_rate.Elsewhere`."""

    def __init__(self, replies: Cells, sizes: Cells, name: bytes) -> None:
        self._replies = replies
        self._sizes = sizes
        self._name = name
        self._cells: dict[bytes, int] = {}  # by network: a hash costs more than the rest

    def since_last(self, network: bytes) -> tuple[int, int]:
        """As Elsewhere."""
        cell = self._cell_of(network)
        return self._replies.since_last(cell), self._sizes.since_last(cell)

    def take(self, network: bytes, count: int, size: int) -> None:
        """As Elsewhere."""
        cell = self._cell_of(network)
        self._replies.add(cell, count)
        self._sizes.add(cell, size)

    def _cell_of(self, network: bytes) -> int:
        cell = self._cells.get(network)
        if cell is None:
            if len(self._cells) >= TABLE:
                self._cells.clear()
            cell = self._cells[network] = self._replies.cell_of(self._name + network)
        return cell


class SharedConsents:
    """The consents of datagram members in all processes. As `gate.datagram_member_gate.ConsentsElsewhere`."""

    def __init__(self, memory: SharedMemory, column: int, clock: Callable[[], float]) -> None:
        self._table = Keys(memory, Table.CONSENTS, column)
        self._hash_of = memory.hash_of
        self._clock = clock

    def keep(self, address: bytes, until: float) -> None:
        """As ConsentsElsewhere. If the place of an address is taken, it is challenged again by another process."""
        self._table.least = int(self._clock() * 1000)  # a consent that has ended gives its place to another one
        self._table.set(self._hash_of(address), int(until * 1000))

    def until(self, address: bytes) -> float:
        """As ConsentsElsewhere."""
        return self._table.most(self._hash_of(address)) / 1000


class SharedTotal(Total):
    """The limits of the whole daemon, over all services and processes."""

    def __init__(self, memory: SharedMemory, column: int) -> None:
        super().__init__()
        self._all = Gauge(memory, column, Row.REPLIES), Gauge(memory, column, Row.REPLY_BYTES)
        self._seen = [gauge.elsewhere() for gauge in self._all]

    def take(self, count: int, size: int, now: float) -> bool:
        """As Total."""
        replies, sizes = self._all
        before, self._seen = self._seen, [replies.elsewhere(), sizes.elsewhere()]
        self.replies += (self._seen[0] - before[0]) / TOTAL.per_second
        self.bytes += (self._seen[1] - before[1]) / TOTAL_BYTES.per_second
        taken = super().take(count, size, now)
        if taken:
            replies.add(count)
            sizes.add(size)
        return taken


class SharedSendBudget(SendBudget):
    """The bytes that wait to be sent in all processes. Call `refresh` several times a second."""

    def __init__(self, tell: Callable[..., Any], memory: SharedMemory, column: int) -> None:
        super().__init__(tell)
        self._unsent = Gauge(memory, column, Row.UNSENT)
        self._lines = Gauge(memory, column, Row.MISSED)
        self._readers = Gauge(memory, column, Row.ENDED)

    @property
    def missed(self) -> int:
        """As SendBudget, of all processes."""
        return self._lines.total()

    @property
    def ended(self) -> int:
        """As SendBudget, of all processes."""
        return self._readers.total()

    def miss(self, count: int) -> None:
        """As SendBudget."""
        self._lines.add(count)

    def end_reader(self) -> None:
        """As SendBudget."""
        self._readers.add(1)

    def change(self, by: int) -> None:
        """As SendBudget."""
        self._unsent.add(by)
        self.refresh()

    def refresh(self) -> None:
        """Read the sum of all processes, and tell the listeners of the marks that it passed."""
        super().change(self._unsent.total() - self.total)


class SharedHandshakes(Handshakes):
    """The unfinished handshakes of this process, with a bound for those of all. Each process ends only its own."""

    def __init__(self, memory: SharedMemory, column: int, most: int = MOST) -> None:
        super().__init__(most)
        self._all = Gauge(memory, column, Row.HANDSHAKES)

    def in_all(self) -> int:
        """As Handshakes."""
        return self._all.total()

    def begin(self, evict: Evict) -> None:
        """As Handshakes."""
        super().begin(evict)
        self._all.set(len(self))

    def end(self, evict: Evict) -> None:
        """As Handshakes."""
        super().end(evict)
        self._all.set(len(self))

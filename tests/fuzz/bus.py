"""Targets of the bus between processes: the bytes of a broken process reach the hub."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from echod.bus.frames import Frame, Kind, encoded
from tests.bus import Processes
from tests.fuzz.draw import Draw
from tests.fuzz.target import Target

TOPICS: Final = ("topic", "other", "")


class _Journal:
    """A replica that keeps all messages."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []

    def received(self, node: int, message: bytes) -> int:
        self.entries.append(b"%d " % node + message)
        return 1

    def left(self, node: int) -> None:
        self.entries.append(b"%d" % node)

    def together(self, connected: bool) -> None:
        self.entries.append(b"%d" % connected)

    def state(self) -> Iterator[bytes]:
        yield from self.entries

    def restored(self, node: int, parts: Iterable[bytes] | None, lost: int) -> None:
        if parts is not None:
            self.entries = list(parts)


def _drawn(draw: Draw) -> bytes:
    """A frame, or other bytes."""
    if draw.byte() % 8 == 0:
        return draw.piece()
    return encoded(Frame(draw.choice(list(Kind)), draw.byte() % 8, draw.choice(TOPICS), draw.piece()))


def _attempt(data: bytes) -> bool:
    processes, draw = Processes(2), Draw(data)
    journals = [_Journal() for _ in processes.buses]
    topics = [bus.join("topic", journal) for bus, journal in zip(processes.buses, journals, strict=True)]
    processes.settle()
    with processes.hub.connect() as theirs:
        theirs.sendall(encoded(Frame(Kind.JOIN, 0, "topic")))
        while draw and len(processes.hub._nodes) == 3:
            theirs.sendall(_drawn(draw))
            processes.settle()
        accepted = len(processes.hub._nodes) == 3
    processes.settle()
    assert len(processes.hub._nodes) == 2, "a connection remains"
    topics[0].publish(b"the end")
    processes.settle()
    first, second = (journal.entries for journal in journals)
    assert first == second, "the replicas differ"
    assert first[-1] == b"1 the end", "a message is missing"
    processes.close()
    return accepted


TARGETS: Final = (Target("bus", "replicas that are equal, and a hub without the broken process", lambda: _attempt),)

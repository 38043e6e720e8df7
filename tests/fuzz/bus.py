"""Targets of the bus between processes: the bytes of a broken process reach the hub."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from echod.bus import resp
from echod.bus.frames import Frame, Kind, encoded
from tests.bus import Processes
from tests.fuzz.draw import Draw
from tests.fuzz.target import Target, assert_plain

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


LARGEST: Final = 200


def _flat(reply: object) -> object:
    """A reply that can be compared: an error is its text."""
    return [_flat(one) for one in reply] if isinstance(reply, list) else repr(reply)


def _replies(*parts: bytes) -> tuple[list[object], str]:
    """The replies in parts of a stream, and the reason for its end."""
    decoder, found = resp.Decoder(LARGEST), []
    try:
        for part in parts:
            decoder.add(part)
            found += [_flat(one) for one in decoder.replies()]
    except resp.WrongReply as error:
        return found, str(error)
    return found, ""


def _read(data: bytes) -> bool:
    draw = Draw(data)
    at, stream = draw.byte(), data[1:]
    whole, wrong = _replies(stream)
    parts, wrong_in_parts = _replies(stream[:at], stream[at:])
    assert_plain(wrong or "none")
    if not wrong and not wrong_in_parts:
        assert whole == parts, "the replies depend on the parts"
    shorter = min(len(whole), len(parts))
    assert whole[:shorter] == parts[:shorter], "the replies before an error depend on the parts"
    return bool(whole) and not wrong


TARGETS: Final = (
    Target("bus", "replicas that are equal, and a hub without the broken process", lambda: _attempt),
    Target(
        "bus-replies",
        "replies of a server that do not depend on the parts in which they arrive, or one line",
        lambda: _read,
        (b"\r\n", b"$5\r\nhello\r\n", b"*2\r\n", b">3\r\n", b"%1\r\n", b":1\r\n", b"_\r\n", b"#t\r\n", b"-ERR no\r\n"),
    ),
)

"""A path with a known behaviour: relays datagrams between a client and a server, and records what it did to each.

It runs as a process of its own: `python -m bench.accuracy.impaired_path SETTINGS`, where SETTINGS is a JSON object. It
prints its port, and at the end of its standard input one JSON object with a record for each datagram. Times are the
kernel's, of receiving and of sending, so the record is exact regardless of the time in the process.
"""

from __future__ import annotations

import heapq
import json
import random
import select
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Final

from echod.transports.packet_stamps import arrival_of, request_facts, sent_times

LARGEST: Final = 65_536
SPUN: Final = 0.0003  #: seconds before a datagram is due that are waited in a loop


@dataclass
class Direction:
    """The behaviour of one direction, and a record for each of its datagrams."""

    delay: float = 0.0  #: seconds
    jitter: float = 0.0  #: the delay is uniform between delay - jitter and delay + jitter
    loss: float = 0.0  #: probabilities
    duplicate: float = 0.0
    reorder: float = 0.0  #: sent without delay, so it overtakes earlier datagrams
    rate: float = 0.0  #: bits a second; 0 is unlimited
    records: list[dict[str, Any]] = field(default_factory=list)
    busy: float = 0.0  # until when the link sends

    def due(self, size: int, now: float, chance: random.Random) -> list[float]:
        """When each copy of a datagram is sent, by the monotonic clock."""
        if chance.random() < self.loss:
            return []
        copies = 2 if chance.random() < self.duplicate else 1
        times = []
        for _ in range(copies):
            overtakes = chance.random() < self.reorder
            at = now + (0.0 if overtakes else max(0.0, self.delay + chance.uniform(-self.jitter, self.jitter)))
            if self.rate:
                self.busy = max(self.busy, now) + size * 8 / self.rate
                at = max(at, self.busy + self.delay)
            times.append(at)
        return times


class Link:
    """A socket of the path, which remembers which record each datagram belongs to."""

    def __init__(self, opened: socket.socket) -> None:
        self.socket = opened
        request_facts(opened)
        self.sent: list[dict[str, Any]] = []

    def send(self, data: bytes, to: Any, record: dict[str, Any]) -> None:
        """Send a copy, and note when the kernel did."""
        before = time.time_ns()
        try:
            self.socket.sendto(data, to)
        except OSError:
            return
        record["sent"].append(before)
        self.sent.append(record)
        self.note_times()

    def note_times(self) -> None:
        """Replace the times before sending by the kernel's."""
        for number, sent_ns in sent_times(self.socket):
            record = self.sent[number]
            position = sum(1 for earlier in self.sent[:number] if earlier is record) if len(record["sent"]) > 1 else 0
            record["sent"][position] = sent_ns


def relay(server: tuple[str, int], ahead: Direction, home: Direction, seed: int) -> dict[str, Any]:
    """Relay until standard input ends; returns the records of both directions."""
    front, back = Link(_bound()), Link(_bound())
    print(front.socket.getsockname()[1], flush=True)
    chance = (random.Random(f"ahead {seed}"), random.Random(f"home {seed}"))
    client: Any = None
    queue: list[tuple[float, int, Link, bytes, Any, dict[str, Any]]] = []
    count = 0
    while True:
        wait = None if not queue else max(0.0, queue[0][0] - time.monotonic() - SPUN)
        ready, _, _ = select.select([front.socket, back.socket, sys.stdin], [], [], wait)
        if sys.stdin in ready:
            return {"ahead": ahead.records, "home": home.records}
        for link, way in ((front, ahead), (back, home)):
            while link.socket in ready:
                try:
                    data, ancillary, _, name = link.socket.recvmsg(LARGEST, 512)
                except BlockingIOError:
                    break
                now, received_ns = time.monotonic(), arrival_of(ancillary).received_ns
                client = name if way is ahead else client
                record: dict[str, Any] = {"head": data[:32].hex(), "received": received_ns, "sent": []}
                way.records.append(record)
                out, to = (back, server) if way is ahead else (front, client)
                for at in way.due(len(data), now, chance[way is home]):
                    count += 1
                    heapq.heappush(queue, (at, count, out, data, to, record))
        while queue and queue[0][0] - time.monotonic() < SPUN:
            at, _, link, data, to, record = heapq.heappop(queue)
            while time.monotonic() < at:
                pass
            link.send(data, to, record)
        front.note_times()
        back.note_times()


def _bound() -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind(("127.0.0.1", 0))
    opened.setblocking(False)
    return opened


def main() -> None:
    """Read the settings, and relay."""
    settings = json.loads(sys.argv[1])
    server: tuple[str, int] = ("127.0.0.1", settings["server"])
    found = relay(server, Direction(**settings["ahead"]), Direction(**settings["home"]), settings["seed"])
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()

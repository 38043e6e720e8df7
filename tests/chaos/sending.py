"""Attackers in their own process: `python -m tests.chaos.sending WAY …`.

It prints `now` when it begins, and at the end the number of what it sent.

flood SIZE SECONDS HOST PORT [HOST PORT …]              datagrams of that size, to each address in turn
forge COUNT SECONDS SOURCE SPORT HOST PORT              datagrams with the address SOURCE, each different
crowd COUNT SECONDS SOURCE HOST PORT                    connect from SOURCE, send, close: that many at once
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Sequence

from tests.chaos.connect_burst import Crowd
from tests.chaos.spoofed_packets import Spoofer

_AT_ONCE = 32  #: datagrams between two readings of the clock; few enough not to count as repetition (SAME of the gate)


def flood(size: int, seconds: float, places: Sequence[tuple[str, int]]) -> int:
    """Send from one socket that reads nothing."""
    sent, ends, payload = 0, time.monotonic() + seconds, bytes(size)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        while time.monotonic() < ends:
            for place in places:
                for _ in range(_AT_ONCE):
                    client.sendto(payload, place)
                sent += _AT_ONCE
    return sent


def forge(count: int, seconds: float, source: tuple[str, int], place: tuple[str, int]) -> int:
    """Send different datagrams: equal ones would be detected as a loop."""
    sent, ends = 0, time.monotonic() + seconds
    with Spoofer() as spoofer:
        while sent < count and time.monotonic() < ends:
            spoofer.send(source, place, b"%08d" % sent, _AT_ONCE)
            sent += _AT_ONCE
    return sent


def crowd(count: int, seconds: float, source: str, place: tuple[str, int]) -> int:
    """Served clients stay for a moment; the others try again."""
    sent, ends = 0, time.monotonic() + seconds
    while time.monotonic() < ends:
        with Crowd(place, count, [source]) as callers:
            callers.wait(1)
        sent += count
    return sent


def main(words: Sequence[str]) -> int:
    """Send."""
    way, first, seconds = words[0], int(words[1]), float(words[2])
    rest = words[3:]
    os.nice(19)  # a real attacker has its own machine, and does not use the processor of the server
    print("now", flush=True)
    if way == "flood":
        places = [(host, int(port)) for host, port in zip(rest[::2], rest[1::2], strict=True)]
        print(flood(first, seconds, places))
    elif way == "forge":
        print(forge(first, seconds, (rest[0], int(rest[1])), (rest[2], int(rest[3]))))
    else:
        print(crowd(first, seconds, rest[0], (rest[1], int(rest[2]))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

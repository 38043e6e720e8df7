"""A client that connects, sends a request, reads the reply and leaves, repeatedly: `python -m tests.chaos.visits …`.

visits SECONDS HOST PORT TEXT: TEXT is sent with its escapes decoded; the reply is everything until the server closes.
It prints a JSON object: the numbers of successes and failures, and the longest time in milliseconds.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Sequence

PATIENCE = 5.0  #: seconds for one visit


def visits(seconds: float, place: tuple[str, int], text: bytes) -> dict[str, float]:
    """Visit repeatedly for so many seconds."""
    well = wrong = 0
    longest = 0.0
    ends = time.monotonic() + seconds
    while (began := time.monotonic()) < ends:
        try:
            with socket.create_connection(place, PATIENCE) as client:
                client.sendall(text)
                client.shutdown(socket.SHUT_WR)
                heard = b""
                while piece := client.recv(65_536):
                    heard += piece
            well, wrong = (well + 1, wrong) if heard else (well, wrong + 1)
        except OSError:
            wrong += 1
        longest = max(longest, time.monotonic() - began)
    return {"well": well, "wrong": wrong, "longest": round(longest * 1000, 1)}


def main(words: Sequence[str]) -> int:
    """Visit."""
    seconds, host, port, text = words
    print("now", flush=True)
    print(json.dumps(visits(float(seconds), (host, int(port)), text.encode().decode("unicode_escape").encode())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

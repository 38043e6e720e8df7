"""What the gate's tests are made of: configurations, counters, and clients."""

from __future__ import annotations

import socket
from typing import Final

from tests.daemon import SECONDS, Daemon

SILENCE: Final = 0.2  #: seconds that an answer which must not come would have
LARGEST: Final = 65_536

WAYS: Final = {
    "spliced": ("auto", "echo"),
    "changed": ("auto", "upper"),
    "beside-the-plane": ("auto", "ack"),
    "plain": ("off", "echo"),
}
"""Every way that a stream may take: the plane, and the kind of service that takes it."""
STAYING: Final = {"ack": 'close = false\nshow = "no"'}
"""What a kind needs so that its connections stay for as long as their clients do."""

Place = tuple[str, int]


def configuration(plane: str, *services: str, defaults: str = "") -> str:
    """A file with these services: each is what stands behind `[services.`."""
    head = f'[daemon]\nplane = "{plane}"\ndrain = "1s"\n[defaults]\n{defaults}'
    return "\n".join([head, *("[services." + each for each in services)])


def stream(kind: str, limits: str = "", host: str = "127.0.0.1", more: str = "", name: str = "stream") -> str:
    """One service of a kind, over TCP."""
    lines = [
        f'{name}]\nkind = "{kind}"\nlisten = ["tcp://{host}:0"]',
        f"limits = {{ {limits} }}",
        STAYING.get(kind, ""),
        more,
    ]
    return "\n".join(lines)


def counted(daemon: Daemon, service: str, start: str) -> dict[str, int]:
    """What one address of a service counted in all. The daemon is stopped, and must have had no trouble."""
    daemon.check()
    figures = daemon.counters()[f"{service} {daemon.url(service, start)}"]
    daemon.check()
    return figures


def refused(figures: dict[str, int]) -> dict[str, int]:
    """The refusals among them, by their reason."""
    return {name.partition(":")[2]: count for name, count in figures.items() if name.startswith("refused:")}


def asking(daemon: Daemon, host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A datagram client at `host`, on no port of the daemon's own unless one is given."""
    while True:
        client = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(SECONDS)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        client.bind((host, port))
        if port or client.getsockname()[1] not in daemon.ports:
            return client
        client.close()


def asked(client: socket.socket, place: Place, question: bytes) -> bytes | None:
    """The answer to one datagram, or None where none comes in SILENCE."""
    client.sendto(question, place)
    return next(iter(heard(client, 1)), None)


def heard(client: socket.socket, at_most: int = 1_000_000, silence: float = SILENCE) -> list[bytes]:
    """The datagrams that come, until none does for so long."""
    came: list[bytes] = []
    client.settimeout(silence)
    try:
        while len(came) < at_most:
            came.append(client.recv(LARGEST))
    except TimeoutError:
        pass
    client.settimeout(SECONDS)
    return came


def settled(daemon: Daemon, place: Place, host: str = "127.0.0.1") -> int:
    """Wait until everything that was sent to `place` has been looked at: a queue is first in, first out.

    One question from `host` is answered for that. Returns how many were lost before, where the queue was full.
    """
    with asking(daemon, host) as last:
        for lost in range(5):
            last.sendto(b"LAST", place)
            if heard(last, 1, silence=SECONDS / 5):
                return lost
    raise AssertionError(f"{place} answers no more:\n{daemon.log()}")


def taken(client: socket.socket, source: bytes, still: float = 0.3) -> int:
    """Send until nothing has been taken for `still` seconds; how many octets were."""
    client.settimeout(still)
    view, sent = memoryview(source), 0
    try:
        while sent < len(source):
            sent += client.send(view[sent : sent + LARGEST])
    except TimeoutError:
        pass
    client.settimeout(SECONDS)
    return sent

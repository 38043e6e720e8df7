"""What the gate's tests are made of: configurations, counters, and datagram clients."""

from __future__ import annotations

import socket
from typing import Final

from tests.daemon import SECONDS, Daemon

SILENCE: Final = 0.2  #: seconds that an answer which must not come would have
LARGEST: Final = 65_536

Place = tuple[str, int]


def configuration(plane: str, *services: str, defaults: str = "") -> str:
    """A file with these services: each is what stands behind `[services.`."""
    return "\n".join([f'[daemon]\nplane = "{plane}"\ndrain = "1s"\n[defaults]\n{defaults}', *("[services." + each for each in services)])


def counted(daemon: Daemon, service: str, start: str) -> dict[str, int]:
    """What one address of a service counted in all. The daemon is stopped, and must have had no trouble."""
    daemon.check()
    return daemon.counters()[f"{service} {daemon.url(service, start)}"]


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
    client.settimeout(SILENCE)
    try:
        return client.recv(LARGEST)
    except TimeoutError:
        return None
    finally:
        client.settimeout(SECONDS)


def settled(daemon: Daemon, place: Place, host: str = "127.0.0.1") -> None:
    """Wait until everything that was sent to `place` has been looked at: a queue is first in, first out."""
    with asking(daemon, host) as last:
        last.settimeout(0.5)
        for _ in range(20):
            last.sendto(b"last", place)
            try:
                assert last.recv(LARGEST) == b"last"
            except TimeoutError:  # dropped where the queue was full
                continue
            return
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

"""Configurations, counters and clients for the tests of the gate."""

from __future__ import annotations

import select
import socket
from typing import Final

from tests.daemon import SECONDS, Daemon, is_waiting

SILENCE: Final = 0.2  #: seconds to wait for further replies that must not come
LARGEST: Final = 65_536

WAYS: Final = {
    "spliced": ("auto", "echo"),
    "changed": ("auto", "upper"),
    "beside-the-plane": ("auto", "ack"),
    "plain": ("off", "echo"),
}
"""Every path of a stream: the plane, and the kind of service."""
STAYING: Final = {"ack": 'close = false\nshow = "no"'}
"""Options of kinds whose connections must stay open as long as their clients."""

Place = tuple[str, int]


def configuration(plane: str, *services: str, defaults: str = "") -> str:
    """A configuration with these services: each is the text that follows `[services.`.

    With a short `drain`, a client that has closed would count as drained if the daemon is not scheduled meanwhile.
    """
    head = f'[daemon]\nplane = "{plane}"\ndrain = "600s"\n[defaults]\n{defaults}'
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
    """All counters of one address of a service. The daemon is stopped, and must have logged no error."""
    daemon.check()
    figures = daemon.counters()[f"{service} {daemon.url(service, start)}"]
    daemon.check()
    return figures


def refused(figures: dict[str, int]) -> dict[str, int]:
    """The refusals among them, by reason."""
    return {name.partition(":")[2]: count for name, count in figures.items() if name.startswith("refused:")}


def asking(daemon: Daemon, host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A datagram client at `host`, on a port that the daemon does not use, unless one is given."""
    while True:
        client = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(SECONDS)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        client.bind((host, port))
        if port or client.getsockname()[1] not in daemon.ports:
            return client
        client.close()


def asked(client: socket.socket, place: Place, question: bytes) -> bytes:
    """The reply to one datagram."""
    client.sendto(question, place)
    return client.recv(LARGEST)


def is_answered(client: socket.socket, place: Place, question: bytes, other: socket.socket) -> bool:
    """Whether one datagram has a reply. A later request of `other` must have one: a queue is first in, first out."""
    client.sendto(question, place)
    asked(other, place, b"LAST")
    return bool(select.select([client], [], [], 0)[0])


def received(client: socket.socket, count: int) -> list[bytes]:
    """The next datagrams, which must come, and those that arrive in SILENCE after them."""
    return [client.recv(LARGEST) for _ in range(count)] + heard(client)


def heard(client: socket.socket, at_most: int = 1_000_000, silence: float = SILENCE) -> list[bytes]:
    """The datagrams that arrive, until none does for so many seconds."""
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
    """Wait until everything that was sent to `place` has been processed: a queue is first in, first out.

    One request from `host` gets a reply for that. Returns how many were lost before, because the queue was full.
    """
    with asking(daemon, host) as last:
        for lost in range(5):
            last.sendto(b"LAST", place)
            if heard(last, 1, silence=SECONDS / 5):
                return lost
    raise AssertionError(f"{place} does not reply any more:\n{daemon.log()}")


def taken(client: socket.socket, source: bytes, still: float = 0.3, pid: int | None = None) -> int:
    """Send until nothing is accepted for `still` seconds; returns the accepted bytes.

    With `pid`, that process must also wait for an event: otherwise it may only be late.
    """
    client.settimeout(still)
    view, sent = memoryview(source), 0
    while sent < len(source):
        try:
            sent += client.send(view[sent : sent + LARGEST])
        except TimeoutError:
            if pid is None or is_waiting(pid):
                break
    client.settimeout(SECONDS)
    return sent

"""Clients that connect and close in every way, and datagrams: as fast as Python can, and every byte is compared.

The connections of a batch are open at once: they are opened, used and closed one after the other. This saves most
context switches on both sides. The side that closes first keeps the port for a minute (TIME_WAIT), so clients move
on through 127.0.0.0/8.
"""

from __future__ import annotations

import errno
import random
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from functools import partial
from itertools import cycle, islice
from typing import Final

from tests.chaos.connect_burst import IP_BIND_ADDRESS_NO_PORT, RESET
from tests.daemon import SECONDS

Place = tuple[str, int]

BATCH: Final = 32  #: connections at once: few enough for every limit, and half of what a turn accepts
A_SOURCE: Final = 4_000  #: connections from one address: of 28,232 ports
MESSAGE: Final = 64  #: bytes
STUCK: Final = 1 << 18  #: bytes that a client sends without reading: more than the buffers on the way hold
DENIED: Final = "127.0.5.1"  #: a source that the daemon refuses
PATTERN: Final = random.Random(46).randbytes(STUCK + 251)
SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
VOLLEY: Final = 64  #: datagrams that are sent before the replies are read


class Way(StrEnum):
    """The ways of using a connection."""

    ECHO = "echo and close"
    HALF = "half-close"
    RESET = "echo and reset"
    AT_ONCE = "reset at once"
    REFUSED = "refused"
    STUCK = "stuck and reset"


MIX: Final = (Way.ECHO, Way.HALF, Way.RESET, Way.ECHO, Way.AT_ONCE, Way.HALF, Way.ECHO, Way.REFUSED)
A_STUCK: Final = 256  #: one connection among so many does not read


class Wrong(Exception):
    """A reply was wrong."""


class Cycles:
    """Connections to an echo. `ours` refuses DENIED, and loses no byte if a client half-closes; other servers may."""

    def __init__(self, place: Place, *, ours: bool) -> None:
        self.done: Counter[Way] = Counter()
        self._place = place
        self._ways = self._mix(ours)
        self._number = 0

    @property
    def count(self) -> int:
        """The number of connections."""
        return sum(self.done.values())

    def batch(self, size: int = BATCH) -> None:
        """One batch. Raises Wrong, or OSError if no reply arrives."""
        opened: list[tuple[Way, socket.socket, int]] = []
        try:
            for way in islice(self._ways, size):
                opened.append((way, *self._open(way)))
            for way, client, at in opened:
                if way is Way.STUCK:
                    self._stick(client, at)
                elif way not in (Way.AT_ONCE, Way.REFUSED):
                    client.sendall(PATTERN[at : at + MESSAGE])
                    if way is Way.HALF:
                        client.shutdown(socket.SHUT_WR)
            for way, client, at in opened:
                self._finish(way, client, PATTERN[at : at + MESSAGE])
        finally:
            for _, client, _ in opened:
                client.close()

    def _mix(self, ours: bool) -> Iterator[Way]:
        for number, way in enumerate(cycle(MIX), start=1):
            if number % A_STUCK == 0:
                yield Way.STUCK
            else:
                yield Way.ECHO if way in (Way.REFUSED, Way.HALF) and not ours else way

    def _open(self, way: Way) -> tuple[socket.socket, int]:
        self._number += 1
        source = 0x7F100001 + self._number // A_SOURCE  # 127.16.0.1 and up
        host = DENIED if way is Way.REFUSED else socket.inet_ntoa(struct.pack("!I", source))
        client = socket.socket()
        client.settimeout(SECONDS)
        client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        client.bind((host, 0))
        try:
            client.connect(self._place)
        except OSError as error:
            if way is not Way.REFUSED or not isinstance(error, ConnectionResetError):  # accepted and already refused
                client.close()
                raise
        return client, self._number % 251

    def _stick(self, client: socket.socket, at: int) -> None:
        client.setblocking(False)
        try:
            client.send(PATTERN[at : at + STUCK])
        except BlockingIOError:
            pass

    def _finish(self, way: Way, client: socket.socket, due: bytes) -> None:
        if way is Way.REFUSED:
            self._refused(client)
        elif way in (Way.ECHO, Way.HALF, Way.RESET):
            came = b""
            while len(came) < len(due) and (part := client.recv(MESSAGE - len(came))):
                came += part
            if came != due or (way is Way.HALF and client.recv(1)):
                raise Wrong(f"{way}: {len(came)} bytes, expected {len(due)}, or different bytes")
        if way in (Way.RESET, Way.AT_ONCE, Way.STUCK):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()
        self.done[way] += 1

    def _refused(self, client: socket.socket) -> None:
        try:
            if client.recv(1):
                raise Wrong("a denied client received a reply")
        except OSError as error:
            if error.errno not in (errno.ECONNRESET, errno.ENOTCONN):  # ENOTCONN if connect reported the first one
                raise


class Datagrams:
    """Datagrams to an echo, in volleys: single, split by the kernel, and from sources that must get no reply."""

    def __init__(self, place: Place, *, ours: bool) -> None:
        self.sent = self.answered = self.refused = self.lost = 0
        self._number = 0
        self._late: set[bytes] = set()  # without a reply in time: counted as lost, until the reply arrives
        hosts = ["127.0.0.1", "127.32.0.1", "127.33.0.1", "127.34.0.1"]
        self._sockets = [self._open(place, host) for host in hosts]
        self._denied = self._open(place, DENIED) if ours else None
        joined = self._open(place, "127.35.0.1")
        joined.setsockopt(SOL_UDP, UDP_GRO, 1)
        ways = [partial(self._volley, one) for one in self._sockets] + [partial(self._joined, joined)] * 4
        ways += [partial(self._nowhere, self._denied)] if self._denied else []
        self._sockets.append(joined)
        self._ways = cycle(ways)

    def batch(self) -> None:
        """One volley. Raises Wrong."""
        next(self._ways)()

    def close(self) -> None:
        """Close the sockets."""
        for one in (*self._sockets, *([self._denied] if self._denied else [])):
            one.close()

    def _open(self, place: Place, host: str) -> socket.socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.settimeout(1)
        opened.bind((host, 0))
        opened.connect(place)
        return opened

    def _datagrams(self) -> list[bytes]:
        begin, self._number = self._number, self._number + VOLLEY
        self.sent += VOLLEY
        return [
            number.to_bytes(8, "big") + PATTERN[number % 251 : number % 251 + MESSAGE - 8]
            for number in range(begin, begin + VOLLEY)
        ]

    def _volley(self, one: socket.socket) -> None:
        due = self._datagrams()
        for datagram in due:
            one.send(datagram)
        self._receive(one, due)

    def _joined(self, one: socket.socket) -> None:
        due = self._datagrams()
        one.sendmsg([b"".join(due)], [(SOL_UDP, UDP_SEGMENT, struct.pack("H", MESSAGE))])
        self._receive(one, due)

    def _receive(self, one: socket.socket, due: list[bytes]) -> None:
        """Receive the replies, alone or joined by the kernel, and compare them."""
        came: list[bytes] = []
        try:
            while len(came) < len(due):
                joined = one.recv(65_536)
                pieces = [joined[at : at + MESSAGE] for at in range(0, len(joined), MESSAGE)] or [b""]
                came += [piece for piece in pieces if not self._is_late(piece)]
        except TimeoutError:  # a full buffer loses some: this is counted and is not an error
            missing = set(due) - set(came)
            self._late |= missing
            self.lost += len(missing)
        if came != due and not (len(came) < len(due) and set(came) <= set(due)):
            raise Wrong("a datagram came back changed, twice or out of order")
        self.answered += len(came)

    def _is_late(self, piece: bytes) -> bool:
        """Whether this is the reply to a datagram of an earlier volley: the server was stopped for a moment."""
        if piece not in self._late:
            return False
        self._late.remove(piece)
        self.lost, self.answered = self.lost - 1, self.answered + 1
        return True

    def _nowhere(self, one: socket.socket) -> None:
        for datagram in self._datagrams():
            one.send(datagram)
        self.refused += VOLLEY
        one.setblocking(False)
        try:
            one.recv(1)
        except BlockingIOError:
            return
        raise Wrong("a denied source received a reply")

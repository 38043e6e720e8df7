"""Clients that come and go, in every way that there is, and datagrams: as fast as Python can, and each octet compared.

A batch of connections is open at once, for they are opened, used and left one after the other: that spares both sides
most changes of process. Whoever ends first keeps the port for a minute (TIME_WAIT), so clients move on through
127.0.0.0/8.
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

Place = tuple[str, int]

SECONDS: Final = 20.0  #: longer than an answer takes that comes at all
BATCH: Final = 32  #: connections at once: few enough for every limit, and half of what a turn accepts
A_SOURCE: Final = 4_000  #: connections from one address: of 28,232 ports
MESSAGE: Final = 64  #: octets
STUCK: Final = 1 << 18  #: octets that a client sends and never reads: more than there is room for on the way
DENIED: Final = "127.0.5.1"  #: whom the daemon refuses
PATTERN: Final = random.Random(46).randbytes(STUCK + 251)
SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
VOLLEY: Final = 64  #: datagrams that are sent before the answers are read


class Way(StrEnum):
    """What becomes of a connection."""

    ECHO = "echo and close"
    HALF = "half-close"
    RESET = "echo and reset"
    AT_ONCE = "reset at once"
    REFUSED = "refused"
    STUCK = "stuck and reset"


MIX: Final = (Way.ECHO, Way.HALF, Way.RESET, Way.ECHO, Way.AT_ONCE, Way.HALF, Way.ECHO, Way.REFUSED)
A_STUCK: Final = 256  #: one connection among so many is stuck


class Wrong(Exception):
    """An answer that was not what it had to be."""


class Cycles:
    """Connections to an echo. `ours` refuses DENIED, and loses nothing where a client ends first: others may."""

    def __init__(self, place: Place, *, ours: bool) -> None:
        self.done: Counter[Way] = Counter()
        self._place = place
        self._ways = self._mix(ours)
        self._number = 0

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.done.values())

    def batch(self, size: int = BATCH) -> None:
        """Some of them. Raises Wrong, or OSError where nothing comes at all."""
        opened = [(way, *self._open(way)) for way in islice(self._ways, size)]
        try:
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
        except ConnectionResetError:  # accepted and refused already
            if way is not Way.REFUSED:
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
                raise Wrong(f"{way}: {len(came)} octets of {len(due)}, or others")
        if way in (Way.RESET, Way.AT_ONCE, Way.STUCK):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()
        self.done[way] += 1

    def _refused(self, client: socket.socket) -> None:
        try:
            if client.recv(1):
                raise Wrong("who was to be refused has an answer")
        except OSError as error:
            if error.errno not in (errno.ECONNRESET, errno.ENOTCONN):  # the second where connect has told the first
                raise


class Datagrams:
    """Datagrams to an echo, by the volley: alone, split by the kernel, and from where no answer may go."""

    def __init__(self, place: Place, *, ours: bool) -> None:
        self.sent = self.answered = self.refused = self.lost = 0
        self._number = 0
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
        """No more."""
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
        came = []
        try:
            for _ in due:
                came.append(one.recv(MESSAGE + 1))
        except TimeoutError:  # a full buffer loses some, and nothing is wrong with that but a figure
            self.lost += len(due) - len(came)
        self._compare(came, due)

    def _joined(self, one: socket.socket) -> None:
        due = self._datagrams()
        one.sendmsg([b"".join(due)], [(SOL_UDP, UDP_SEGMENT, struct.pack("H", MESSAGE))])
        octets = b""
        try:
            while len(octets) < MESSAGE * VOLLEY:
                octets += one.recv(65_536)
        except TimeoutError:
            self.lost += VOLLEY - len(octets) // MESSAGE
        self._compare([octets[at : at + MESSAGE] for at in range(0, len(octets), MESSAGE)], due)

    def _compare(self, came: list[bytes], due: list[bytes]) -> None:
        if came != due and not (len(came) < len(due) and set(came) <= set(due)):
            raise Wrong("a datagram came back changed, twice or out of order")
        self.answered += len(came)

    def _nowhere(self, one: socket.socket) -> None:
        for datagram in self._datagrams():
            one.send(datagram)
        self.refused += VOLLEY
        one.setblocking(False)
        try:
            one.recv(1)
        except BlockingIOError:
            return
        raise Wrong("who was to be refused has an answer")

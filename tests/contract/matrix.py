"""The services and transports of all contracts, a daemon for each plane, and clients.

A contract is a class of tests about one service over one transport. `everywhere` makes a test case of it for each
transport and each plane; pytest and trial both run those.
"""

from __future__ import annotations

import atexit
import hashlib
import random
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from hypothesis import HealthCheck, settings
from twisted.trial.unittest import SynchronousTestCase

from echod.model import Service
from echod.services.registry import kinds
from echod.shape import Shape
from tests.daemon import SECONDS, Daemon, Place, is_waiting
from tests.tls import TlsSocket
from tests.websocket import WebSocketClient

MIB: Final = 1 << 20
PLANES: Final = ("auto", "off")
SHOWN: Final = "shown"  #: the daemon that prints what clients send; its fast path is on
STREAM: Final = Shape.STREAM
MESSAGE: Final = Shape.MESSAGE
DATAGRAM: Final = Shape.DATAGRAM
REQUEST: Final = Shape.REQUEST

# One contract is one test function for every transport; a slow example is not a failure on two shared cores.
anything = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.differing_executors])


class Stream(Protocol):
    """The methods that a stream client needs; a socket has them."""

    def send(self, data: memoryview, /) -> int: ...
    def sendall(self, data: bytes | memoryview, /) -> None: ...
    def recv(self, size: int, /) -> bytes: ...
    def shutdown(self, how: int, /) -> None: ...
    def settimeout(self, seconds: float | None, /) -> None: ...
    def setsockopt(self, level: int, option: int, value: bytes, /) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Transport:
    """A way to carry bytes. `connect` makes a connected client; its sockets have a timeout."""

    carries: Shape
    listen: str  #: the address for the daemon; `{name}` is replaced by the service's name
    connect: Callable[[Place], Any]
    bare: bool = True  #: whether no layer is between socket and service: it has urgent data
    fast: bool = True  #: whether it has a fast path


def _stream(
    family: socket.AddressFamily, kind: socket.SocketKind = socket.SOCK_STREAM
) -> Callable[[Place], socket.socket]:
    def connect(place: Place) -> socket.socket:
        opened = socket.socket(family, kind)
        opened.settimeout(SECONDS)
        if kind is socket.SOCK_SEQPACKET:  # credentials distinguish an empty message from the end
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        opened.connect(place)
        return opened

    return connect


def _datagram(family: socket.AddressFamily, host: str, asked: str | None = None) -> Callable[[Place], socket.socket]:
    """Clients at `host` that receive only from the address they send to: the daemon's, or `asked` in its place."""

    def connect(place: Place) -> socket.socket:
        while True:
            opened = socket.socket(family, socket.SOCK_DGRAM)
            opened.settimeout(SECONDS)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MIB)
            opened.bind((host, 0))
            if opened.getsockname()[1] in _ports():  # the loop guard would treat the client as the daemon itself
                opened.close()
                continue
            opened.connect((asked, place[1]) if asked else place)
            return opened

    return connect


def _tls(place: Place) -> TlsSocket:
    return TlsSocket(_stream(socket.AF_INET)(place))


def _named(place: Place) -> socket.socket:
    """A client of a Unix datagram socket, with a name chosen by the kernel: a socket without a name gets no reply."""
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    opened.settimeout(SECONDS)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MIB)
    opened.bind("")
    opened.connect(place)
    return opened


TRANSPORTS: Final[Mapping[str, Transport]] = {
    "tcp": Transport(STREAM, "tcp://127.0.0.1:0", _stream(socket.AF_INET)),
    "tls": Transport(STREAM, "tls://127.0.0.1:0", _tls, bare=False),
    "tcp6": Transport(STREAM, "tcp://[::1]:0", _stream(socket.AF_INET6)),
    "unix": Transport(STREAM, "unix://{dir}/{name}.sock", _stream(socket.AF_UNIX)),
    "udp": Transport(DATAGRAM, "udp://127.0.0.1:0", _datagram(socket.AF_INET, "127.0.0.1")),
    "udp6": Transport(DATAGRAM, "udp://[::1]:0", _datagram(socket.AF_INET6, "::1")),
    "udp-any": Transport(DATAGRAM, "udp://*:0", _datagram(socket.AF_INET, "127.0.0.1", asked="127.0.0.2")),
    "unix-seqpacket": Transport(
        MESSAGE, "unix-seqpacket://{dir}/{name}.seq", _stream(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ),
    "ws": Transport(MESSAGE, "ws://127.0.0.1:0/", WebSocketClient, bare=False, fast=False),
    "wss": Transport(MESSAGE, "wss://127.0.0.1:0/", partial(WebSocketClient, secure=True), bare=False, fast=False),
    "http": Transport(REQUEST, "http://127.0.0.1:0", _stream(socket.AF_INET), fast=False),
    "unix-dgram": Transport(DATAGRAM, "unix-dgram://{dir}/{name}.dgram", _named),
}
"""Every transport of this version; a scheme without a line here fails a test."""

SERVICES: Final[Mapping[str, str]] = {
    "echo": 'kind = "echo"',
    "upper": 'kind = "upper"',
    "discard": 'kind = "discard"',
    "discard-text": 'kind = "discard"\nshow = "text"',
    "discard-hex": 'kind = "discard"\nshow = "hex"',
    "ack": 'kind = "ack"\nshow = "no"',
    "ack-text": 'kind = "ack"\nshow = "text"',
    "ack-stays": 'kind = "ack"\nclose = false\nshow = "no"',
    "bin": 'kind = "bin"',
    "revocation": 'kind = "revocation"',
    "chargen": 'kind = "chargen"',
    "chargen-rfc864": 'kind = "chargen"\nrfc864 = true',
    "chat": 'kind = "chat"',
    "console": 'kind = "console"\naway = "back at nine"\nunanswered = 3',
    "daytime": 'kind = "daytime"',
    "qotd": 'kind = "qotd"',
    "reflector": 'kind = "reflector"',
    "reflector-stateful": 'kind = "reflector"\nstateful = true',
    "sockperf": 'kind = "sockperf"',
    "time": 'kind = "time"',
    "udpechoplus": 'kind = "udpechoplus"\ncounters = "client"',
    "whoami": 'kind = "whoami"',
}
"""Every kind, with the options that need a contract."""

COVERED: Final[set[tuple[str, str]]] = set()
"""The services and transports that have a contract: filled as the test modules are imported."""


def _reachable(transport: Transport) -> bool:
    """Whether this machine has the transport's address family."""
    if "[::1]" not in transport.listen:
        return True
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


REACHABLE: Final = {name: transport for name, transport in TRANSPORTS.items() if _reachable(transport)}


def kind_of(options: str) -> type[Service]:
    """The kind that the lines of a service name."""
    named = re.search(r'kind = "(.*)"', options)
    assert named
    return kinds(plugins=())[named[1]]


def configuration(plane: str, services: Mapping[str, str] = SERVICES) -> str:
    """A configuration with every service over every transport of this machine."""
    parts = [f'[daemon]\nplane = "{plane}"\ndrain = "2s"\n[defaults.limits]\nrate = "0"\n']
    for name, options in services.items():
        listen = [
            transport.listen.replace("{name}", name)
            for transport in REACHABLE.values()
            if kind_of(options).is_served_over(transport.carries)
        ]
        parts.append(f"[services.{name}]\nlisten = {listen}\n{options}\n")
        if kind_of(options).streams:
            parts.append(f'[services.{name}.tls]\ncertificate = "self-signed"\n')
    return "\n".join(parts)


_running: dict[str, Daemon] = {}


def shared(plane: str) -> Daemon:
    """The daemon of a plane: one process for all contracts, until the end."""
    if plane not in _running:
        shown = plane == SHOWN
        options = ["--show=hex"] if shown else []
        _running[plane] = daemon = Daemon(configuration("auto" if shown else plane), options=options)
        try:
            daemon.start()
        except BaseException:
            del _running[plane]
            daemon.close()
            raise
        atexit.register(_end, daemon)
    return _running[plane]


def _end(daemon: Daemon) -> None:
    """Stop it; the log is shown if that fails."""
    try:
        if daemon.stop() != 0:
            print(daemon.log(), file=sys.stderr)
    finally:
        daemon.close()


def _ports() -> set[int]:
    return {port for daemon in _running.values() for port in daemon.ports}


if TYPE_CHECKING:
    _Case = SynchronousTestCase
else:
    _Case = object


class Contract(_Case):
    """The contract of a service over every transport. `everywhere` sets the attributes below."""

    plane: str
    name: str  #: of the transport
    service: str

    def setUp(self) -> None:
        self.daemon = shared(self.plane)
        self.transport = TRANSPORTS[self.name]

    def tearDown(self) -> None:
        self.daemon.check()

    @property
    def place(self) -> Place:
        """The address of the service."""
        return self.place_of(self.service)

    def place_of(self, service: str) -> Place:
        """The address of another service, over the same transport."""
        return self.daemon.place(service, self.transport.listen.partition(":0")[0].partition("{")[0])

    def connect(self, service: str | None = None) -> Any:
        """A connected client, which is closed at the end."""
        client = self.transport.connect(self.place_of(service or self.service))
        self.addCleanup(client.close)
        return client


def everywhere(contract: type[Contract], carries: Shape, *services: str, bare_only: bool = False) -> dict[str, type]:
    """A test case of the contract for each of the services, each transport of that shape, and each plane.

    Transports without a fast path are tested once. `bare_only` leaves them out.
    """
    cases = {}
    for service in services:
        for name, transport in TRANSPORTS.items():
            if transport.carries is not carries or (bare_only and not transport.bare):
                continue
            COVERED.add((service, name))
            for plane in PLANES if transport.fast else PLANES[:1]:
                title = f"{contract.__name__}_{service}_{name}_{plane}".replace("-", "_")
                known = {"__module__": contract.__module__, "service": service, "name": name, "plane": plane}
                if name not in REACHABLE:
                    known["skip"] = f"this machine has no {name}"
                cases[title] = type(title, (contract, SynchronousTestCase), known)
    return cases


@cache
def data(size: int = 64 * MIB) -> bytes:
    """So many random bytes, always the same ones."""
    return random.Random(862).randbytes(size)


def digest(pieces: Iterable[bytes]) -> tuple[int, str]:
    """The number of received bytes, and their hash."""
    total, summary = 0, hashlib.sha256()
    for piece in pieces:
        total += len(piece)
        summary.update(piece)
    return total, summary.hexdigest()


def incoming(stream: Stream) -> Iterator[bytes]:
    """The digest of everything until the other end closes."""
    while piece := stream.recv(256 * 1024):
        yield piece


def rest(stream: Stream) -> bytes:
    """Everything until the other end closes."""
    return b"".join(incoming(stream))


def exactly(stream: Stream, size: int) -> bytes:
    """The next `size` bytes, or fewer if the other end closes before."""
    parts = []
    while size and (piece := stream.recv(size)):
        parts.append(piece)
        size -= len(piece)
    return b"".join(parts)


def fill(stream: Stream, pid: int, source: bytes) -> int:
    """Send until nothing is accepted for 0.1 s, and the daemon waits for an event; returns the accepted bytes.

    `pid` is the daemon's process. While it is not scheduled, it accepts nothing either.
    """
    stream.settimeout(0.1)
    view, sent = memoryview(source), 0
    while sent < len(source):
        try:
            sent += stream.send(view[sent : sent + 65_536])
        except TimeoutError:
            if is_waiting(pid):
                break
    stream.settimeout(SECONDS)
    return sent


class Sending(threading.Thread):
    """Sends pieces and shuts down sending, while another thread reads. Joining it raises its error."""

    def __init__(self, stream: Stream, pieces: Iterable[bytes | memoryview]) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self._pieces = pieces
        self._wrong: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            for piece in self._pieces:
                self._stream.sendall(piece)
            self._stream.shutdown(socket.SHUT_WR)
        except BaseException as wrong:
            self._wrong = wrong

    def over(self) -> None:
        """Wait for the end."""
        self.join(SECONDS)
        if self._wrong is not None:
            raise self._wrong
        assert not self.is_alive(), "the sender is stuck"


def pieces(source: bytes, sizes: Iterable[int]) -> Iterator[memoryview]:
    """The source cut into pieces of these sizes; the last piece is the rest."""
    view = memoryview(source)
    for size in sizes:
        yield view[:size]
        view = view[size:]
    if view:
        yield view


def answer(stream: Stream, source: Iterable[bytes | memoryview]) -> tuple[int, str]:
    """Send everything and shut down sending, and read meanwhile until the other end closes; returns the digest."""
    sending = Sending(stream, source)
    came = digest(incoming(stream))
    sending.over()
    return came

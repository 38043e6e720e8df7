"""Each fault over each transport on which it exists, as independent clients see it: sockets, ssl and websockets."""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import socket
import struct
import termios
import time
from collections.abc import Iterator
from typing import Any

import pytest

from echod.config import schema
from echod.shape import Shape
from echod.transports.kernel_socket import permits_filters
from tests.contract.matrix import TRANSPORTS
from tests.daemon import SECONDS, Daemon, eventually
from tests.websocket import WebSocketClient

SENT = b"the quick brown fox jumps over the lazy dog"
STREAMS = ("tcp", "unix", "tls")
MESSAGES = ("unix-seqpacket", "ws", "wss")
DATAGRAMS = ("udp", "unix-dgram")
CONNECTIONS = (*STREAMS, *MESSAGES)
ALL = (*CONNECTIONS, *DATAGRAMS)

FAULTS = {
    "delay": 'delay = "300ms"\njitter = "10ms"\ndistribution = "normal"',
    "rate": 'rate = "100"',
    "chunk": 'chunk = "5"',
    "drop": "drop = 0.5\nseed = 1",
    "burst": "drop = 0.5\nburst = 3\nseed = 2",
    "duplicate": "duplicate = 1",
    "reorder": "reorder = 0.5\nseed = 3",
    "corrupt": "corrupt = 1",
    "truncate": 'truncate = "7"',
    "reset-after": 'reset-after = "7"',
    "close-after": 'close-after = "7"',
    "half-close-after": 'half-close-after = "7"',
    "half-open-after": 'half-open-after = "7"',
    "hang-after": 'hang-after = "7"',
    "refuse": "refuse = true",
    "silent": "silent = true",
    "never-read": "never-read = true",
    "delay-close": 'delay-close = "300ms"',
    "backlog-full": "backlog-full = true",
    "every": "every = 2\nsilent = true",
    "first": "first = 1\nsilent = true",
    "clients": 'clients = ["127.0.0.0/8"]\nsilent = true',
    "others": 'clients = ["192.0.2.0/24"]\nsilent = true',
}
OF_STREAMS, OF_MESSAGES = {"chunk"}, {"drop", "burst", "duplicate", "reorder"}
OF_CONNECTIONS = {key for key in FAULTS if key.endswith("-after")} | {"refuse", "never-read", "delay-close"}


def transports(fault: str) -> tuple[str, ...]:
    if fault in OF_STREAMS:
        return STREAMS
    if fault == "backlog-full":  # the port of a WebSocket may have other services
        return (*STREAMS, "unix-seqpacket")
    if fault in OF_MESSAGES:
        return (*MESSAGES, *DATAGRAMS)
    if fault == "half-open-after":  # a Unix socket has no packets
        return ("tcp", "tls", "ws", "wss")
    return CONNECTIONS if fault in OF_CONNECTIONS else ALL


def configuration() -> str:
    text = '[defaults.limits]\nbuffer = "4KiB"\n'
    for fault, table in FAULTS.items():
        name = fault
        listen = [TRANSPORTS[one].listen.replace("{name}", name) for one in transports(fault)]
        text += f'[services.{name}]\nkind = "echo"\nlisten = {listen}\n[services.{name}.faults]\n{table}\n'
        text += (
            f'[services.{name}.tls]\ncertificate = "self-signed"\n' if set(transports(fault)) & {"tls", "wss"} else ""
        )
    return text


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(configuration()) as running:
        yield running


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


OPEN: list[Any] = []


class Client:
    """A client of a service that echoes, over any transport."""

    def __init__(self, daemon: Daemon, fault: str, transport: str) -> None:
        self.shape = TRANSPORTS[transport].carries
        self.is_unix = transport.startswith("unix")
        self.socket = TRANSPORTS[transport].connect(daemon.place(fault, transport))
        OPEN.append(self.socket)

    def send(self, *messages: bytes) -> None:
        for message in messages:
            self.socket.send(message)

    def one(self, seconds: float = SECONDS) -> bytes | None:
        """The next piece or message; None is the end. Raises TimeoutError."""
        self.socket.settimeout(seconds)
        if isinstance(self.socket, WebSocketClient):
            return self.socket.receive()
        data: bytes = self.socket.recv(65_536)
        return data or None

    def until_silence(self, seconds: float = 0.3) -> list[bytes]:
        """All pieces or messages that arrive before a silence."""
        found: list[bytes] = []
        with contextlib.suppress(TimeoutError):
            while (piece := self.one(seconds)) is not None:
                found.append(piece)
        return found

    def exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            piece = self.one()
            assert piece is not None, found
            found += piece
        return found

    def end(self) -> str:
        """How the connection ends: `end`, or the name of an error."""
        try:
            while self.one() is not None:
                pass
        except TimeoutError:
            raise
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, str(error))
        return "end"


@contextlib.contextmanager
def at_least(seconds: float) -> Iterator[None]:
    """Fail if the block takes less time. A busy machine may be late, so it has no upper limit."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun >= seconds


def cells(*faults: str) -> list[Any]:
    return [pytest.param(one, way, id=f"{one}-{way}") for one in faults for way in transports(one)]


def test_every_key_is_tested():
    elsewhere = {"tls", "websocket", "script"}  # tests/system/test_wire_faults.py and test_faults.py
    assert set(schema.FAULTS.keys) - set(FAULTS) == {"seed", "jitter", "distribution"} | elsewhere


@pytest.mark.parametrize(("fault", "transport"), cells("delay"))
def test_a_reply_is_delayed_and_whole(daemon, fault, transport):
    client = Client(daemon, fault, transport)
    with at_least(0.2):
        client.send(SENT)
        assert client.exactly(len(SENT)) == SENT


@pytest.mark.parametrize(("fault", "transport"), cells("rate"))
def test_a_slow_reply_is_whole(daemon, fault, transport):
    """At 100 bytes a second the last of 43 bytes is sent after 0.4 s; of three messages, the third."""
    client = Client(daemon, fault, transport)
    with at_least(0.3):
        if client.shape is Shape.STREAM:
            client.send(SENT)
            assert client.exactly(len(SENT)) == SENT
        else:
            client.send(SENT, SENT)
            assert [client.one(), client.one()] == [SENT, SENT]


def segments(connected: socket.socket) -> int:
    """The segments with data that a TCP client has received (`tcpi_data_segs_in`, <linux/tcp.h>)."""
    return int(struct.unpack_from("I", connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), 152)[0])


@pytest.mark.parametrize(("fault", "transport"), cells("chunk"))
def test_a_reply_comes_in_chunks(daemon, fault, transport):
    """A segment of TCP or a record of TLS for each chunk; a Unix socket joins what waits."""
    client = Client(daemon, fault, transport)
    client.send(SENT)
    assert client.exactly(len(SENT)) == SENT
    if transport == "tcp":
        assert segments(client.socket) == -(-len(SENT) // 5)
    if transport == "tls":
        client.send(SENT)
        assert eventually(lambda: False, 0.2) is False  # everything has arrived: reads return one record each
        pieces: list[bytes] = []
        while len(b"".join(pieces)) < len(SENT):
            pieces.append(client.one() or b"")
        assert max(map(len, pieces)) == 5


def numbered(client: Client, count: int) -> list[int]:
    """The numbers of the messages that are returned, of `count` that are sent, in order before a later one."""
    client.send(*(b"%03d" % number for number in range(count)))
    found: list[int] = []
    while count not in found:
        client.send(b"%03d" % count)
        found += [int(one) for one in client.until_silence(0.1)]
    return found[: found.index(count)]


@pytest.mark.parametrize(("fault", "transport"), cells("drop", "burst"))
def test_some_messages_are_dropped(daemon, fault, transport):
    found = numbered(Client(daemon, fault, transport), 40)
    assert found == sorted(set(found))
    assert 5 < len(found) < 36


@pytest.mark.parametrize(("fault", "transport"), cells("duplicate"))
def test_each_message_comes_twice(daemon, fault, transport):
    client = Client(daemon, fault, transport)
    client.send(b"0", b"1", b"2")
    assert [client.one() for _ in range(6)] == [b"0", b"0", b"1", b"1", b"2", b"2"]
    with pytest.raises(TimeoutError):
        client.one(0.05)


@pytest.mark.parametrize(("fault", "transport"), cells("reorder"))
def test_messages_are_reordered_and_none_is_lost(daemon, fault, transport):
    client = Client(daemon, fault, transport)
    client.send(*(b"%03d" % number for number in range(20)))
    found = [int(client.one() or b"") for _ in range(20)]
    assert found != sorted(found)
    assert sorted(found) == list(range(20))


@pytest.mark.parametrize(("fault", "transport"), cells("corrupt"))
def test_bits_are_changed(daemon, fault, transport):
    client = Client(daemon, fault, transport)
    client.send(SENT)
    found = client.exactly(len(SENT))
    changed = [(a ^ b).bit_count() for a, b in zip(found, SENT, strict=True)]
    assert changed == [1] * len(SENT) if client.shape is Shape.STREAM else sum(changed) == 1


@pytest.mark.parametrize(("fault", "transport"), cells("truncate"))
def test_the_rest_is_cut_off(daemon, fault, transport):
    client = Client(daemon, fault, transport)
    client.send(SENT, b"on")
    if client.shape is Shape.STREAM:
        assert client.exactly(7) == SENT[:7]
        with pytest.raises(TimeoutError):
            client.one(0.1)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.end() == "end"
    else:
        assert [client.one(), client.one()] == [SENT[:7], b"on"]


@pytest.mark.parametrize(("fault", "transport"), cells("reset-after"))
def test_the_connection_is_reset_after_exactly_so_many_bytes(daemon, fault, transport):
    client = Client(daemon, fault, transport)
    client.send(SENT[:4], SENT[4:])
    assert client.exactly(7) == SENT[:7]
    assert client.end() == ("end" if client.is_unix else "ECONNRESET")  # Unix sockets have no reset


@pytest.mark.parametrize(("fault", "transport"), cells("close-after"))
def test_the_connection_is_closed_after_exactly_so_many_bytes(daemon, fault, transport):
    client = Client(daemon, fault, transport)
    client.send(SENT[:4], SENT[4:])
    assert client.exactly(7) == SENT[:7]
    assert client.end() == "end"


@pytest.mark.parametrize(("fault", "transport"), cells("half-close-after"))
def test_after_the_end_the_peer_still_reads(daemon, fault, transport):
    client = Client(daemon, fault, transport)
    client.send(SENT)
    assert client.exactly(7) == SENT[:7]
    assert client.end() == "end"
    if not isinstance(client.socket, WebSocketClient):
        for _ in range(3):  # a closed connection would answer with RST
            client.send(SENT)
            assert client.end() == "end"


@pytest.mark.skipif(not permits_filters(), reason="this kernel permits the filter only with CAP_NET_ADMIN")
@pytest.mark.parametrize(("fault", "transport"), cells("half-open-after"))
def test_the_kernel_acknowledges_nothing_any_more(daemon, fault, transport):
    """After the seven bytes: what the client sends stays in its send queue."""
    client = Client(daemon, fault, transport)
    client.send(SENT)
    assert client.exactly(7) == SENT[:7]

    def is_unacknowledged() -> bool:
        client.socket.settimeout(0.05)
        with contextlib.suppress(TimeoutError):
            client.send(b"more")
        return client.until_silence(0.05) == [] and unacknowledged(client.socket) > 0

    assert eventually(is_unacknowledged)


@pytest.mark.parametrize(("fault", "transport"), cells("hang-after"))
def test_the_connection_hangs_open(daemon, fault, transport):
    client = Client(daemon, fault, transport)
    client.send(SENT)
    assert client.exactly(7) == SENT[:7]
    client.socket.shutdown(socket.SHUT_WR)
    with pytest.raises(TimeoutError):
        client.one(0.1)


def unconnected(transport: str) -> socket.socket:
    opened = socket.socket(
        socket.AF_UNIX if transport.startswith("unix") else socket.AF_INET,
        socket.SOCK_SEQPACKET if transport == "unix-seqpacket" else socket.SOCK_STREAM,
    )
    OPEN.append(opened)
    return opened


@pytest.mark.parametrize(("fault", "transport"), cells("refuse"))
def test_a_connection_is_refused_after_it_was_accepted(daemon, fault, transport):
    opened = unconnected(transport)
    opened.settimeout(SECONDS)
    try:
        opened.connect(daemon.place(fault, transport))
        if transport == "ws":
            opened.send(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
            opened.send(b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
        assert opened.recv(1) == b""
        assert transport.startswith("unix")  # Unix sockets have no reset
    except ConnectionResetError:
        pass


@pytest.mark.parametrize(("fault", "transport"), cells("silent", "clients"))
def test_nothing_is_answered(daemon, fault, transport):
    client = Client(daemon, fault, transport)
    client.send(SENT)
    if fault == "clients" and client.is_unix:  # a Unix client is in no network
        assert client.exactly(len(SENT)) == SENT
        return
    with pytest.raises(TimeoutError):
        client.one(0.1)


@pytest.mark.parametrize(("fault", "transport"), cells("others"))
def test_other_clients_have_no_faults(daemon, fault, transport):
    client = Client(daemon, fault, transport)
    client.send(SENT)
    assert client.exactly(len(SENT)) == SENT


def unacknowledged(connected: Any) -> int:
    """Bytes in the client's send queue (SIOCOUTQ): the daemon's window is 0 if they stay."""
    raw = getattr(connected, "socket", connected)
    found = array.array("i", [0])
    fcntl.ioctl(getattr(raw, "socket", raw).fileno(), termios.TIOCOUTQ, found)
    return found[0]


def fill(connected: Any) -> None:
    """Send 32 MiB, more than any buffers hold."""
    for _ in range((32 << 20) // 43_000):
        connected.send(SENT * 1000)


@pytest.mark.parametrize(("fault", "transport"), cells("never-read"))
def test_the_window_becomes_zero(daemon, fault, transport):
    client = Client(daemon, fault, transport)
    client.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        fill(client.socket)
    assert unacknowledged(client.socket) > 0
    with pytest.raises(TimeoutError):
        client.one(0.1)


@pytest.mark.parametrize(("fault", "transport"), cells("delay-close"))
def test_the_end_is_delayed(daemon, fault, transport):
    client = Client(daemon, fault, transport)
    client.send(SENT)
    with at_least(0.2):
        client.socket.shutdown(socket.SHUT_WR)
        assert client.exactly(len(SENT)) == SENT
        assert client.end() == "end"


@pytest.mark.parametrize(("fault", "transport"), cells("backlog-full"))
def test_the_listen_queue_is_full(daemon, fault, transport):
    def is_full() -> bool:
        opened = unconnected(transport)
        opened.settimeout(0.3)
        try:
            opened.connect(daemon.place(fault, transport))
        except (TimeoutError, BlockingIOError):  # over TCP; over a Unix socket
            return True
        return False  # a loaded kernel may need a moment to fill the queue

    assert eventually(is_full)


@pytest.mark.parametrize("fault", ["every", "first"])
def test_only_some_connections_and_datagrams_have_faults(daemon, fault):
    """They are counted for the service, over all its addresses. The fault is silence."""
    for ways in (CONNECTIONS, DATAGRAMS):
        for number, way in enumerate(ways):
            client = Client(daemon, fault, way)
            client.send(SENT)
            if number % 2 if fault == "every" else not number:
                with pytest.raises(TimeoutError):
                    client.one(0.1)
            else:
                assert client.one() == SENT

"""Services in a Twisted program that is not the daemon: real sockets in this process, and no resource is left."""

import argparse
import errno
import os
import socket
from functools import partial
from ipaddress import ip_network
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
    connectProtocol,
)
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import DatagramProtocol, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.address import parse
from echod.client.client_connection import Dialogue, Failed
from echod.events import Closing
from echod.gate.access import Access
from echod.gate.limits import Limits
from echod.gate.work_budget import PORTION
from echod.model import NOTHING, PLAIN, Arrival, End, Peer, Quiet, Reply, Say, Service, Session
from echod.services.ack import Ack
from echod.services.chargen import Chargen
from echod.services.echo import Echo
from echod.services.upper import Upper
from echod.services.whoami import Whoami
from echod.socket_names import Inet
from echod.transports.datagram import ServiceDatagrams
from echod.transports.layers.http_answer import Resource
from echod.transports.layers.proxy import Proxy
from echod.transports.layers.proxy_header import version_2
from echod.transports.layers.websocket_server import WebSocketServer
from echod.transports.service_factory import ServiceFactory
from tests.contract.matrix import MIB, data
from tests.daemon import SECONDS
from tests.fuzz.websocket import REQUEST

reactor: Any = installed


@pytest.fixture(autouse=True, scope="module")
def _running() -> None:
    """The reactor runs, and has added its own wakers, before a test examines it."""
    pytest_twisted.blockon(deferLater(reactor, 0))


def bounded(deferred: Deferred[Any]) -> Deferred[Any]:
    """The same with a time limit of its own: pytest-timeout would stop the reactor."""
    return deferred.addTimeout(SECONDS, reactor)


@implementer(IHalfCloseableProtocol)
class Client(Protocol):
    """Sends `asked`, shuts down sending, and keeps the whole `answer` when the other side has closed."""

    transport: Any

    def __init__(self, asked: bytes) -> None:
        self.asked = asked
        self.pieces: list[bytes] = []
        self.answer: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(self.asked)
        self.transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        self.pieces.append(data)

    def readConnectionLost(self) -> None:
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if reason.check(ConnectionDone):
            self.answer.callback(b"".join(self.pieces))
        else:
            self.answer.errback(reason)


class SilentClient(Client):
    """Sends nothing, and does not shut down sending."""

    def connectionMade(self) -> None:
        pass


class BoundedClient(Client):
    """Calls `enough` after the first MiB."""

    def __init__(self) -> None:
        super().__init__(b"")
        self.enough: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if sum(map(len, self.pieces)) > MIB and not self.enough.called:
            self.enough.callback(None)


async def ask(endpoint: Any, asked: bytes) -> bytes:
    client = await bounded(connectProtocol(endpoint, Client(asked)))
    answer: bytes = await bounded(client.answer)
    return answer


@pytest_twisted.ensureDeferred
async def test_a_factory_on_a_tcp_endpoint():
    factory = ServiceFactory(Upper())
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
    try:
        assert await ask(endpoint, data()[: 2 * MIB]) == data()[: 2 * MIB].upper()
        assert await ask(endpoint, b"") == b""
    finally:
        await port.stopListening()
    assert factory.counters.figures() == {
        "accepted": 2,
        "bytes_in": 2 * MIB,
        "bytes_out": 2 * MIB,
        f"closed:{Closing.DONE}": 2,
    }


@pytest_twisted.ensureDeferred
async def test_a_factory_on_a_unix_endpoint(tmp_path):
    port = await UNIXServerEndpoint(reactor, str(tmp_path / "echo")).listen(ServiceFactory(Echo(), scheme="unix"))
    try:
        assert await ask(UNIXClientEndpoint(reactor, str(tmp_path / "echo")), data()[:MIB]) == data()[:MIB]
    finally:
        await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_factory_behind_a_proxy():
    """As docs/EMBEDDING.md shows it: the layer names the client, also on an endpoint of Twisted."""
    layer = partial(Proxy, versions="any", clock=reactor, seconds=10)
    factory = ServiceFactory(Whoami(), layers=[layer], proxies=Access([ip_network("127.0.0.1")]))
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
    try:
        header = version_2(Inet("192.0.2.1", 5000), Inet("192.0.2.2", 7))
        line = await ask(TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), header)
        assert b'"remote_address": "192.0.2.1", "remote_port": 5000, "proxy": {"version": 2' in line
    finally:
        await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_factory_with_websocket():
    """As docs/EMBEDDING.md shows it. The service ends, so the answer is the response, the message and Close."""
    layer = partial(WebSocketServer, clock=reactor, seconds=10, resources={"/": Resource()})
    factory = ServiceFactory(Whoami(), layers=[layer], scheme="ws")
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
    try:
        request = REQUEST.replace(b"/echo", b"/") + b"\x88\x80\0\0\0\0"  # and an empty Close
        came = await ask(TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), request)
        head, _, frames = came.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b'"protocol": "ws"' in frames
        assert frames.endswith(b"\x88\x02\x03\xe8")
    finally:
        await port.stopListening()


class Asking(DatagramProtocol):
    """Sends one request, and keeps the reply."""

    transport: Any

    def __init__(self, port: int, question: bytes) -> None:
        self.port = port
        self.question = question
        self.answer: Deferred[bytes] = Deferred()

    def startProtocol(self) -> None:
        self.transport.connect("127.0.0.1", self.port)
        self.transport.write(self.question)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.answer.callback(datagram)


@pytest_twisted.ensureDeferred
async def test_datagrams_on_a_port_of_twisted():
    served = reactor.listenUDP(0, ServiceDatagrams(Upper()), interface="127.0.0.1", maxPacketSize=65536)
    for size in (0, 8193, 65_507):
        asking = Asking(served.getHost().port, data()[:size])
        port = reactor.listenUDP(0, asking, interface="127.0.0.1", maxPacketSize=65536)
        try:
            assert await bounded(asking.answer) == data()[:size].upper()
        finally:
            await port.stopListening()
    await served.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_silent_client_is_closed_after_its_time_limit():
    factory = ServiceFactory(Upper(), limits=Limits(idle=0.2))
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
    client = SilentClient(b"")
    await bounded(connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), client))
    assert await bounded(client.answer) == b""
    await port.stopListening()
    assert factory.counters.figures() == {"accepted": 1, f"closed:{Closing.IDLE}": 1}


class Items(Service):
    """Counts the items of each read that its work budget allows, and replies to the last one."""

    kind = "items"

    def __init__(self) -> None:
        super().__init__()
        self.portions: list[int] = []

    def session(self, peer: Peer, say: Say) -> Session:
        return Splitting(self)


class Splitting(Quiet):
    def __init__(self, service: Items) -> None:
        self.service, self.left = service, 0

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        self.left += len(data)
        return self.proceed()

    def proceed(self) -> Reply:
        portion, done = self.service.context.work.portion(), 0
        while self.left and portion.take():
            self.left -= 1
            done += 1
        self.service.portions.append(done)
        return NOTHING._replace(held=self.left > 0)

    def ended(self) -> Reply:
        return Reply(b"done", End.CLOSE)


@pytest_twisted.ensureDeferred
async def test_the_work_of_a_read_is_bounded_without_a_context():
    service = Items()
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(ServiceFactory(service))
    assert await ask(TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), b"x" * 20_000) == b"done"
    await port.stopListening()
    assert sum(service.portions) == 20_000
    assert max(service.portions) <= PORTION


class Broken(Service):
    """A service with a bug."""

    kind = "broken"
    summary = "raises"

    def session(self, peer: Peer, say: Say) -> Session:
        return BrokenSession()

    def answer(self, datagram: bytes, peer: Peer) -> bytes:
        raise ZeroDivisionError("a bug")


class BrokenSession(Quiet):
    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        raise ZeroDivisionError("a bug")


@pytest_twisted.ensureDeferred
async def test_a_bug_of_a_service_resets_its_connection_and_is_logged(logged_failures):
    factory = ServiceFactory(Broken())
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
    with pytest.raises(ConnectionLost):
        await ask(TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), b"?")
    await port.stopListening()
    assert factory.counters.figures()[f"closed:{Closing.FAILED}"] == 1
    [event] = logged_failures
    assert event["log_failure"].check(ZeroDivisionError)
    logged_failures.clear()


class Hearing(Quiet):
    """A client's session that sends one message and keeps the received bytes."""

    def __init__(self, said: Reply) -> None:
        self.said = said
        self.heard = b""

    def opened(self) -> Reply:
        return self.said

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        self.heard += data
        return NOTHING


async def converse(url: str, said: Reply) -> bytes:
    """The bytes that our client receives."""
    over: Deferred[None] = Deferred()
    hearing = Hearing(said)

    def ended(failed: Failed | None) -> None:
        over.callback(None) if failed is None else over.errback(failed)

    Dialogue(reactor, argparse.Namespace(url=parse(url, client=True), ip=None), lambda peer, say: hearing, ended)
    await bounded(over)
    return hearing.heard


@pytest_twisted.ensureDeferred
async def test_our_client_and_our_server_in_one_program():
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(ServiceFactory(Ack()))
    url = f"tcp://127.0.0.1:{port.getHost().port}"
    try:
        assert await converse(url, Reply(data()[:MIB], end=End.HALF_CLOSE)) == b"received"
    finally:
        await port.stopListening()
    with pytest.raises(Failed, match="ECONNREFUSED"):
        await converse(url, Reply(b"?"))


class TimedOut:
    """A socket of a connection that the kernel has given up, because the peer acknowledges nothing (tcp(7))."""

    def __init__(self, opened: socket.socket) -> None:
        self._opened = opened

    def recv(self, _size: int) -> bytes:
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._opened, name)


@pytest_twisted.ensureDeferred
async def test_the_end_of_a_connection_has_the_error_of_the_system():
    begun: Deferred[Session] = Deferred()
    over: Deferred[Failed | None] = Deferred()

    def begin(_peer: Peer, _say: Say) -> Session:
        session = Hearing(NOTHING)
        reactor.callLater(0, begun.callback, session)
        return session

    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        client: Any = Dialogue(reactor, argparse.Namespace(url=parse(url, client=True), ip=None), begin, over.callback)
        await bounded(begun)
        transport = client._conversation.below.transport
        transport.socket = TimedOut(transport.socket)
        with listening.accept()[0] as peer:
            peer.send(b"!")
            assert str(await bounded(over)) == f"{url}: connection timed out (ETIMEDOUT)"


@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves_an_endless_reply_leaves_no_resource():
    factory = ServiceFactory(Chargen())
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
    client = BoundedClient()
    await bounded(connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), client))
    await bounded(client.enough)
    client.answer.addErrback(lambda failure: None)
    client.transport.abortConnection()
    await bounded(client.answer)
    await port.stopListening()

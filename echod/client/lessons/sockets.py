"""The sockets of an attempt: servers and clients whose sessions judge the program of the learner.

They are those of the daemon and of the client: transports, layers and faults are not implemented again here.
"""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, Generic, TypeVar

from echod.address import Address, parse
from echod.client.client_connection import Dialogue, Failed
from echod.client.lessons.stage import Stage
from echod.client.lessons.texts import Statement, Text
from echod.events import Closing, Counters
from echod.faults.injector import FaultInjector
from echod.faults.settings import NO_FAULTS, Faults
from echod.gate.limits import Limits
from echod.gate.total_buffer import SendBudget
from echod.model import RESET, Peer, Quiet, Say, Service, Session
from echod.transports.accept_backoff import SpareDescriptor
from echod.transports.conversation import Conversation
from echod.transports.datagram import ServiceDatagrams
from echod.transports.datagram_faults import DatagramFaults
from echod.transports.fault_factory import FaultFactory
from echod.transports.handshake_slot import Entrance
from echod.transports.layers.layer_interface import MakeLayer
from echod.transports.transport import transport_of

FIRST_PORT: Final = 9100  #: lesson 1 has the next one, so that a program need not be changed for each attempt
MOST_CONNECTIONS: Final = 100  #: of one attempt
CLOSED_IN_HANDSHAKE: Final = "the connection has ended within the handshake"
SEED: Final = 1  #: of faults without one
AGAIN: Final = 0.1  #: seconds until a server that refused is tried again
J = TypeVar("J")  #: the class of an attempt
LIMITS: Final = Limits(idle=0, stall=0, message=65_536)
"""The time limit of the attempt is the only one."""

NO_SERVER: Final = Text("no server accepts connections at port {port}", "端口 {port} 上没有服务器接受连接")
MANY_CONNECTIONS: Final = Text("the program has opened more than {most} connections", "程序打开了超过 {most} 个连接")


class Connection(Quiet, ABC, Generic[J]):
    """The session of one connection of an attempt."""

    def __init__(self, attempt: J, say: Say) -> None:
        self.attempt, self.say = attempt, say

    @abstractmethod
    def missing(self) -> Statement:
        """The event that is expected next, if the time is over or the program has ended."""

    @abstractmethod
    def closed(self, *, clean: bool, error: str) -> None:
        """The connection has ended. It is not `clean` if the peer reset it, or if data was lost.

        `error` is the protocol error of a layer, or "".
        """


Begin = Callable[[Say], Connection[Any]]  #: makes the session of a new connection


class Sockets:
    """Opens the sockets of one attempt, and closes them."""

    def __init__(self, reactor: Any, stage: Stage, lesson: int, port: int | None) -> None:
        self.reactor, self._stage = reactor, stage
        self._default, self._asked = FIRST_PORT + lesson, port
        self._ports: list[Any] = []
        self._factories: list[_Factory] = []
        self._injectors: list[FaultInjector] = []
        self._dialogues: list[Dialogue] = []
        self._clients: list[Connection[Any]] = []  # with open connections to the server of the learner
        self._connections = 0
        self._reserve = SpareDescriptor()

    def _bind_asked(self, url: str) -> tuple[Any, Address]:
        try:
            return self._bind(url, self._default if self._asked is None else self._asked)
        except OSError:
            if self._asked is not None or "{port}" not in url:
                raise
        return self._bind(url, 0)

    def _bind(self, url: str, port: int) -> tuple[Any, Address]:
        address = parse(url.replace("{port}", str(port)))
        [bound] = transport_of(address.scheme).bind(self.reactor, address)
        return bound, address if address.has_path else replace(address, port=bound.getsockname()[1])

    def serve(
        self,
        url: str,
        begin: Begin,
        *,
        layers: Sequence[MakeLayer] = (),
        faults: Faults = NO_FAULTS,
        limits: Limits = LIMITS,
        handshake_failed: Callable[[str], None] | None = None,
    ) -> Address:
        """Serve the connections of a new socket by the sessions that `begin` makes. Returns its address.

        A `{port}` in `url` is the port asked for, or that of the lesson. If another program has the port of the
        lesson, it is any port. Raises OSError.
        """
        bound, address = self._bind_asked(url)
        factory = _Factory(
            _Sessions(lambda say: self._count(begin, say)),
            injector=self._injector(faults),
            limits=limits,
            scheme=address.scheme,
            clock=self.reactor,
            layers=layers,
        )
        factory.handshake_failed = handshake_failed
        self._factories.append(factory)

        listen = transport_of(address.scheme).listen
        port = listen(self.reactor, bound, address, factory, self._reserve, bound.close)
        self._ports.append(port)
        port.startListening()
        return address

    def _count(self, begin: Begin, say: Say) -> Connection[Any]:
        self._connections += 1
        if self._connections > MOST_CONNECTIONS:
            self._stage.failed(MANY_CONNECTIONS, most=MOST_CONNECTIONS)
        return begin(say)

    def serve_datagrams(self, url: str, service: Service, faults: Faults) -> Address:
        """Answer datagrams by a service, with faults in the replies. As `serve`."""
        bound, address = self._bind_asked(url)
        counters = Counters()
        protocol = ServiceDatagrams(service, counters=counters, scheme=address.scheme, loopback=True)
        mark = SendBudget().mark(LIMITS.total_buffer)
        protocol.faults = DatagramFaults(self._injector(faults), self.reactor, counters, mark)
        port = transport_of(address.scheme).listen(self.reactor, bound, address, protocol, bound.close)
        self._ports.append(port)
        port.startListening()
        return address

    def _injector(self, faults: Faults) -> FaultInjector:
        injector = FaultInjector("lesson", faults, self.reactor.callLater, SEED)
        self._injectors.append(injector)
        return injector

    def connect(self, port: int, begin: Begin, refused: Callable[[], None] | None = None) -> None:
        """Connect to the server of the learner. While it refuses, try again, or call `refused` if that is given."""
        made: list[Connection[Any]] = []

        def begin_session(_peer: Peer, say: Say) -> Session:
            made.append(begin(say))
            self._clients.append(made[0])
            return made[0]

        def over(failed: Failed | None) -> None:
            self._dialogues.remove(dialogue)
            if made:
                self._clients.remove(made[0])
                made[0].closed(clean=failed is None, error="")
            elif refused is not None:
                refused()
            else:
                self._stage.later(AGAIN, lambda: self.connect(port, begin))

        arguments = argparse.Namespace(url=parse(f"tcp://127.0.0.1:{port}", client=True), ip=None)
        dialogue = Dialogue(self.reactor, arguments, begin_session, over)
        self._dialogues.append(dialogue)

    def close(self) -> None:
        """Close every socket, and reset what is open."""
        for port in self._ports:
            port.stopListening()
        for factory in self._factories:
            factory.abandon()
        for injector in self._injectors:
            injector.end()
        for dialogue in self._dialogues:
            dialogue.abandon()
        for client in self._clients:
            client.say(RESET)
        self._reserve.give_up()


class _Sessions(Service):
    """The service whose sessions judge."""

    kind = "lesson"
    summary = "judges a program"

    def __init__(self, begin: Begin) -> None:
        super().__init__()
        self._begin = begin

    def session(self, peer: Peer, say: Say) -> Session:
        return self._begin(say)


class _Factory(FaultFactory):
    """Notifies each session of how its connection has ended."""

    handshake_failed: Callable[[str], None] | None = None

    def _over(self, conversation: Conversation, reason: Closing) -> None:
        super()._over(conversation, reason)
        session = getattr(conversation, "session", None)
        if isinstance(session, Connection):
            error = conversation.below.facts.error if reason is Closing.PROTOCOL else None
            session.closed(clean=reason is Closing.DONE, error=str(error or ""))

    def _turned_away(self, entrance: Entrance) -> None:
        super()._turned_away(entrance)
        if self.handshake_failed is not None:
            error = None if entrance.below is None else entrance.facts.error
            self.handshake_failed(str(error or CLOSED_IN_HANDSHAKE))

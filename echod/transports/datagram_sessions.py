"""Conversations over datagrams: each peer that has joined has a session of its own, and is spoken to unasked.

Rules that everything here keeps:

* Whoever is not on this machine joins by returning a token (`echod.gate.address_cookies`); before, it gets one answer
  to each datagram, that token, and never one that is longer than the datagram.
* A peer that has joined is a connection: it has a place among the service's, and its client's.
* It leaves by an end of its session, or by `idle` without a datagram of its own: what we send does not count, for
  nobody may be there to hear it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from echod.events import Closing, Tally
from echod.gate.access import canonical
from echod.gate.address_cookies import PREFIX, AddressCookies
from echod.gate.connections import ConnectionGate
from echod.gate.datagrams import DatagramGate
from echod.gate.limits import Limits
from echod.gate.refusal import Refusal
from echod.model import End, Peer, Reply, Service, Session
from echod.transports.datagram import Send, ServiceDatagrams

_log = Logger()

LOOK_EVERY: Final = 1.0  #: seconds between looks at who has been silent
_LOOPBACK6: Final = bytes(15) + b"\x01"


class DatagramSession:
    """A peer that has joined, and its session."""

    def __init__(self, datagrams: SessionDatagrams, key: Hashable, host: bytes, peer: Peer, send: Send) -> None:
        self.host = host
        self.heard = 0.0  # when something came last
        self._datagrams = datagrams
        self._key = key
        self._send = send
        self._over = False
        self._closing = Closing.DONE
        self.session: Session
        self._peer = peer

    def begin(self, service: Service, datagram: bytes) -> None:
        """It is there; `datagram` is the first that it says, or empty."""
        try:
            self.session = service.session(self._peer, self.perform)
        except Exception:
            self._fail()
            return
        self.ask(self.session.opened)
        if datagram:
            self.ask(self.session.received, datagram)

    def ask(self, question: Callable[..., Reply], *given: bytes) -> None:
        """Do what the session answers."""
        if self._over:
            return
        try:
            reply = question(*given)
            self.perform(reply)
            if reply.held and not self._over:
                self._datagrams.service.context.work.wait(self._process)
        except Exception:
            self._fail()

    def _process(self) -> None:
        """It is our turn: the session processes the next portion of the input that it holds."""
        self.ask(self.session.proceed)

    def perform(self, reply: Reply) -> None:
        """Send what the session says, a datagram for each piece; any end but NOTHING is the end."""
        if reply.data is not None:
            self._say(reply.data)
        try:
            for piece in reply.more or ():
                self._say(piece)
        except Exception:  # not the fault of who made it speak
            self._fail()
        if reply.end is not End.NOTHING:
            self.leave(self._closing)

    def dismiss(self, reason: Closing) -> None:
        """Hear it out, for it will say no more."""
        self._closing = reason
        self.ask(self.session.ended)
        self.leave(reason)

    def leave(self, reason: Closing) -> None:
        """It is over."""
        if not self._over:
            self._over = True
            self._datagrams.service.context.work.cancel(self._process)
            try:
                if hasattr(self, "session"):
                    self.session.lost()
            except Exception:  # its place must not go with it
                _log.failure("the service failed at the end of the conversation with {peer}", peer=self._peer.remote)
                reason = Closing.FAILED
            self._datagrams.left(self._key, self, reason)

    def _fail(self) -> None:
        """What is being handled is a bug of the service, and no reason to stop."""
        _log.failure("the service failed; the conversation with {peer} is over", peer=self._peer.remote)
        self.leave(Closing.FAILED)

    def _say(self, data: bytes) -> None:
        if self._over:
            return
        tally = self._datagrams.tally
        error = self._send(data)
        if error is None:
            tally.datagrams_out += 1
            tally.bytes_out += len(data)
        else:
            tally.refuse(Refusal.SEND)
            if isinstance(error, ConnectionRefusedError | FileNotFoundError):  # a Unix peer that has gone
                self.leave(Closing.LOST)


class SessionDatagrams(ServiceDatagrams):
    """Holds a session with each datagram peer that joins.

    `connections` counts who has joined, and its limits say how many may and how long they may be silent; `clock`
    runs that time (default: the reactor's).
    """

    conversational = True

    def __init__(
        self,
        service: Service,
        *,
        gate: DatagramGate | None = None,
        connections: ConnectionGate | None = None,
        tally: Tally | None = None,
        scheme: str = "udp",
        loopback: bool = False,
        clock: IReactorTime | None = None,
    ) -> None:
        super().__init__(service, gate=gate, tally=tally, scheme=scheme, loopback=loopback)
        self.connections = connections
        self.peers: OrderedDict[Hashable, DatagramSession] = OrderedDict()  # who was silent longest first
        self._sweep = LoopingCall(self._look)
        if clock is not None:
            self._sweep.clock = clock
        self._tokens = AddressCookies(self._now)

    def startProtocol(self) -> None:
        """Watch the time from now on."""
        if not self._sweep.running:
            self._sweep.start(LOOK_EVERY, now=False)

    def stopProtocol(self) -> None:
        """Hear out whoever is here, and say goodbye."""
        if self._sweep.running:
            self._sweep.stop()
        for joined in list(self.peers.values()):
            joined.dismiss(Closing.DONE)

    def heard(self, datagram: bytes, peer: Peer, host: bytes, name: Any, send: Send) -> None:
        """An admitted datagram came from `name`, what recvmsg(2) calls it; `send` reaches it."""
        if not host and not name:
            self.tally.refuse(Refusal.NAMELESS)
            return
        joined = self.peers.get(name)
        if joined is not None:
            joined.heard = self._now()
            self.peers.move_to_end(name)
            if not (datagram.startswith(PREFIX) and self._tokens.right(_identity(name), datagram)):  # it came twice
                joined.ask(joined.session.received, datagram)
        elif _is_here(host):
            self._join(name, host, peer, send, datagram)
        elif self._tokens.right(_identity(name), datagram):
            self._join(name, host, peer, send, b"")
        else:
            self._prove(name, datagram, send)

    def left(self, name: Hashable, joined: DatagramSession, reason: Closing) -> None:
        """A conversation is over."""
        del self.peers[name]
        self.tally.close(reason)
        if self.connections is not None:
            self.connections.release(joined.host)

    def _join(self, name: Hashable, host: bytes, peer: Peer, send: Send, datagram: bytes) -> None:
        if self.connections is not None and (refusal := self.connections.admit(host, loopback=self.loopback)):
            self.tally.refuse(refusal)
            return
        joined = self.peers[name] = DatagramSession(self, name, host, peer, send)
        joined.heard = self._now()
        self.tally.accepted += 1
        self.tally.open += 1
        joined.begin(self.service, datagram)

    def _prove(self, name: Any, datagram: bytes, send: Send) -> None:
        token = self._tokens.token(_identity(name))
        if len(token) > len(datagram):
            self.tally.refuse(Refusal.LARGER)
        elif send(token) is None:
            self.tally.datagrams_out += 1
            self.tally.bytes_out += len(token)
        else:
            self.tally.refuse(Refusal.SEND)

    def _look(self) -> None:
        """Let go who has been silent for `idle`."""
        idle = (self.connections.limits if self.connections else _DEFAULT).idle
        ends = self._now() - idle
        while idle and self.peers:
            joined = next(iter(self.peers.values()))
            if joined.heard > ends:
                return
            joined.dismiss(Closing.IDLE)

    def _now(self) -> float:
        return float(self._sweep.clock.seconds())


_DEFAULT: Final = Limits()


def _is_here(host: bytes) -> bool:
    """Whether a sender is on this machine: then its address is not forged, for the kernel lets none in from outside."""
    key = canonical(host)
    return not host or (key[:1] == b"\x7f" and len(key) == 4) or key == _LOOPBACK6


def _identity(name: Any) -> bytes:
    """What tells an address from all others, its scope included."""
    return repr(name).encode()

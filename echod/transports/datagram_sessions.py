"""Sessions over datagrams: each peer that joins has a session, as a connection has, and receives unsolicited data.

Rules (docs/SECURITY.md gives the reasons):

* A peer on this machine or in `larger-answers-to` joins with its first datagram. It needs no consent.
* Any other peer joins by answering a challenge (`echod.gate.address_cookies`) that is shorter than its datagram.
  It needs consent: it must answer another challenge as a member, and again within 30 seconds (`echod.gate.consent`).
  Without consent it receives only replies to its datagrams, each at most as large as the datagram. The rest is queued.
* A member counts as a connection of the service and of its client. It leaves when its session ends, after an ICMP
  "port unreachable", or if it only returns the data that it receives (`echod.gate.echo_detector`). It also leaves after
  `idle` without a datagram. If the address could be forged, only an answer to a challenge counts.
* Each network has an output budget (`echod.gate.datagram_member_gate`). Data above the budget is queued.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from echod.events import Closing, Counters
from echod.gate.connections import ConnectionGate
from echod.gate.consent import RENEW_AFTER
from echod.gate.datagram_member_gate import MemberGate, is_local
from echod.gate.datagrams import DatagramGate
from echod.gate.limits import Limits
from echod.gate.refusal import Refusal
from echod.model import Arrival, Peer, Service
from echod.transports.datagram import Send, ServiceDatagrams
from echod.transports.datagram_member import DatagramMember

SWEEP_EVERY: Final = 1.0  #: seconds between two sweeps over idle members, due renewals and queued data
UNRENEWED: Final = 300.0  #: seconds without an answer after which a member leaves although `idle` is 0


class SessionDatagrams(ServiceDatagrams):
    """Holds a session with each datagram peer that joins.

    `connections` counts members. Its limits bound their number and their idle time. `members` is the gate that all
    listeners of a daemon share (default: a separate one). `clock` measures time (default: the reactor).
    """

    conversational = True

    def __init__(
        self,
        service: Service,
        *,
        gate: DatagramGate | None = None,
        connections: ConnectionGate | None = None,
        members: MemberGate | None = None,
        counters: Counters | None = None,
        scheme: str = "udp",
        loopback: bool = False,
        clock: IReactorTime | None = None,
    ) -> None:
        super().__init__(service, gate=gate, counters=counters, scheme=scheme, loopback=loopback)
        self.connections = connections
        self.peers: OrderedDict[Hashable, DatagramMember] = OrderedDict()  # the member that is idle longest is first
        self._over_budget: dict[DatagramMember, None] = {}
        self._sweep = LoopingCall(self._look)
        if clock is not None:
            self._sweep.clock = clock
        self.members = members or MemberGate(self.now)

    def startProtocol(self) -> None:
        """Start the sweep."""
        self.service.context.work.use(self._sweep.clock.callLater)
        if not self._sweep.running:
            self._sweep.start(SWEEP_EVERY, now=False)

    def stopProtocol(self) -> None:
        """Stop the sweep, and dismiss every member."""
        if self._sweep.running:
            self._sweep.stop()
        for member in list(self.peers.values()):
            member.dismiss(Closing.DONE)
        super().stopProtocol()

    def handle(self, datagram: bytes, peer: Peer, arrival: Arrival, host: bytes, name: Any, send: Send) -> None:
        """Handle an admitted datagram from `name`, the address that recvmsg(2) returned; `send` sends to it."""
        if not host and not name:
            self.counters.refuse(Refusal.NAMELESS)
            return
        member = self.peers.get(name)
        if member is not None:
            member.receive(datagram, arrival)
        elif self.members.muted(_identity(name)):
            self.counters.refuse(Refusal.REPEAT)
        elif self.is_exempt(host):
            self._join(name, host, peer, send, datagram, b"", arrival)
        elif self.members.cookies.answered(_identity(name), datagram):
            self._join(name, host, peer, send, b"", datagram, arrival)
        elif (until := self.members.consents.until(_identity(name))) > self.now():
            self._join(name, host, peer, send, datagram, b"", arrival, until)
        else:
            self._challenge(name, host, datagram, send)

    def is_exempt(self, host: bytes) -> bool:
        """Whether a peer joins with its first datagram and needs no consent."""
        return is_local(host) or (self.gate is not None and self.gate.may_be_larger(host))

    def unreachable(self, name: Hashable) -> None:
        """End the membership of `name`, because its host reported the port as unreachable."""
        member = self.peers.get(name)
        if member is not None:
            member.leave(Closing.LOST)

    def now(self) -> float:
        """Seconds on the clock of this listener."""
        return float(self._sweep.clock.seconds())

    # calls of a member

    def keep(self, member: DatagramMember) -> None:
        """Record that a member proved its address."""
        member.active = self.now()
        self.peers.move_to_end(member.name)

    def consented(self, member: DatagramMember, until: float) -> None:
        """A member has consented until this time: if this process ends, another one continues with that."""
        self.members.consents.keep(_identity(member.name), until)

    def mute(self, member: DatagramMember) -> None:
        """A member is an echo service: mute it, so that it cannot join again immediately."""
        self.members.mute(_identity(member.name))

    def wait_for_budget(self, member: DatagramMember) -> None:
        """The network of a member has used up its budget: flush at the next sweep."""
        self._over_budget[member] = None

    def left(self, member: DatagramMember, reason: Closing) -> None:
        """Remove a member, and count the reason."""
        del self.peers[member.name]
        self._over_budget.pop(member, None)
        self.members.consents.keep(_identity(member.name), 0.0)
        self.counters.close(reason)
        if self.connections is not None:
            self.connections.release(member.host)

    def _join(
        self,
        name: Hashable,
        host: bytes,
        peer: Peer,
        send: Send,
        datagram: bytes,
        proof: bytes,
        arrival: Arrival,
        consent_until: float | None = None,
    ) -> None:
        if self.connections is not None and (refusal := self.connections.admit(host, loopback=self.loopback)):
            self.counters.refuse(refusal)
            return
        peer, send = self.with_faults(peer, host, send)
        member = self.peers[name] = DatagramMember(self, self.service, name, host, peer, send)
        member.active = self.now()
        self.counters.accepted += 1
        self.counters.open += 1
        member.begin(datagram, proof, arrival, consent_until)

    def _challenge(self, name: Any, host: bytes, datagram: bytes, send: Send) -> None:
        if refusal := self.members.refuses_to_challenge(_identity(name), host, datagram):
            self.counters.refuse(refusal)
            return
        challenge = self.members.cookies.challenge(_identity(name))
        if send(challenge) is None:
            self.counters.refuse(Refusal.CHALLENGED)
            self.counters.datagrams_out += 1
            self.counters.bytes_out += len(challenge)
        else:
            self.counters.refuse(Refusal.SEND)

    def _look(self) -> None:
        """Dismiss idle members, challenge those whose consent ends soon, and flush those that waited for a budget."""
        now, idle = self.now(), (self.connections.limits if self.connections else _DEFAULT).idle
        renew_after = min(RENEW_AFTER, idle / 3) if idle else RENEW_AFTER
        for member in list(self.peers.values()):
            silent = now - member.active
            if silent < renew_after:
                break
            if silent >= (idle or UNRENEWED) and (idle or not member.exempt):
                member.dismiss(Closing.IDLE)
            elif not member.exempt:
                member.renew()
        waiting, self._over_budget = self._over_budget, {}
        for member in waiting:
            member.flush()


_DEFAULT: Final = Limits()


def _identity(name: Any) -> bytes:
    """A unique key of an address, its scope included."""
    return repr(name).encode()

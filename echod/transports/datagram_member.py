"""One datagram member: a peer that joined, its session, and its queued replies.

It decides when a piece of a reply may be sent, by the rules of `gate.consent` and `gate.datagram_member_gate`.
`transports.datagram_sessions` decides which peers become members. This module uses no socket.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Final, Protocol

from twisted.logger import Logger

from echod.events import Closing, Counters
from echod.gate.address_cookies import looks_like_an_answer
from echod.gate.consent import Consent
from echod.gate.datagram_member_gate import MemberGate
from echod.gate.echo_detector import EchoDetector
from echod.gate.refusal import Refusal
from echod.gate.reply_allowance import NO_REPLY
from echod.gate.work_budget import Portion
from echod.model import Arrival, End, Peer, Reply, Service, Session
from echod.transports.datagram import Send
from echod.transports.datagram_faults import WITHHELD

_log = Logger()

DATAGRAM: Final = 4  #: units of work that a datagram counts for: a system call
AT_THE_END: Final = 64  #: datagrams sent to a member that is dismissed: the rest cannot be sent later
WAITING: Final = 64  #: replies queued for one member; a service with an outbox queues one at a time


class Membership(Protocol):
    """The interface of the listener that a member uses."""

    members: MemberGate
    counters: Counters

    def now(self) -> float:
        """Seconds on the clock of the listener."""

    def is_exempt(self, host: bytes) -> bool:
        """Whether a peer needs no consent."""

    def keep(self, member: DatagramMember) -> None:
        """Record that the member proved its address."""

    def consented(self, member: DatagramMember, until: float) -> None:
        """The member has consented until this time."""

    def mute(self, member: DatagramMember) -> None:
        """The member is an echo service: mute it, so that it cannot join again immediately."""

    def wait_for_budget(self, member: DatagramMember) -> None:
        """The network of the member has used up its budget: flush when there may be more."""

    def left(self, member: DatagramMember, reason: Closing) -> None:
        """Handle the end of the membership."""


class DatagramMember:
    """A peer that joined. `name` is its socket address, `host` its 4 or 16 bytes, and `send` reaches it."""

    def __init__(
        self, datagrams: Membership, service: Service, name: Hashable, host: bytes, peer: Peer, send: Send
    ) -> None:
        self.name = name
        self.host = host
        self.active = 0.0  # when it last proved its address
        self._datagrams = datagrams
        self._service = service
        self._send = send
        self._peer = peer
        self._consent = Consent()
        self._detector = EchoDetector()
        self._allowance = NO_REPLY  # bytes of the one reply without consent, to the datagram being served
        self._waiting: deque[Iterator[bytes]] = deque()
        self._held: bytes | None = None  # the next piece, taken from the queue and not sent yet
        self._ending = False  # the session has ended: leave when everything has been sent
        self._over = False
        self._closing = Closing.DONE
        self.session: Session

    @property
    def exempt(self) -> bool:
        """Whether it needs no consent; a reload may change that."""
        return self._datagrams.is_exempt(self.host)

    def begin(self, datagram: bytes, proof: bytes, arrival: Arrival, consent_until: float | None = None) -> None:
        """Open the session with `datagram`. If that is empty, `proof` is the answer with which the peer joined.

        `consent_until` is the end of a consent that another process has got.
        """
        if consent_until is not None:
            self._consent.resume(consent_until)
            self._datagrams.consented(self, consent_until)
        try:
            self.session = self._service.session(self._peer, self.perform)
        except Exception:
            self._fail()
            return
        self.ask(self.session.opened)
        if datagram:
            self.ask(self.session.received, datagram, arrival)
        else:
            self.receive(proof, arrival)

    def receive(self, datagram: bytes, arrival: Arrival) -> None:
        """Serve a datagram of this member, or of a peer that forged its address."""
        now = self._datagrams.now()
        if self._detector.is_echo(datagram, now):
            self._datagrams.mute(self)
            self.leave(Closing.ECHO)
        elif self.exempt:
            self._datagrams.keep(self)
            self.ask(self.session.received, datagram, arrival)
        else:
            self._receive_unproven(datagram, arrival, now)

    def _receive_unproven(self, datagram: bytes, arrival: Arrival, now: float) -> None:
        consent = self._consent
        consent.received(len(datagram))
        if consent.answered(datagram, now):
            self._datagrams.keep(self)
            self._datagrams.consented(self, consent.until)
            self.flush()
            return
        if not consent.valid(now):
            self._allowance = len(datagram)
            self._challenge(now)
        if not looks_like_an_answer(datagram):  # the session gets no late or repeated answers
            self.ask(self.session.received, datagram, arrival)
        self.flush()
        self._allowance = NO_REPLY

    def renew(self) -> None:
        """Challenge the member if that is due and its consent is still valid."""
        now = self._datagrams.now()
        if self._consent.valid(now):
            self._challenge(now)

    def _challenge(self, now: float) -> None:
        challenge = self._consent.challenge(now)
        if challenge is not None and self._may_send(len(challenge)):
            self._transmit(challenge)

    def ask(self, question: Callable[..., Reply], *given: Any) -> None:
        """Call the session, and perform its reply."""
        if self._over:
            return
        try:
            reply = question(*given)
            self.perform(reply)
            if reply.held and not self._over:
                self._service.context.work.wait(self._process, self._peer.share)
        except Exception:
            self._fail()

    def _process(self) -> None:
        """Process the next portion of the input that the session holds."""
        self.ask(self.session.proceed)

    def perform(self, reply: Reply) -> None:
        """Send a reply, one datagram for each piece, or queue it. Any end except NOTHING ends the membership."""
        if self._over or self._ending:
            return
        if reply.data is not None:
            self._queue(iter((reply.data,)))
        if reply.more is not None:
            self._queue(reply.more)
        self._ending = reply.end is not End.NOTHING
        self.flush()

    def flush(self) -> None:
        """Send queued pieces that may be sent, as far as the work budget allows in this turn."""
        self._flush(self._service.context.work.portion())

    def dismiss(self, reason: Closing) -> None:
        """End the session as if the peer had finished."""
        self._closing = reason
        self.ask(self.session.ended)
        self._flush(Portion(self._service.context.work, AT_THE_END * DATAGRAM))
        self.leave(reason)

    def leave(self, reason: Closing) -> None:
        """End the membership, and drop queued pieces."""
        if not self._over:
            self._over = True
            self._waiting.clear()
            self._service.context.work.cancel(self._process)
            self._service.context.work.cancel(self.flush)
            try:
                if hasattr(self, "session"):
                    self.session.lost()
            except Exception:  # the member must be removed nevertheless
                _log.failure("the service failed at the end of the conversation with {peer}", peer=self._peer.remote)
                reason = Closing.FAILED
            self._datagrams.left(self, reason)

    def _fail(self) -> None:
        """Handle a bug of the service: end only this membership."""
        _log.failure("the service failed; the conversation with {peer} is over", peer=self._peer.remote)
        self.leave(Closing.FAILED)

    def _queue(self, pieces: Iterator[bytes]) -> None:
        if len(self._waiting) < WAITING:
            self._waiting.append(pieces)
        else:
            self._datagrams.counters.refuse(Refusal.CONSENT if self._needs_consent() else Refusal.OUTPUT)

    def _flush(self, portion: Portion) -> None:
        """Send queued pieces that may be sent. Leave after the last one if the session has ended."""
        try:
            while not self._over and (piece := self._next()) is not None:
                self._held = piece
                if not portion.take() and not self._needs_consent():  # without consent, only this turn's reply is sent
                    self._service.context.work.wait(self.flush, self._peer.share)
                    return
                if not self._may_send(len(piece)):
                    break
                self._held = None
                portion.spend(DATAGRAM - 1)
                self._transmit(piece)
        except Exception:  # a bug of this session; the caller may be another session
            self._fail()
        if self._ending:
            self.leave(self._closing)

    def _next(self) -> bytes | None:
        if self._held is not None:
            piece, self._held = self._held, None
            return piece
        while self._waiting:
            for piece in self._waiting[0]:
                return piece
            self._waiting.popleft()
        return None

    def _needs_consent(self) -> bool:
        return not self._consent.valid(self._datagrams.now()) and not self.exempt

    def _may_send(self, size: int) -> bool:
        needs_consent = self._needs_consent()
        if needs_consent and size > self._allowance:
            self._datagrams.counters.refuse(Refusal.CONSENT)
            return False
        if not self._datagrams.members.may_send(self.host, size):
            self._datagrams.counters.refuse(Refusal.OUTPUT)
            self._datagrams.wait_for_budget(self)
            return False
        if needs_consent:
            self._allowance = NO_REPLY
        return True

    def _transmit(self, data: bytes) -> None:
        datagrams = self._datagrams
        error = self._send(data)
        if error is None:
            datagrams.counters.datagrams_out += 1
            datagrams.counters.bytes_out += len(data)
            self._detector.sent(data, datagrams.now())
        elif error is WITHHELD:
            self._detector.sent(data, datagrams.now())
        else:
            datagrams.counters.refuse(Refusal.SEND)
            if not self.host and isinstance(
                error, ConnectionRefusedError | FileNotFoundError
            ):  # a Unix peer has closed its socket
                self.leave(Closing.LOST)

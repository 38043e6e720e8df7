"""What a ping asks, and the sessions that judge what comes back: pure, the service's own code is the oracle.

No octet of a probe is an ASCII small letter, so `echo` and `upper` answer the same, and either can be asked.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Final

from echod.client.probe_ledger import Account, Finding
from echod.model import CLOSE, NOTHING, Peer, Quiet, Reply
from echod.services.echo import Echo
from echod.services.upper import Upper

_TURN: Final = 251  #: probes after which the filling begins anew; a prime, so that no size hides a shifted answer

_MARK: Final = re.compile(rb"([0-9A-F]{8})([0-9A-F]{8})")
"""How a datagram begins, for it may get lost, come twice or overtake another: eight hexadecimal digits that are chosen
at random for this ping, and eight that count its probes."""


class Probes:
    """The questions of one ping, and their answers: `size` octets each, and a different filling from probe to probe.

    `marked` begins each with 16 octets by which its answer is known; without, the place in the stream tells.
    """

    def __init__(self, size: int, peer: Peer, chance: random.Random, *, marked: bool) -> None:
        self.size = size
        self._peer = peer
        self._oracle = Echo()
        self._tag = b"%08X" % chance.getrandbits(32) if marked else b""
        self._filling = Upper().answer(chance.randbytes(size + _TURN), peer) or b""

    def question(self, number: int) -> bytes:
        """The probe of this number."""
        mark = b"%s%08X" % (self._tag, number) if self._tag else b""
        begin = number % _TURN
        return mark + self._filling[begin : begin + self.size - len(mark)]

    def answer(self, number: int) -> bytes:
        """What has to come back."""
        return self._oracle.answer(self.question(number), self._peer) or b""

    def number(self, answer: bytes) -> int | None:
        """Which probe a datagram answers, by its mark; None is none of ours."""
        mark = _MARK.match(answer)
        return int(mark[2], 16) if mark and mark[1] == self._tag else None


class Probing(Quiet):
    """A session that asks when it is told to. `heard` gets every finding, `opened` hears when asking may begin."""

    def __init__(
        self,
        probes: Probes,
        account: Account,
        clock: Callable[[], float],
        opened: Callable[[], None],
        heard: Callable[[Finding], None],
    ) -> None:
        self._probes = probes
        self._account = account
        self._clock = clock
        self._opened = opened
        self._heard = heard

    def opened(self) -> Reply:
        self._opened()
        return NOTHING

    def ask(self) -> Reply:
        """The next probe, to be sent at once: its time begins now."""
        question = self._probes.question(self._account.sent + 1)
        self._account.send(self._clock())
        return Reply(question)


class Datagrams(Probing):
    """Answers that are told apart by their marks."""

    def received(self, data: bytes) -> Reply:
        now = self._clock()
        number = self._probes.number(data)
        if number is None or not 0 < number <= self._account.sent:
            fault = "it answers no probe of this ping"
            self._heard(self._account.mistake(None, len(data), fault))
            return NOTHING
        right = self._probes.answer(number)
        if data == right:
            self._heard(self._account.answer(number, len(data), now))
        else:
            self._heard(self._account.mistake(number, len(data), _fault(data, right)))
        return NOTHING


class Stream(Probing):
    """Answers that come one after the other, each told by its place: nothing can overtake, or come twice."""

    _number = 1  # of the probe whose answer comes next
    _at = 0  # octets of it that have come
    _right = b""
    _spoiled = False

    def received(self, data: bytes) -> Reply:
        now = self._clock()
        size = self._probes.size
        begin = 0
        while begin < len(data):
            if self._number > self._account.sent:
                self._heard(self._account.mistake(None, len(data) - begin, "more came back than was sent"))
                return CLOSE
            if not self._at:
                self._right = self._probes.answer(self._number)
                self._spoiled = False
            part = data[begin : begin + size - self._at]
            self._compare(part)
            begin += len(part)
            self._at += len(part)
            if self._at == size:
                if not self._spoiled:
                    self._heard(self._account.answer(self._number, size, now))
                self._at = 0
                self._number += 1
        return NOTHING

    def _compare(self, part: bytes) -> None:
        """Tell of an answer's first wrong octet, and of no other."""
        right = self._right[self._at : self._at + len(part)]
        if part != right and not self._spoiled:
            self._spoiled = True
            fault = _fault(part, right, self._at)
            self._heard(self._account.mistake(self._number, self._probes.size, fault))


def _fault(came: bytes, right: bytes, at: int = 0) -> str:
    """Where an answer that begins with octet `at` is wrong."""
    for place, (is_, should_be) in enumerate(zip(came, right, strict=False), at):
        if is_ != should_be:
            return f"octet {place} is 0x{is_:02x}, and should be 0x{should_be:02x}"
    return f"{len(right)} octets were sent"

"""The probes of a ping, and the sessions that verify replies. Pure; the service's own code computes the expected reply.

Probes contain no ASCII lower-case letters. So `echo` and `upper` send the same reply, and both can be probed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Final

from echod.client.probe_ledger import ProbeLedger, ProbeResult
from echod.model import CLOSE, NOTHING, PLAIN, Arrival, Peer, Quiet, Reply
from echod.services.echo import Echo
from echod.services.upper import Upper

_TURN: Final = 251  #: probes after which the filling repeats; a prime, so that a shifted reply differs for every size

_MARK: Final = re.compile(rb"([0-9A-F]{8})([0-9A-F]{8})")
"""The mark of a datagram, which may be lost, duplicated or reordered: eight random hexadecimal digits for this ping,
and eight for the number of the probe."""


class Probes:
    """The probes of one ping and the expected replies: `size` bytes each, with a different filling for each probe.

    If `marked`, each begins with 16 bytes that identify its reply. Otherwise the position in the stream does.
    """

    def __init__(self, size: int, peer: Peer, chance: random.Random, *, marked: bool) -> None:
        self.size = size
        self._peer = peer
        self._oracle = Echo()
        self._tag = b"%08X" % chance.getrandbits(32) if marked else b""
        self._filling = Upper().answer(chance.randbytes(size + _TURN), peer) or b""

    def request(self, number: int) -> bytes:
        """The bytes of the probe with this number."""
        mark = b"%s%08X" % (self._tag, number) if self._tag else b""
        begin = number % _TURN
        return mark + self._filling[begin : begin + self.size - len(mark)]

    def answer(self, number: int) -> bytes:
        """The expected reply to the probe with this number."""
        return self._oracle.answer(self.request(number), self._peer) or b""

    def number(self, answer: bytes) -> int | None:
        """The number of the probe that a datagram replies to, by its mark; None if the mark is not of this ping."""
        mark = _MARK.match(answer)
        return int(mark[2], 16) if mark and mark[1] == self._tag else None


class Probing(Quiet):
    """A session whose `ask` returns the next probe. `on_result` gets each result; `opened` is called at the start."""

    def __init__(
        self,
        probes: Probes,
        account: ProbeLedger,
        clock: Callable[[], float],
        opened: Callable[[], None],
        on_result: Callable[[ProbeResult], None],
    ) -> None:
        self._probes = probes
        self._account = account
        self._clock = clock
        self._opened = opened
        self._on_result = on_result

    def opened(self) -> Reply:
        self._opened()
        return NOTHING

    def ask(self) -> Reply:
        """The next probe, to be sent at once; its time starts now."""
        probe = self._probes.request(self._account.sent + 1)
        self._account.send(self._clock())
        return Reply(probe)


class Datagrams(Probing):
    """Verifies datagrams, which are identified by their marks."""

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        now = self._clock()
        number = self._probes.number(data)
        if number is None or not 0 < number <= self._account.sent:
            error = "it belongs to no probe of this ping"
            self._on_result(self._account.mistake(None, len(data), error))
            return NOTHING
        right = self._probes.answer(number)
        if data == right:
            self._on_result(self._account.answer(number, len(data), now))
        else:
            self._on_result(self._account.mistake(number, len(data), _error_of(data, right)))
        return NOTHING


class Stream(Probing):
    """Verifies a stream, in which the position identifies a reply: no reply can be reordered or duplicated."""

    _number = 1  # the probe whose reply is received next
    _at = 0  # bytes of that reply received so far
    _right = b""
    _spoiled = False

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        now = self._clock()
        size = self._probes.size
        begin = 0
        while begin < len(data):
            if self._number > self._account.sent:
                self._on_result(self._account.mistake(None, len(data) - begin, "more bytes were received than sent"))
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
                    self._on_result(self._account.answer(self._number, size, now))
                self._at = 0
                self._number += 1
        return NOTHING

    def _compare(self, part: bytes) -> None:
        """Report the first wrong byte of a reply, and no other."""
        right = self._right[self._at : self._at + len(part)]
        if part != right and not self._spoiled:
            self._spoiled = True
            error = _error_of(part, right, self._at)
            self._on_result(self._account.mistake(self._number, self._probes.size, error))


def _error_of(came: bytes, right: bytes, at: int = 0) -> str:
    """The error in a reply, or in a part of it that starts at byte `at`."""
    for position, (is_, should_be) in enumerate(zip(came, right, strict=False), at):
        if is_ != should_be:
            return f"byte {position} is 0x{is_:02x}, expected 0x{should_be:02x}"
    return f"{len(right)} bytes were sent"

"""Character generator (RFC 864): lines of 72 characters, each beginning one character later than the last."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import repeat
from typing import Final

from echod.model import NOTHING, Peer, Quiet, Reply, Say, Service, Session

RING: Final = bytes(range(0x20, 0x7F))  #: the 95 printing characters of ASCII, SPACE first
LINE: Final = 72
PERIOD: Final = b"".join((RING * 2)[first : first + LINE] + b"\r\n" for first in range(len(RING)))
"""Everything there is to say: the lines repeat after 95, and so do their 7,030 bytes."""
LARGEST: Final = 512  #: bytes of a datagram (RFC 864)


@dataclass(frozen=True)
class ChargenOptions:
    """The keys of a chargen service."""

    rfc864: bool = field(
        default=False,
        metadata={
            "help": "answer a datagram with 0 to 512 characters at random, as the RFC says, whatever it held;"
            " never larger than it but to larger-answers-to"
        },
    )


class Chargen(Service):
    """A stream gets lines for as long as it takes them, whatever it sends, also after its half-close.

    A datagram gets as many characters as it had, 512 at most, and an empty one no answer: chargen answers of 512
    bytes to 1 are what these services were switched off for (CERT CA-1996-01).
    """

    kind = "chargen"
    summary = "sends lines of characters without end (RFC 864)"
    Options = ChargenOptions
    messages = False

    def session(self, peer: Peer, say: Say) -> Session:
        return Generating()

    def answer(self, datagram: bytes, peer: Peer) -> bytes | None:
        if self.options.rfc864:
            return PERIOD[: self.context.random.randint(0, LARGEST)]
        return PERIOD[: min(len(datagram), LARGEST)] or None


class Generating(Quiet):
    """A stream's session."""

    def opened(self) -> Reply:
        return Reply(more=repeat(PERIOD), endless=True)

    def ended(self) -> Reply:
        return NOTHING

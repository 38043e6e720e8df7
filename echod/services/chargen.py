"""Character generator (RFC 864): lines of 72 characters, each starting one character later than the previous one."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import repeat
from typing import Final

from echod.model import NOTHING, Peer, Quiet, Reply, Say, Service, Session

RING: Final = bytes(range(0x20, 0x7F))  #: the 95 printing characters of ASCII, SPACE first
LINE: Final = 72
PERIOD: Final = b"".join((RING * 2)[first : first + LINE] + b"\r\n" for first in range(len(RING)))
"""The whole sequence of 7,030 bytes: the lines repeat after 95."""
LARGEST: Final = 512  #: bytes of a datagram (RFC 864)


@dataclass(frozen=True)
class ChargenOptions:
    """The keys of a chargen service."""

    rfc864: bool = field(
        default=False,
        metadata={
            "help": "reply to a datagram of any size with a random number of 0 to 512 characters, as in the RFC;"
            " larger than the request only to larger-answers-to"
        },
    )


class Chargen(Service):
    """A stream gets lines for as long as the client reads, also after its half-close. Received data is dropped.

    A datagram gets as many characters as it has, at most 512; an empty one gets no reply. Replies of 512 bytes to
    requests of 1 byte are the reason why operators disabled chargen (CERT CA-1996-01).
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
    """A session of a stream."""

    def opened(self) -> Reply:
        return Reply(more=repeat(PERIOD), endless=True)

    def ended(self) -> Reply:
        return NOTHING

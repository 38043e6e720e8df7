"""Daytime (RFC 867): the date and time as a line of text."""

from __future__ import annotations

import time
from typing import Final

from echod.model import Peer, Say, Service, Session
from echod.services.single_reply import Once

DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)


def line(seconds: float) -> bytes:
    """The time in the format of the RFC (`Tuesday, February 22, 1982 17:37:43-PST`), in UTC and in English.

    `seconds` is a Unix time.
    """
    now = time.gmtime(seconds)
    day = f"{DAYS[now.tm_wday]}, {MONTHS[now.tm_mon - 1]} {now.tm_mday}, {now.tm_year}"
    return f"{day} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}-UTC\r\n".encode("ascii")


class Daytime(Service):
    """Sends one line and closes."""

    kind = "daytime"
    summary = "sends the date and the time as text (RFC 867)"

    def session(self, peer: Peer, say: Say) -> Session:
        return Once(line(self.context.wall_clock()))

    def answer(self, datagram: bytes, peer: Peer) -> bytes:
        return line(self.context.wall_clock())

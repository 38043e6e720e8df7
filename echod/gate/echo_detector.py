"""Echo detection: finds a member that only returns what it receives, so that two of them cannot repeat lines endlessly.

A member that returns the text it was sent three times in a row, each time within two seconds, is an echo service. Once
or twice is not enough: an operator may answer `ok` with `ok`. Each text that was sent can be returned once.
Pure: times are seconds on one clock that never steps back.
"""

from __future__ import annotations

from collections import deque
from typing import Final

IN_A_ROW: Final = 3
WITHIN: Final = 2.0  #: seconds between sending a text and its return: more than any round trip
REMEMBERED: Final = 16
"""Texts. While all of them are recent, later ones are not recorded: a run of 16 is returned as a run, however many more
texts are in flight."""
COMPARED: Final = 64  #: bytes of each text: services that cut what they return (at 512 bytes, say) are found as well


class EchoDetector:
    """The recent texts that were sent to one member, and how many of them it returned in a row."""

    __slots__ = ("_returned", "_sent")

    def __init__(self) -> None:
        self._sent: deque[tuple[float, int]] = deque()
        self._returned = 0

    def sent(self, text: bytes, now: float) -> None:
        """Record a text that was sent to the member."""
        while self._sent and now - self._sent[0][0] > WITHIN:
            self._sent.popleft()
        if len(self._sent) < REMEMBERED and (compared := _compared(text)):
            self._sent.append((now, hash(compared)))

    def is_echo(self, text: bytes, now: float) -> bool:
        """Note a text of the member; True at the third in a row that it only returned."""
        if not (compared := _compared(text)):
            return False
        wanted = hash(compared)
        for at, (when, known) in enumerate(self._sent):
            if known == wanted and now - when <= WITHIN:
                del self._sent[at]
                self._returned += 1
                return self._returned >= IN_A_ROW
        self._returned = 0
        return False


def _compared(text: bytes) -> bytes:
    """The text without white space at its ends and in lower case, because services that return text may change both."""
    return text.strip()[:COMPARED].lower()

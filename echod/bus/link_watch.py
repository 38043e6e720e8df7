"""When each link of a broker was heard of last. Times are in seconds on a monotonic clock."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

RETURNS: Final = 4.0  #: seconds within which a message to itself must return
SILENT: Final = 8.0  #: seconds without a message after which another link has ended


class LinkWatch:
    """The times of this link, from `begin` on, and of the links that are watched."""

    def __init__(self) -> None:
        self._returned = 0.0
        self._heard: dict[int, float] = {}

    def begin(self, now: float) -> None:
        """A connection has begun: forget other links."""
        self._returned = now
        self._heard = {}

    def heard(self, link: int, own: int, now: float) -> None:
        """A message of a link has arrived."""
        if link == own:
            self._returned = now
        elif link in self._heard:
            self._heard[link] = now

    def is_overdue(self, now: float) -> bool:
        """Whether own messages do not return."""
        return now - self._returned > RETURNS

    def silent(self, links: Iterable[int], now: float) -> list[int]:
        """The links of `links` that have ended. Those that are new are watched from now on, and others no more."""
        self._heard = {link: self._heard.get(link, now) for link in links}
        found = [link for link, at in self._heard.items() if now - at > SILENT]
        self._heard |= dict.fromkeys(found, now)  # they are reported again after SILENT
        return found

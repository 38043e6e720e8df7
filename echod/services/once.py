"""The session of a service that says one thing and closes, whatever it is sent."""

from __future__ import annotations

from echod.model import End, Quiet, Reply


class Once(Quiet):
    """Says `data`, and then no more; what the peer sends is dropped."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def opened(self) -> Reply:
        return Reply(self._data, end=End.CLOSE)

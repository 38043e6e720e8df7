"""The session of a service that sends one reply at the start and closes."""

from __future__ import annotations

from echod.model import End, Quiet, Reply


class Once(Quiet):
    """Sends `data` and closes; received data is dropped."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def opened(self) -> Reply:
        return Reply(self._data, end=End.CLOSE)

"""The session of a service that sends one reply at the start and closes."""

from __future__ import annotations

from echod.model import End, Quiet, Reply


class Once(Quiet):
    """Sends `data` and closes; received data is dropped. `text` is as in Reply."""

    def __init__(self, data: bytes, *, text: bool | None = None) -> None:
        self._reply = Reply(data, end=End.CLOSE, text=text)

    def opened(self) -> Reply:
        return self._reply

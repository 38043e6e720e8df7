"""A service manager for tests: it receives sd_notify(3) messages, and keeps descriptors as systemd does."""

from __future__ import annotations

import os
import select
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self


class Manager:
    """Listens at `where`, from `with` to the end of the block; `stored` are names and descriptors, in their order."""

    def __init__(self, folder: Path, room: int = 64) -> None:
        self.where = str(folder / "notify")
        self.room = room
        self.messages: list[list[str]] = []
        self.stored: list[tuple[str, int]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.where)
        self._wake, self._end = os.pipe()
        self._thread = threading.Thread(target=self._hear, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._end)
        self._thread.join()
        os.close(self._wake)
        self._socket.close()
        for _, number in self.stored:
            os.close(number)

    @property
    def names(self) -> list[str]:
        """The stored descriptors, in their order."""
        return [name for name, _ in self.stored]

    def _hear(self) -> None:
        while True:
            ready, _, _ = select.select([self._socket.fileno(), self._wake], [], [])
            if self._socket.fileno() not in ready:
                return
            text, numbers, _, _ = socket.recv_fds(self._socket, 4096, 16)
            lines = text.decode().splitlines()
            name = next((line.removeprefix("FDNAME=") for line in lines if line.startswith("FDNAME=")), "stored")
            if "FDSTORE=1" in lines and len(self.stored) + len(numbers) <= self.room:
                self.stored += [(name, number) for number in numbers]
                numbers = []
            if "FDSTOREREMOVE=1" in lines:
                numbers += [number for known, number in self.stored if known == name]
                self.stored = [(known, number) for known, number in self.stored if known != name]
            for number in numbers:
                os.close(number)
            self.messages.append(lines)


class Held:
    """An object with a descriptor."""

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        """The descriptor."""
        return self._number

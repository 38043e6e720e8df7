"""The base classes of attempts: they judge what a program of the learner sends and receives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final

from echod.client.lessons.sockets import LIMITS, Connection, Sockets
from echod.client.lessons.stage import Stage
from echod.client.lessons.texts import Statement, Text
from echod.faults.settings import NO_FAULTS
from echod.model import Say
from echod.transports.layers.layer_interface import MakeLayer

NO_CONNECTION: Final = Text("no program has connected", "还没有程序连接")


class Judge(ABC):
    """One attempt at an exercise, from the start of its sockets to the verdict."""

    may_crash = False  #: whether the present run of the program may end with an exit code other than 0

    def __init__(self, stage: Stage, sockets: Sockets) -> None:
        self.stage, self.sockets = stage, sockets
        self.run = 0  #: how many runs of the program have passed

    @abstractmethod
    def start(self) -> Mapping[str, str]:
        """Open the sockets, and return the values of the placeholders in the command. Raises OSError."""

    @abstractmethod
    def missing(self) -> Statement:
        """The event that has not happened yet, if the time is over or the program has ended."""

    def printed(self, output: str) -> Statement | None:
        """The error in the output of a program that has passed otherwise, or None. Here, any output is right."""
        return None

    def run_begins(self) -> None:
        """Another run of the program begins (`Stage.next_run`)."""
        self.run += 1


class TcpServer(Judge):
    """An attempt whose program is the client of one TCP server."""

    faults = NO_FAULTS
    limits = LIMITS
    layers: Sequence[MakeLayer] = ()

    def __init__(self, stage: Stage, sockets: Sockets) -> None:
        super().__init__(stage, sockets)
        self._latest: Connection[Any] | None = None  # of this run

    @abstractmethod
    def connection(self, say: Say) -> Connection[Any]:
        """The session of a new connection."""

    def handshake_failed(self, error: str) -> None:
        """The handshake of a layer has failed. Without layers, this is not called."""

    def start(self) -> Mapping[str, str]:
        address = self.sockets.serve(
            "tcp://127.0.0.1:{port}",
            self._begin,
            layers=self.layers,
            faults=self.faults,
            limits=self.limits,
            handshake_failed=self.handshake_failed,
        )
        return {"port": str(address.port)}

    def _begin(self, say: Say) -> Connection[Any]:
        self._latest = self.connection(say)
        return self._latest

    def missing(self) -> Statement:
        return Statement(NO_CONNECTION, {}) if self._latest is None else self._latest.missing()

    def run_begins(self) -> None:
        super().run_begins()
        self._latest = None

"""The transport of an accepted stream: what becomes of what the kernel does not take at once.

Whoever takes less than there is for him is read from no more until he has it all, as on the fast plane.

And there are connections that are writable while the kernel takes nothing for them: Linux calls a socket writable by
the room in its own buffer, and refuses what is sent where all sockets together are above `tcp_mem` (tcp(7)), or a
device has no room (ENOBUFS). It tells nobody when that is over. Whoever waits for the next word that he may write
has it at once, without end; so such connections rest a while, and try again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import islice
from typing import Any, Final

from twisted.internet.main import CONNECTION_LOST
from twisted.internet.tcp import Server

PAUSE: Final = 0.1  #: seconds between two turns of those who rest
A_TURN: Final = 64  #: who tries again in one
TURNS: Final = 10  #: within which everybody has tried, however many they are


class Resting:
    """Who rests, by a key of each, and what to call when it is time to try again.

    `reactor` has callLater, in seconds.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._wake: dict[Hashable, Callable[[], object]] = {}
        self._waits = False

    def __len__(self) -> int:
        return len(self._wake)

    def add(self, key: Hashable, wake: Callable[[], object]) -> None:
        """Call `wake` in a while."""
        self._wake[key] = wake
        self._wait()

    def forget(self, key: Hashable) -> None:
        """Do not: it is over."""
        self._wake.pop(key, None)

    def _wait(self) -> None:
        if self._wake and not self._waits:
            self._waits = True
            self._reactor.callLater(PAUSE, self._turn)

    def _turn(self) -> None:
        self._waits = False
        for key in list(islice(self._wake, max(A_TURN, len(self._wake) // TURNS))):
            self._wake.pop(key)()
        self._wait()


class StreamTransport(Server):
    """A connection of a StreamPort, of any family.

    What a read brings is answered in the same turn: the reactor is asked for a word that we may write only where the
    kernel does not take it all. One that breaks in our hands is reset: an end in order would say that the peer has
    everything.
    """

    server: Any  # a StreamPort, where Twisted has its own
    producer: Any  # Twisted's interfaces tell a part of it only
    _reads = False
    _due = False  # something is to be written behind the read
    _taken: Any = 0  # of the last send: octets, or CONNECTION_LOST
    _broken = False

    def doRead(self) -> Any:
        """As Server's, and write what came of it; what recv(2) meets besides having nothing is an end."""
        self._reads = True
        try:
            result = super().doRead()
        finally:
            self._reads = False
        self._broken = self._broken or result is CONNECTION_LOST
        if self._due:
            self._due = False
            ends = self.disconnecting or self._writeDisconnecting  # it is for the reactor to see the end of writing
            if result is None and not ends:
                result = self._send()
            if result is None and (ends or self.dataBuffer):
                self.startWriting()
        return result

    def startWriting(self) -> None:
        """Write behind the read where we are in one, else when the reactor says so."""
        if self._reads:
            self._due = True
        else:
            super().startWriting()

    def writeSomeData(self, data: bytes) -> Any:
        """As Server's, for send(2)."""
        self._taken = super().writeSomeData(data)
        self._broken = self._broken or self._taken is CONNECTION_LOST
        return self._taken

    def doWrite(self) -> Any:
        """As Server's; a kernel that takes nothing, having said that it would, is left alone for a while."""
        result = self._send()
        if result is None and self.dataBuffer and self._taken == 0:
            self.stopWriting()
            self.server.resting.add(self, self.startWriting)
        return result

    def _send(self) -> Any:
        result: Any = super().doWrite()
        if result is None and self.dataBuffer and self.producer is not None and not self.producerPaused:
            self.dataBuffer, self.offset = self.dataBuffer[self.offset :], 0  # what has gone need not be kept
            self.producerPaused = True
            self.producer.pauseProducing()
        return result

    def connectionLost(self, reason: Any) -> None:
        """The end, whoever made it."""
        self.server.resting.forget(self)
        super().connectionLost(reason)

    def _closeSocket(self, orderly: bool) -> None:
        super()._closeSocket(orderly and not self._broken)

"""Connecting as a probe: how long each connection takes, and nothing else of it; each one ends politely.

A name is looked up once, before the first probe: what is timed is from connect(2) to the other side's consent.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from echod.address import Address
from echod.client.account import Account, Finding
from echod.client.dialogue import Failed
from echod.names import SocketAddress, inet_name, unix_name
from echod.text import system_error
from echod.transports.sockets import mark

LINGER: Final = 1.0  #: seconds that the other side has to end once we have
PIECE: Final = 65_536  #: octets at a time of what it says, which is dropped

Place = tuple[int, Any]  # family and socket address


class Connections:
    """Makes a connection whenever it is asked to. Of a name's addresses, the first that takes one is used.

    `opened` hears when asking may begin, `heard` gets every finding, `over` hears why there can be no more.
    """

    def __init__(
        self,
        reactor: Any,
        address: Address,
        account: Account,
        clock: Callable[[], float],
        opened: Callable[[], None],
        heard: Callable[[Finding], None],
        over: Callable[[Failed], None],
    ) -> None:
        self._reactor = reactor
        self._address = address
        self._account = account
        self._clock = clock
        self._opened = opened
        self._heard = heard
        self._over = over
        self._places: list[Place] = []
        self._connected = False  # at least once
        _places(address).addCallbacks(self._found, self._unknown)

    @property
    def remote(self) -> SocketAddress:
        """The other side's name."""
        place = self._places[0][1]
        return inet_name(place) if isinstance(place, tuple) else unix_name(place)

    def ask(self) -> None:
        """Begin the next connection."""
        self._try(0)

    def _found(self, places: list[Place]) -> None:
        self._places = places
        self._opened()

    def _unknown(self, _failure: Failure) -> None:
        self._over(Failed(f"{self._address.place}: no such host (EAI_NONAME)"))

    def _try(self, number: int) -> None:
        """Connect for the probe of this number, or the next one."""
        place = self._places[0]
        try:
            attempt = Attempt(self._reactor, place, self._address, self._account.patience, self._ended)
        except OSError as error:
            self._failed(place, number, error)
            return
        attempt.number = number or self._account.send(self._clock())
        attempt.begin()

    def _ended(self, attempt: Attempt, error: OSError | None) -> None:
        now = self._clock()
        if error is None:
            self._connected = True
            self._heard(self._account.answer(attempt.number, 0, now))
        else:
            self._failed(attempt.place, attempt.number, error)

    def _failed(self, place: Place, number: int, error: OSError) -> None:
        late = error.errno == errno.ETIMEDOUT
        if not self._connected and len(self._places) > 1:
            if place == self._places[0]:
                self._places.pop(0)
            if not late:
                self._try(number)
        elif not late:
            self._over(Failed(f"{self._address.place}: {system_error(error)}"))


class Attempt(FileDescriptor):
    """One connection: `ended` hears once whether it came to be; then it is closed as soon as the other side closes.

    Raises OSError where there can be no such socket.
    """

    number = 0

    def __init__(
        self,
        reactor: Any,
        place: Place,
        address: Address,
        patience: float,
        ended: Callable[[Attempt, OSError | None], None],
    ) -> None:
        super().__init__(reactor)
        self.place = place
        self._ended = ended
        self._answered = False
        self.socket = socket.socket(place[0], socket.SOCK_STREAM)
        try:
            mark(self.socket, address)
            self.socket.setblocking(False)
        except OSError:
            self.socket.close()
            raise
        self._deadline = reactor.callLater(patience, self._too_late)

    def begin(self) -> None:
        """Connect."""
        code = self.socket.connect_ex(self.place[1])
        if code == errno.EINPROGRESS:
            self.startWriting()
        else:
            self._decided(code)

    def fileno(self) -> int:
        """The descriptor that the reactor watches."""
        return self.socket.fileno()

    def doWrite(self) -> None:
        """The kernel has decided."""
        self.stopWriting()
        self._decided(self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def doRead(self) -> None:
        """Drop what the other side says, until it ends."""
        try:
            ended = not self.socket.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            ended = True
        if ended:
            self._close()

    def connectionLost(self, reason: object) -> None:
        """The reactor found an error, or ends."""
        if not self._answered:
            self._decided(self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNABORTED)
        self._close()

    def _decided(self, code: int) -> None:
        self._answered = True
        if code:
            self._close()
            self._ended(self, OSError(code, os.strerror(code)))
            return
        self._ended(self, None)
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:  # the other side has reset it already
            self._close()
            return
        self._deadline.reset(LINGER)
        self.startReading()

    def _too_late(self) -> None:
        if self._answered:
            self._close()
        else:
            self._decided(errno.ETIMEDOUT)

    def _close(self) -> None:
        if self._deadline.active():
            self._deadline.cancel()
        self.stopReading()
        self.stopWriting()
        self.socket.close()


def _places(address: Address) -> Deferred[list[Place]]:
    """Where the address can be reached. Fails with gaierror."""
    if address.has_path:
        return succeed([(socket.AF_UNIX, address.system_path)])
    asking = deferToThread(socket.getaddrinfo, address.host, address.port, type=socket.SOCK_STREAM)
    return asking.addCallback(lambda found: [(family, place) for family, _, _, _, place in found])

"""Connecting as a probe: how long each connection takes, and nothing else of it; each one ends politely.

A name is looked up once, before the first probe: what is timed is from connect(2) to the other side's consent.
"""

from __future__ import annotations

import argparse
import errno
import os
import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from echod.address import Address
from echod.client.client_connection import Failed, family_of
from echod.client.probe_ledger import Account, Finding
from echod.names import SocketAddress, inet_name, unix_name
from echod.text import system_error
from echod.transports.dialled import ATTEMPT_DELAY, OUTAGE
from echod.transports.lookup import Place, look_up
from echod.transports.sockets import mark

LINGER: Final = 1.0  #: seconds that the other side has to end once we have
PIECE: Final = 65_536  #: octets at a time of what it says, which is dropped


class Connections:
    """Makes a connection whenever it is asked to.

    The addresses of a name are tried one after the other: the next one when one refuses, or does not answer for
    ATTEMPT_DELAY (RFC 8305 5). The first that answers is used from then on. A probe is timed from the attempt that
    answers it. `opened` is called when asking may begin, `heard` with every finding, and `over` with the reason why
    there can be no more. `refused` is called with an error that may be over at the next probe.
    """

    def __init__(
        self,
        reactor: Any,
        arguments: argparse.Namespace,
        account: Account,
        clock: Callable[[], float],
        opened: Callable[[], None],
        heard: Callable[[Finding], None],
        over: Callable[[Failed], None],
        refused: Callable[[int, OSError], None],
    ) -> None:
        self._reactor = reactor
        self._address: Address = arguments.url
        self._account = account
        self._clock = clock
        self._opened = opened
        self._heard = heard
        self._over = over
        self._refused = refused
        self._places: list[Place] = []
        _places(reactor, self._address, family_of(arguments)).addCallbacks(self._found, self._unknown)

    @property
    def remote(self) -> SocketAddress:
        """The name of the address that answered; before any has, the first one."""
        place = self._places[0][1]
        return inet_name(place) if isinstance(place, tuple) else unix_name(place)

    def ask(self) -> None:
        """Begin the next connection."""
        Race(self, self._account.send(self._clock())).go_on()

    def _found(self, places: list[Place]) -> None:
        self._places = places
        self._opened()

    def _unknown(self, failure: Failure) -> None:
        wrong = failure.value
        why = system_error(wrong) if isinstance(wrong, OSError) else str(wrong)
        self._over(Failed(f"{self._address.place}: {why}"))

    # for the race of one probe

    def places(self) -> list[Place]:
        """The addresses to try now."""
        return list(self._places)

    def attempt(self, place: Place, ended: Callable[[Attempt, OSError | None], None]) -> Attempt:
        """Begin to connect. Raises OSError."""
        attempt = Attempt(self._reactor, place, self._address, self._account.patience, ended)
        attempt.began = self._clock()
        return attempt

    def later(self, call: Callable[[], None]) -> Any:
        """Call this after ATTEMPT_DELAY."""
        return self._reactor.callLater(ATTEMPT_DELAY, call)

    def won(self, number: int, attempt: Attempt) -> None:
        """The probe of this number has its connection."""
        now = self._clock()
        self._places = [attempt.place]
        self._account.restart(number, attempt.began)
        self._heard(self._account.answer(number, 0, now))

    def lost(self, number: int, error: OSError) -> None:
        """No address accepts the probe of this number."""
        if error.errno in OUTAGE:
            self._refused(number, error)
        elif error.errno != errno.ETIMEDOUT:
            self._over(Failed(f"{self._address.place}: {system_error(error)}"))


class Race:
    """The attempts for one probe."""

    def __init__(self, connections: Connections, number: int) -> None:
        self._connections = connections
        self._number = number
        self._untried = connections.places()
        self._attempts: list[Attempt] = []
        self._timer: Any = None

    def go_on(self) -> None:
        """Try the next address, and after a while the one after it."""
        self._stop()
        error = OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        while self._untried:
            try:
                attempt = self._connections.attempt(self._untried.pop(0), self._ended)
            except OSError as failed:
                error = failed
                continue
            self._attempts.append(attempt)
            if self._untried:
                self._timer = self._connections.later(self.go_on)
            attempt.begin()
            return
        if not self._attempts:
            self._connections.lost(self._number, error)

    def _ended(self, attempt: Attempt, error: OSError | None) -> None:
        self._attempts.remove(attempt)
        if error is None:
            self._stop()
            self._untried = []
            for other in self._attempts:
                other.give_up()
            self._attempts = []
            self._connections.won(self._number, attempt)
        elif self._untried:
            self.go_on()
        elif not self._attempts:
            self._connections.lost(self._number, error)

    def _stop(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None


class Attempt(FileDescriptor):
    """One connection: `ended` hears once whether it came to be; then it is closed as soon as the other side closes.

    Raises OSError where there can be no such socket.
    """

    began = 0.0  #: by the clock of the probes

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

    def give_up(self) -> None:
        """Close, without a call of `ended`."""
        self._answered = True
        self._close()

    def _close(self) -> None:
        if self._deadline.active():
            self._deadline.cancel()
        self.stopReading()
        self.stopWriting()
        self.socket.close()


def _places(reactor: Any, address: Address, family: int) -> Deferred[list[Place]]:
    """Where the address can be reached. Fails with OSError."""
    if address.has_path:
        return succeed([(socket.AF_UNIX, address.system_path)])
    return look_up(reactor, address.host, address.port, socket.SOCK_STREAM, family)

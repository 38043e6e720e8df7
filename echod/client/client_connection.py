"""A client's conversation over any transport, and every way it can fail in plain words."""

from __future__ import annotations

import argparse
import errno
import os
import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet import error
from twisted.python.failure import Failure

from echod.address import Address
from echod.events import Closing, Tally
from echod.gate.limits import Limits
from echod.model import Peer, Say, Session
from echod.text import escaped, system_error
from echod.transports.conversation import Conversation
from echod.transports.dialled import DatagramDialogue
from echod.transports.lookup import NameResolver
from echod.transports.transport import transport_of

CONNECT_TIMEOUT: Final = 10.0  #: seconds for one address; a SYN is sent again after 1, 3 and 7
LOST: Final = {Closing.DONE: 0, Closing.MESSAGE: errno.EMSGSIZE}
"""The system's number for each end of a connection; any other is a reset."""
PATIENT: Final = Limits(idle=0, stall=0)
"""A client waits as long as the person who started it."""


def family_of(arguments: argparse.Namespace) -> int:
    """What `-4` and `-6` ask for, as a family of sockets."""
    return {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}[arguments.ip]


class Failed(Exception):
    """What was asked could not be done; the text names the address and the system's own error."""


class Dialogue:
    """Reaches an address and holds one session with it.

    `over` hears once, at the end: None when both sides had finished, otherwise what went wrong.
    `room` is called whenever everything that was said has been taken, so that more can be said. `family` restricts
    the addresses of a name that are tried.
    """

    def __init__(
        self,
        reactor: Any,
        address: Address,
        begin: Callable[[Peer, Say], Session],
        over: Callable[[Failed | None], None],
        room: Callable[[], None] = lambda: None,
        limits: Limits = PATIENT,
        *,
        family: int = socket.AF_UNSPEC,
    ) -> None:
        self.address = address
        self.tally = Tally()
        self._begin = begin
        self._over = over
        self._room = room
        self._limits = limits
        self._reactor = reactor
        self._conversation: _Upload | None = None
        self._ended = False
        reactor.callLater(0, self._dial, family)  # nothing is called back before its caller holds this object

    @property
    def paused(self) -> bool:
        """Whether enough waits to be sent: say more after the next call of `room`."""
        return self._conversation is not None and self._conversation.paused

    def abandon(self) -> None:
        """Hear no more of it: the person has left."""
        self._ended = True

    def _dial(self, family: int) -> None:
        if self._ended:
            return
        address = self.address
        transport = transport_of(address.scheme)
        try:
            if transport.shape.has_connections:
                connecting = transport.dial(self._reactor, address, self._build, CONNECT_TIMEOUT, family)
            else:
                connecting = transport.dial(self._reactor, address, self._begin, self._broken, family)
                connecting.addCallback(self._datagrams_begin)
        except ValueError as wrong:
            self._end(Failed(f"{address.place}: {escaped(str(wrong))}"))
        else:
            connecting.addErrback(self._unreachable)

    def _datagrams_begin(self, datagrams: DatagramDialogue) -> None:
        if not self._ended:
            datagrams.begin()

    def _build(self) -> Conversation:
        self._conversation = _Upload(
            self._begin, self.address.scheme, self._limits, self.tally, self._stream_over, self._room
        )
        return self._conversation

    def _stream_over(self, _conversation: Conversation, reason: Closing) -> None:
        why = LOST.get(reason, errno.ECONNRESET)
        self._broken(OSError(why, os.strerror(why)) if why else None)

    def _broken(self, wrong: OSError | None) -> None:
        self._end(None if wrong is None else Failed(f"{self.address.place}: {system_error(wrong)}"))

    def _unreachable(self, failure: Failure) -> None:
        wrong = failure.value or Failed()
        resolver = getattr(self._reactor, "nameResolver", None)
        if isinstance(wrong, error.DNSLookupError) and isinstance(resolver, NameResolver):
            wrong = resolver.failure or wrong  # an endpoint string names its host to Twisted, not to us
        self._end(Failed(f"{self.address.place}: {_reason(wrong)}"))

    def _end(self, how: Failed | None) -> None:
        if not self._ended:
            self._ended = True
            self._over(how)


class _Upload(Conversation):
    """A conversation that says when there is room for more."""

    def __init__(
        self, begin: Any, scheme: str, limits: Limits, tally: Tally, over: Any, room: Callable[[], None]
    ) -> None:
        super().__init__(begin, scheme, limits, tally, over)
        self._room = room

    def drained(self) -> None:
        super().drained()
        if not self.paused:
            self._room()


def _reason(wrong: BaseException) -> str:
    """What went wrong, in the system's words and with its name."""
    if isinstance(wrong, socket.gaierror):
        return system_error(wrong)
    if isinstance(wrong, error.DNSLookupError):
        return system_error(socket.gaierror(socket.EAI_NONAME, ""))
    if isinstance(wrong, error.TimeoutError):
        return f"no answer to connecting within {CONNECT_TIMEOUT:g} s (ETIMEDOUT)"
    number = wrong.errno if isinstance(wrong, OSError) else getattr(wrong, "osError", None)
    if isinstance(number, int):
        named = number == errno.ENODEV  # which interface it is that is not there
        words = (wrong.strerror if isinstance(wrong, OSError) else wrong.args[0]) if named else os.strerror(number)
        return system_error(OSError(number, words))
    if isinstance(wrong, error.ConnectionRefusedError):
        return system_error(OSError(errno.ECONNREFUSED, ""))
    return escaped(str(wrong)) or type(wrong).__name__

"""A client's connection or datagram session over any transport, with one error message for each failure."""

from __future__ import annotations

import argparse
import errno
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from twisted.internet import error
from twisted.python.failure import Failure

from echod.address import Address
from echod.address_options import source_of
from echod.client.layers import header_of, layers_of
from echod.escaping import escaped, system_error
from echod.events import Closing, Counters
from echod.gate.limits import Limits
from echod.model import Peer, Say, Session
from echod.transports.conversation import Conversation
from echod.transports.datagram_client import DatagramDialogue
from echod.transports.layers.layer_interface import (
    Build,
    HandshakeTimeout,
    Layer,
    ProtocolError,
    Receiver,
    StreamTransport,
    stacked,
)
from echod.transports.lookup import NameResolver
from echod.transports.sockets import is_name
from echod.transports.transport import ConnectRequest, transport_of

CONNECT_TIMEOUT: Final = 10.0  #: seconds for one address; the kernel sends a SYN again after 1, 3 and 7
LOST: Final = {Closing.DONE: 0, Closing.MESSAGE: errno.EMSGSIZE}
"""The errno of each closing reason; any other reason has that of the system, or is a reset."""
TRUNCATED: Final = "the server closed without close_notify: the reply may be incomplete (RFC 8446 section 6.1)"
WITHOUT_CLOSE: Final = "the server closed without a Close frame: messages may be missing (RFC 6455 section 7.1.5)"
PATIENT: Final = Limits(idle=0, stall=0)
"""Without time limits: the user decides how long a client waits."""


def family_of(arguments: argparse.Namespace) -> int:
    """The address family that `-4` or `-6` selects, or else for a name that of the option `source`."""
    source = source_of(str(arguments.url.options.get("source", ""))) if is_name(arguments.url) else None
    version = arguments.ip or (None if source is None or source.host == "*" else 6 if ":" in source.host else 4)
    return {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}[version]


class Failed(Exception):
    """A command failed; the message names the address and the system error."""


class Dialogue:
    """Connects to the address `arguments.url`, by the options of the command line, and runs one session.

    `over` is called once at the end: with None if both sides have closed, otherwise with the error. `room` is called
    when all pending output has been sent, so that more can be sent.
    """

    def __init__(
        self,
        reactor: Any,
        arguments: argparse.Namespace,
        begin: Callable[[Peer, Say], Session],
        over: Callable[[Failed | None], None],
        room: Callable[[], None] = lambda: None,
        limits: Limits = PATIENT,
    ) -> None:
        self.address: Address = arguments.url
        self.counters = Counters()
        self._begin = begin
        self._over = over
        self._room = room
        self._limits = limits
        self._reactor = reactor
        self._conversation: _Upload | None = None
        self._close_made: Callable[[], None] = lambda: None  # ends what is being connected, or is connected
        self._ended = False
        reactor.callLater(0, self._dial, arguments)  # no callback before the caller has this object

    @property
    def paused(self) -> bool:
        """Whether enough output is pending; send more after the next call of `room`."""
        return self._conversation is not None and self._conversation.paused

    def abandon(self) -> None:
        """Ignore all further events: the command ends."""
        self._ended = True

    def close(self) -> None:
        """End now, and ignore all further events. A connection is reset."""
        self._ended = True
        self._close_made()

    def _dial(self, arguments: argparse.Namespace) -> None:
        if self._ended:
            return
        address = self.address
        transport = transport_of(address.scheme)
        request = ConnectRequest(self._reactor, address, CONNECT_TIMEOUT, family_of(arguments))
        try:
            if address.shape.has_connections:
                build: Callable[[], Receiver] = self._build
                if layers := layers_of(address, arguments, self._reactor):
                    build = partial(_Handshakes, stacked(layers, build), self._handshake_lost)
                connecting = transport.dial(request, build).addCallback(self._stream_made)
            else:
                connecting = transport.dial(request, self._begin, self._broken)
                header = header_of(arguments, datagrams=True)
                connecting.addCallback(lambda datagrams: self._datagrams_begin(datagrams.with_header(header)))
        except ValueError as wrong:
            self._end(Failed(f"{address.label}: {escaped(str(wrong))}"))
        else:
            if not connecting.called:
                self._close_made = connecting.cancel
            connecting.addErrback(self._unreachable)

    def _stream_made(self, lowest: StreamTransport) -> None:
        self._close_made = lowest.abort

    def _datagrams_begin(self, datagrams: DatagramDialogue) -> None:
        self._close_made = lambda: datagrams.close(None)
        if not self._ended:
            datagrams.begin()

    def _build(self) -> Conversation:
        self._conversation = _Upload(
            self._begin, self.address.scheme, self._limits, self.counters, self._stream_over, self._room
        )
        return self._conversation

    def _handshake_lost(self, reason: Exception) -> None:
        if self._conversation is None:
            self._end(Failed(f"{self.address.label}: {_reason(reason)}"))

    def _stream_over(self, conversation: _Upload, reason: Closing) -> None:
        if conversation.begun and isinstance(wrong := conversation.below.facts.error, ProtocolError):
            self._end(Failed(f"{self.address.label}: {_reason(wrong)}"))
            return
        if conversation.begun and conversation.below.facts.truncated:
            how = WITHOUT_CLOSE if self.address.shape.keeps_messages else TRUNCATED
            self._end(Failed(f"{self.address.label}: {how}"))
            return
        why = LOST.get(reason, conversation.failure)
        self._broken(OSError(why, os.strerror(why)) if why else None)

    def _broken(self, wrong: OSError | None) -> None:
        self._end(None if wrong is None else Failed(f"{self.address.label}: {system_error(wrong)}"))

    def _unreachable(self, failure: Failure) -> None:
        wrong = failure.value or Failed()
        resolver = getattr(self._reactor, "nameResolver", None)
        if isinstance(wrong, error.DNSLookupError) and isinstance(resolver, NameResolver):
            wrong = resolver.failure or wrong  # Twisted looks up the host of an endpoint string
        self._end(Failed(f"{self.address.label}: {_reason(wrong)}"))

    def _end(self, how: Failed | None) -> None:
        if not self._ended:
            self._ended = True
            self._over(how)


class _Upload(Conversation):
    """A conversation that calls `room` when its output is drained."""

    def __init__(
        self, begin: Any, scheme: str, limits: Limits, counters: Counters, over: Any, room: Callable[[], None]
    ) -> None:
        super().__init__(begin, scheme, limits, counters, over)
        self._room = room
        self.failure = errno.ECONNRESET  #: the error that ended the connection, if it was one of the system

    def lost(self, reason: Exception) -> None:
        self.failure = getattr(reason, "osError", None) or errno.ECONNRESET
        super().lost(reason)

    def drained(self) -> None:
        super().drained()
        if not self.paused:
            self._room()


class _Handshakes(Layer):
    """The lowest layer of a client. It passes everything on, and reports to `over` why the connection was lost."""

    __slots__ = ("_over",)

    def __init__(self, build: Build, over: Callable[[Exception], None]) -> None:
        super().__init__(build)
        self._over = over

    def lost(self, reason: Exception) -> None:
        super().lost(reason)
        self._over(self.facts.error or reason)


def _reason(wrong: BaseException) -> str:
    """The error in the system's words, with its symbolic name."""
    if isinstance(wrong, HandshakeTimeout):
        return f"{wrong} (ETIMEDOUT)"
    if isinstance(wrong, error.ConnectionDone):
        return "the peer closed the connection within the handshake"
    if isinstance(wrong, socket.gaierror):
        return system_error(wrong)
    if isinstance(wrong, error.DNSLookupError):
        return system_error(socket.gaierror(socket.EAI_NONAME, ""))
    if isinstance(wrong, error.TimeoutError):
        return f"no connection within {CONNECT_TIMEOUT:g} s (ETIMEDOUT)"
    number = wrong.errno if isinstance(wrong, OSError) else getattr(wrong, "osError", None)
    if isinstance(number, int):
        ours = isinstance(wrong, error.ConnectBindError)  # its text names the interface or option
        words = wrong.strerror if isinstance(wrong, OSError) else wrong.args[0] if ours else ""
        return system_error(OSError(number, words or os.strerror(number)))
    if isinstance(wrong, error.ConnectionLost | error.ConnectionAborted):
        return system_error(OSError(errno.ECONNRESET, ""))
    if isinstance(wrong, error.ConnectionRefusedError):
        return system_error(OSError(errno.ECONNREFUSED, ""))
    return escaped(str(wrong)) or type(wrong).__name__

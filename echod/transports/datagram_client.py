"""The client side of datagrams: connected sockets, and the session."""

from __future__ import annotations

import errno
import os
import socket
from array import array
from collections.abc import Callable, Iterable
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionLost

from echod.model import PLAIN, Arrival, End, Peer, Reply, Say, Session
from echod.socket_names import SocketAddress, inet_name, unix_name
from echod.transports.datagram import A_TURN, ANCILLARY, LARGEST
from echod.transports.layers.proxy import MakeHeader
from echod.transports.lookup import Target
from echod.transports.multicast import is_group
from echod.transports.packet_stamps import arrival_of, request_facts, sent_times

OnSent = Callable[[int, int], None]
"""Gets the number of a datagram of the session, from 1, and the time at which the kernel sent it, in ns since 1970."""

RECENT: Final = 1024  #: datagrams whose send times the kernel may still report
KEPT: Final = 64  #: datagrams that are repeated to the next address of a name, at most
ATTEMPT_DELAY: Final = 0.25  #: seconds without a reply before the next address is tried (RFC 8305 5)
OUTAGE: Final = frozenset(
    {
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.EHOSTUNREACH,
        errno.EHOSTDOWN,
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.ENOENT,  # a Unix socket while its daemon restarts
        errno.EAGAIN,  # a Unix socket whose listen queue is full
    }
)
"""Errors that may not recur at the next attempt: the peer or the network is down."""


class DatagramDialogue:
    """A session over datagrams, with the first address of a name that replies.

    The session sends to the first address. If that refuses, or does not reply within ATTEMPT_DELAY, the next address
    is tried as well, and all datagrams are repeated to it. This follows RFC 8305, with the first reply in place of the
    handshake. The address that replies first keeps the session, and the other sockets are closed.

    `over` is called once, with None or the error that ended the session. `answered` is called after the first reply,
    with the seconds since that address was first tried. If `refused` is set, a refusal does not end the session, and
    after the first reply no error does. Then `refused` is called with the error, and the next datagram opens the
    addresses again. Raises OSError if no address can be opened.
    """

    def __init__(
        self,
        reactor: Any,
        scheme: str,
        targets: Iterable[Target],
        prepare: Callable[[socket.socket], None],
        begin: Callable[[Peer, Say], Session],
        over: Callable[[OSError | None], None],
    ) -> None:
        self.answered: Callable[[float], None] = lambda _seconds: None
        self.refused: Callable[[OSError], None] | None = None
        self._header: MakeHeader | None = None
        self._reactor = reactor
        self._targets = list(targets)
        self._untried = list(self._targets)
        self._prepare = prepare
        self._over = over
        self._attempts: list[Attempt] = []
        self._winner: Attempt | None = None
        self._has_reply = False
        self._unanswered: list[tuple[int, bytes]] = []  # with the numbers of the datagrams
        self._sent = 0  # datagrams of the session
        self._on_sent: OnSent | None = None
        self._timer: Any = None
        self._ended = False
        first = self._open(OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL)))
        self._remote = first.remote
        self.session = begin(Peer(scheme, first.local, first.remote), self.perform)

    @property
    def remote(self) -> SocketAddress:
        """The address that replied first; before that, the address that was tried last."""
        return self._remote

    def with_header(self, header: MakeHeader | None) -> DatagramDialogue:
        """Begin each datagram with a PROXY header. Call it before `begin`."""
        self._header = header
        return self

    def stamp(self, on_sent: OnSent) -> None:
        """Pass the kernel's facts of received datagrams to the session, and send times to `on_sent`."""
        self._on_sent = on_sent
        for attempt in self._attempts:
            attempt.stamp(on_sent)

    def begin(self) -> None:
        """Open the session, and send its first data."""
        self.perform(self.session.opened())

    def perform(self, reply: Reply) -> None:
        """Send the data of a reply. Any end except NOTHING closes the session."""
        if reply.data is not None and not self._ended:
            self._send(reply.data)
        if reply.end is not End.NOTHING:
            self.close(None)

    def close(self, error: OSError | None) -> None:
        """End the session, close its sockets, and report `error`."""
        if not self._ended:
            self._ended = True
            self._wait(stop=True)
            self._shut(self._attempts)
            self.session.lost()
            self._over(error)

    def received(self, attempt: Attempt, datagram: bytes, arrival: Arrival = PLAIN) -> None:
        """Handle a datagram from an open attempt; the first one chooses the address."""
        self._remote = attempt.remote
        self._has_reply = True
        if self._winner is not attempt:
            self._winner = attempt
            self._unanswered.clear()
            self._wait(stop=True)
            self._shut([other for other in self._attempts if other is not attempt])
            self.answered(self._reactor.seconds() - attempt.began)
        self.perform(self.session.received(datagram, arrival))

    def failed(self, attempt: Attempt, error: OSError) -> None:
        """Close an attempt that cannot send or receive, and continue with the other addresses if one is left."""
        if self._ended or attempt not in self._attempts:
            return
        self._shut([attempt])
        if self._winner is None and error.errno in OUTAGE and self._untried:
            self._try_next(error)
        elif not self._attempts:
            self._give_up(error)

    def _send(self, data: bytes) -> None:
        self._sent += 1
        for attempt in list(self._attempts):
            attempt.check()
        if not self._attempts and not self._ended:  # all addresses have refused, and `refused` is set
            self._winner = None
            self._unanswered.clear()
            self._untried = list(self._targets)
            try:
                self._open(OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL)))
            except OSError as error:
                self._give_up(error)
                return
        if self._winner is None and len(self._unanswered) < KEPT:
            self._unanswered.append((self._sent, data))
        for attempt in list(self._attempts):
            attempt.send(self._with_header(attempt, data), self._sent)
        if self._winner is None and self._untried:
            self._wait()

    def _with_header(self, attempt: Attempt, data: bytes) -> bytes:
        return data if self._header is None else self._header(attempt.local, attempt.remote) + data

    def _try_next(self, error: OSError) -> None:
        """Open the next address, and repeat all datagrams without a reply to it."""
        self._wait(stop=True)
        try:
            attempt = self._open(error)
        except OSError as last:
            if not self._attempts:
                self._give_up(last)
            return
        self._remote = attempt.remote
        for number, data in list(self._unanswered):
            attempt.send(self._with_header(attempt, data), number)
        if self._untried and not self._ended:
            self._wait()

    def _give_up(self, error: OSError) -> None:
        if self.refused is not None and (self._has_reply or error.errno in OUTAGE):
            self.refused(error)
        else:
            self.close(error)

    def _wait(self, *, stop: bool = False) -> None:
        """Try the next address after ATTEMPT_DELAY, unless that is scheduled already; with `stop`, cancel that."""
        if stop and self._timer is not None:
            if self._timer.active():
                self._timer.cancel()
            self._timer = None
        elif not stop and self._timer is None:
            silent = OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            self._timer = self._reactor.callLater(ATTEMPT_DELAY, self._try_next, silent)

    def _open(self, error: OSError) -> Attempt:
        """A socket to the next address that has a route. Raises the last error, or `error` if no address is left."""
        while self._untried:
            target = self._untried.pop(0)
            try:
                attempt = Attempt(self._reactor, self, target, self._prepare)
            except OSError as failed:
                error = failed
            else:
                self._attempts.append(attempt)
                if self._on_sent is not None:
                    attempt.stamp(self._on_sent)
                return attempt
        raise error

    def _shut(self, attempts: list[Attempt]) -> None:
        for attempt in list(attempts):
            self._attempts.remove(attempt)
            attempt.shut()


class Attempt(FileDescriptor):
    """One connected socket of a dialogue. Raises OSError if the socket cannot be connected."""

    def __init__(
        self, reactor: Any, dialogue: DatagramDialogue, target: Target, prepare: Callable[[socket.socket], None]
    ) -> None:
        super().__init__(reactor)
        self.began: float = reactor.seconds()
        self._dialogue = dialogue
        self._on_sent: OnSent | None = None
        self._numbers = array("Q", bytes(8 * RECENT))  # of the session's datagrams, by the kernel's numbers
        self._sent = 0  # datagrams, since the kernel counts them
        self._group: Any = None  # the name of a multicast group, to which the socket is not connected
        family, name = target
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            prepare(self.socket)
            if family != socket.AF_UNIX and is_group(name[0]):
                self._group = name  # members reply from their own addresses, which a connected socket does not receive
            else:
                self.socket.connect(name)
            self.socket.setblocking(False)
            self.local = _name(self.socket.getsockname())
            # The name of a Unix socket is the path of its bind, even if the path was renamed.
            self.remote = _name(name if family == socket.AF_UNIX or self._group else self.socket.getpeername())
        except OSError:
            self.socket.close()
            raise
        self.connected = 1
        self.startReading()

    def fileno(self) -> int:
        """The descriptor that the reactor watches."""
        return self.socket.fileno()

    def doRead(self) -> None:
        """Receive datagrams, up to A_TURN, and pass them to the dialogue."""
        for _ in range(A_TURN):
            arrival = PLAIN
            try:
                if self._on_sent is None:
                    datagram = self.socket.recv(LARGEST)
                else:
                    datagram, ancillary, _, name = self.socket.recvmsg(LARGEST, ANCILLARY)
                    arrival = arrival_of(ancillary)
                    if self._group is not None:
                        self.remote = _name(name)  # the member that has replied
            except BlockingIOError:
                return
            except OSError as error:
                self._dialogue.failed(self, error)
                return
            self._dialogue.received(self, datagram, arrival)
            if not self.connected:
                return

    def check(self) -> None:
        """Report the error of an earlier datagram, which the next send would return otherwise (udp(7))."""
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._dialogue.failed(self, OSError(code, os.strerror(code)))

    def stamp(self, on_sent: OnSent) -> None:
        """Request the kernel's facts of datagrams; `on_sent` gets the send times. Call it before the first one."""
        self._on_sent = on_sent
        request_facts(self.socket)

    def send(self, data: bytes, number: int) -> None:
        """Send one datagram of the session. If a queue is full it is dropped, as a router would do."""
        try:
            if self.connected:
                self.socket.sendto(data, self._group) if self._group else self.socket.send(data)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ENOBUFS):
                self._dialogue.failed(self, error)
        else:
            self._numbers[self._sent % RECENT] = number
            self._sent += 1
            if self._on_sent is not None:
                self._read_sent_times(self._on_sent)

    def _read_sent_times(self, on_sent: OnSent) -> None:
        """Report the send times that the kernel has."""
        for at, sent_ns in sent_times(self.socket):
            if at < self._sent <= at + RECENT:
                on_sent(self._numbers[at % RECENT], sent_ns)

    def connectionLost(self, reason: Any) -> None:
        """Handle an error on the socket without data to read, or the end of the reactor.

        The reactor takes a send time on the error queue for an error, too. It also reports errors that are over. It
        reads its events in batches, and an earlier event of the batch may have handled the error: `check` has read it,
        or the socket with that error was closed and this one has its descriptor.
        """
        if not self.connected:
            return
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._dialogue.failed(self, OSError(code, os.strerror(code)))
        elif reason.check(ConnectionLost):  # the reactor ends
            self._dialogue.close(None)
        else:
            if self._on_sent is not None:
                self._read_sent_times(self._on_sent)
            self.startReading()

    def shut(self) -> None:
        """Close the socket."""
        if self.connected:
            self.connected = 0
            self.stopReading()
            self.socket.close()


def _name(name: Any) -> SocketAddress:
    return inet_name(name) if isinstance(name, tuple) else unix_name(name)

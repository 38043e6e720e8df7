"""Connecting as a probe: times each connection, sends no data, and closes each connection in order.

A name is looked up once, before the first probe. A probe lasts from connect(2) until the kernel reports the connection,
or over TLS until the handshake is complete; then the two parts are reported, too.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from echod.address import Address
from echod.client.client_connection import Failed, family_of
from echod.client.connect_attempt import Attempt
from echod.client.probe_context import ProbeContext
from echod.escaping import escaped, system_error
from echod.socket_names import SocketAddress, inet_name, unix_name
from echod.transports.datagram_client import ATTEMPT_DELAY, OUTAGE
from echod.transports.lookup import Target, look_up

if TYPE_CHECKING:
    from echod.client.tls_probe import TLSProbes


class Connections:
    """Opens a connection for each probe.

    The addresses of a name are tried in order. The next one is tried if one refuses, or does not answer for
    ATTEMPT_DELAY (RFC 8305 5). The first address that accepts is used from then on, and a probe is timed from the
    attempt that succeeds.
    """

    def __init__(self, setup: ProbeContext) -> None:
        self._setup = setup
        self._address, self._account, self._clock = setup.address, setup.account, setup.clock
        self._targets: list[Target] = []
        self._has_connected = False
        self._secure: TLSProbes | None = None
        if self._address.form.layers:
            from echod.client.tls_probe import TLSProbes  # slow to import, as all of cryptography

            try:
                self._secure = TLSProbes(setup.arguments, setup.clock)
            except ValueError as wrong:
                failed = Failed(f"{self._address.label}: {escaped(str(wrong))}")
                setup.reactor.callLater(0, setup.over, failed)
                return
        setup.reactor.callLater(0, self._look_up)  # no callback before the caller has this object

    @property
    def remote(self) -> SocketAddress:
        """The address that accepted; the first one until then."""
        target = self._targets[0][1]
        return inet_name(target) if isinstance(target, tuple) else unix_name(target)

    def ask(self) -> None:
        """Start the next connection."""
        Race(self, self._account.send(self._clock())).try_next()

    def close(self) -> None:
        """Nothing to end: each connection is closed by itself, after its timeout at the latest."""

    def _look_up(self) -> None:
        found = _targets(self._setup.reactor, self._address, family_of(self._setup.arguments))
        found.addCallbacks(self._found, self._unknown)

    def _found(self, targets: list[Target]) -> None:
        self._targets = targets
        self._setup.opened()

    def _unknown(self, failure: Failure) -> None:
        wrong = failure.value
        why = system_error(wrong) if isinstance(wrong, OSError) else str(wrong)
        self._setup.over(Failed(f"{self._address.label}: {why}"))

    # called by the Race of one probe

    def targets(self) -> list[Target]:
        """The socket addresses to try, in order."""
        return list(self._targets)

    def attempt(self, target: Target, ended: Callable[[Attempt, OSError | None], None]) -> Attempt:
        """Prepare a connection attempt. Raises OSError."""
        kind = Attempt if self._secure is None else self._secure.attempt
        attempt = kind(self._setup.reactor, target, self._address, self._account.patience, ended)
        attempt.began = self._clock()
        return attempt

    def later(self, call: Callable[[], None]) -> Any:
        """Schedule a call after ATTEMPT_DELAY; returns the timer."""
        return self._setup.reactor.callLater(ATTEMPT_DELAY, call)

    def won(self, number: int, attempt: Attempt) -> None:
        """Record that the attempt connected for the probe of this number."""
        now = self._clock()
        self._has_connected = True
        self._targets = [attempt.target]
        self._account.restart(number, attempt.began)
        result = self._account.answer(number, 0, now)
        if attempt.connected_at is not None:
            tcp = attempt.connected_at - attempt.began
            result = result._replace(parts=(tcp, now - attempt.connected_at))
        self._setup.on_result(result)

    def lost(self, number: int, error: OSError) -> None:
        """Report that no address accepted the probe of this number. After the first connection, no error is the end."""
        if error.errno == errno.ETIMEDOUT:
            return  # the ledger counts it as lost
        if self._has_connected or error.errno in OUTAGE:
            self._setup.refused(number, error)
        else:
            self._setup.over(Failed(f"{self._address.label}: {system_error(error)}"))


class Race:
    """The connection attempts for one probe (RFC 8305)."""

    def __init__(self, connections: Connections, number: int) -> None:
        self._connections = connections
        self._number = number
        self._untried = connections.targets()
        self._attempts: list[Attempt] = []
        self._timer: Any = None

    def try_next(self) -> None:
        """Try the next address, and after ATTEMPT_DELAY the following one."""
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
                self._timer = self._connections.later(self.try_next)
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
            self.try_next()
        elif not self._attempts:
            self._connections.lost(self._number, error)

    def _stop(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None


def _targets(reactor: Any, address: Address, family: int) -> Deferred[list[Target]]:
    """The socket addresses of a URL. Fails with OSError."""
    if address.has_path:
        return succeed([(socket.AF_UNIX, address.system_path)])
    return look_up(reactor, address.host, address.port, socket.SOCK_STREAM, family)

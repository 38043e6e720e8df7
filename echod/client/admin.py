"""A client of the admin interface: finds its address, sends requests, and reports each error in one line."""

from __future__ import annotations

import argparse
import errno
import json
import os
import select
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, Final, Self

from echod import runtime_dir
from echod.address import Address, AddressError, parse
from echod.client.unix_peer_check import Untrusted, check, name_of
from echod.config.errors import ConfigurationError
from echod.config.loading import administration, configuration_file
from echod.escaping import clipped, escaped, from_system, system_error
from echod.runtime_dir import expanded
from echod.transports.sockets import keep_alive

VARIABLE: Final = "ECHOD_ADMIN"
UNPROCESSABLE: Final = 422  #: the configuration or the faults of a request are wrong (RFC 9110 15.5.21)
LARGEST: Final = 16 * 1024 * 1024  #: bytes of a response: ten thousand connections take 3 MiB
LONGEST_ERROR: Final = 1_000  #: characters of an error of the daemon: another program may send millions
PATIENCE: Final = 30.0  #: seconds for a whole response: a reload with a long configuration takes one or two


class Unanswered(Exception):
    """No usable response was received; the message gives the reason."""


class Unreadable(Unanswered):
    """The configuration file that names the admin address cannot be read, or its [admin] section is wrong."""


class NoDaemon(Unanswered):
    """No process listens at the address. The file may have changed after the daemon read it."""


class Denied(Unanswered):
    """The kernel denies the connection to the daemon's socket."""


class Impostor(Unanswered):
    """The process that listens at the address is not trusted; nothing was sent to it."""


class RequestRefused(Exception):
    """The daemon refused the request; `answer` is its JSON response."""

    def __init__(self, status: int, answer: Mapping[str, Any]) -> None:
        self.status = status
        self.answer = answer
        super().__init__(clipped(str(answer.get("error", f"status {status}")), LONGEST_ERROR))

    @property
    def errors(self) -> list[str]:
        """The errors of a configuration or of faults, escaped; empty if the request was refused for another reason."""
        found = self.answer.get("errors")
        if self.status != UNPROCESSABLE or not isinstance(found, list):
            return []
        return [clipped(str(one), LONGEST_ERROR) for one in found]


def find_admin(arguments: argparse.Namespace) -> Address:
    """The admin address: `--admin`, `$ECHOD_ADMIN`, or the address in the file that the daemon would read.

    A Unix address is preferred. Only the [admin] section of that file is checked, because the daemon checks the rest.
    Raises Unanswered.
    """
    if arguments.admin is not None:
        given: Address = arguments.admin
        return given
    if os.environ.get(VARIABLE):
        return admin_of((), os.environ)
    try:
        found = administration(os.environ)
    except ConfigurationError as error:
        raise Unreadable(f"{error.errors[0]}; pass --admin URL to ignore the file") from None
    if not found.listen:
        raise NoDaemon(escaped(f"{found.file}: the section [admin] is missing; add it, or pass --admin URL"))
    return admin_of(found.listen, {})


def admin_of(listen: Iterable[Address], environ: Mapping[str, str]) -> Address:
    """The admin address of a configuration, or that of `$ECHOD_ADMIN`; a Unix address is preferred.

    Raises Unanswered.
    """
    if named := environ.get(VARIABLE):
        try:
            return admin_address(named)
        except ValueError as error:
            raise Unanswered(f"${VARIABLE}: {error}") from None
    for address in sorted(listen, key=lambda one: not one.has_path):
        return _first_that_answers(list(_candidates(admin_address(address.label))))  # options are for listening
    raise NoDaemon("the section [admin] is missing")


def _candidates(address: Address) -> Iterator[Address]:
    """The address. If it is in our `%t`, also the same file name in each other folder that `%t` can be."""
    yield address
    folder, name = os.path.split(address.path)
    if address.has_path and folder == runtime_dir.runtime_dir(os.environ):
        for other in runtime_dir.candidates(os.environ)[1:]:
            yield replace(address, path=os.path.join(other, name))


def _first_that_answers(candidates: list[Address]) -> Address:
    """The first address at which a trusted process listens. If all fail, raises the most specific error."""
    if len(candidates) == 1:
        return candidates[0]
    reasons: list[Unanswered] = []
    for address in candidates:
        try:
            with Administrator(address) as administrator:
                administrator.connect()
            return address
        except Unanswered as error:
            reasons.append(error)
    for kind in (Impostor, Denied):
        if telling := next((one for one in reasons if isinstance(one, kind)), None):
            raise telling
    if other := next((one for one in reasons if not isinstance(one, NoDaemon)), None):
        raise other
    labels = ", ".join(address.label for address in candidates)
    raise NoDaemon(f"no daemon answers at {labels}: is it running, with this address under [admin]?")


def admin_address(text: str) -> Address:
    """Parse an address of an admin interface. Raises ValueError."""
    try:
        address = parse(expanded(from_system(text)), client=True)
    except AddressError as error:
        raise ValueError(str(error)) from None
    if not address.form.is_bare:
        raise ValueError(f"{address.label}: an admin interface listens on unix:// or tcp:// only")
    return address


@contextmanager
def parsing_response(address: Address) -> Iterator[None]:
    """Run a block that parses a response. A response of the wrong form raises Unanswered."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError):
        raise Unanswered(f"{address.label}: the response is not from an echod of this version") from None


class Administrator:
    """One connection to the admin interface, kept for several requests."""

    def __init__(self, address: Address, patience: float = PATIENCE) -> None:
        self.address = address
        self._connection = _Connection(address, patience)

    def ask(self, path: str, method: str = "GET", body: bytes | None = None) -> Any:
        """Send a request; returns the parsed JSON response.

        Raises Unanswered, or RequestRefused if the status is not 200.
        """
        response = self.open(path, method, body)
        try:
            content = response.read(LARGEST + 1)
            if len(content) > LARGEST:
                raise ValueError(f"more than {LARGEST} bytes")
            answer = json.loads(content)
        except (OSError, HTTPException, ValueError, RecursionError) as error:
            raise Unanswered(f"{self.address.label}: {_why(error)}") from None
        if response.status != 200:
            raise RequestRefused(response.status, answer if isinstance(answer, dict) else {})
        return answer

    def open(self, path: str, method: str = "GET", body: bytes | None = None) -> HTTPResponse:
        """Send a request; the caller reads the response. Raises Unanswered."""
        try:
            self._connection.ask(method, path, body)
            return self._connection.getresponse()
        except (OSError, HTTPException) as error:
            raise self._unanswered(error) from None

    def remove_deadline(self) -> None:
        """Read the rest of this response without a time limit: it is a stream."""
        self._connection.remove_deadline()

    def connect(self) -> None:
        """Connect without sending a request. Raises Unanswered."""
        try:
            self._connection.connect()
        except OSError as error:
            raise self._unanswered(error) from None

    def _unanswered(self, error: OSError | HTTPException) -> Unanswered:
        self._connection.close()
        if isinstance(error, PermissionError) and self.address.has_path:
            return Denied(f"{self.address.label}: {system_error(error)}: {_who_may(self.address)}")
        absent = isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ECONNREFUSED)
        return (NoDaemon if absent else Unanswered)(f"{self.address.label}: {_why(error)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


class _Connection(HTTPConnection):
    """HTTP over TCP or a Unix socket. A whole response must arrive within `patience` seconds."""

    def __init__(self, address: Address, patience: float) -> None:
        super().__init__(address.host or "localhost", address.port or 80, timeout=patience)
        self._address = address
        self._patience = patience
        self._ends: float | None = None
        self._bounded: _Bounded | None = None

    def ask(self, method: str, path: str, body: bytes | None) -> None:
        """Send a request and start the time for its response."""
        self._ends = time.monotonic() + self._patience
        if isinstance(self.sock, _Bounded):
            if self.sock.is_readable():  # the daemon has closed the connection, which was idle for long
                self.close()  # `request` connects again
            else:
                self.sock.ends = self._ends
        self.request(method, path, body)

    def remove_deadline(self) -> None:
        """Set no time limit for the rest of this response."""
        if self._bounded is not None:
            self._bounded.ends = None
            self._bounded.settimeout(None)

    def connect(self) -> None:
        if not self._address.has_path:
            super().connect()
            keep_alive(self.sock)  # without it, a stream would wait for ever for a daemon that has disappeared
        else:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._address.system_path)
            try:
                check(self.sock, self._address, configuration_file(os.environ))
            except Untrusted as error:
                self.close()
                raise Impostor(str(error)) from None
        bounded = _Bounded(fileno=self.sock.detach())
        bounded.settimeout(self.timeout)
        bounded.ends = self._ends
        self.sock = self._bounded = bounded


class _Bounded(socket.socket):
    """A socket with a deadline at `ends` of the monotonic clock, because a socket timeout restarts at each byte."""

    ends: float | None = None

    def is_readable(self) -> bool:
        """Whether data or the end has arrived. Between two responses it can only be the end."""
        waiting = select.poll()
        waiting.register(self, select.POLLIN)
        return bool(waiting.poll(0))

    def recv_into(self, *given: Any) -> int:
        if self.ends is not None:
            left = self.ends - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self.settimeout(left)
        return super().recv_into(*given)


def _who_may(address: Address) -> str:
    """The users and the group that may connect, as far as the socket and the configuration show."""
    try:
        owner = name_of(os.stat(address.system_path).st_uid)
    except OSError:  # the folder cannot be searched
        owner = "the daemon's user"
    try:
        group = administration(os.environ).group
    except ConfigurationError:
        group = ""
    users = "root" if owner == "root" else f"root or {owner}"
    return f"run this as {users}" + (f", or join group {escaped(group)}" if group else "")


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        text = system_error(error)
        return f"{text}: is a daemon running, with this address under [admin]?" if error.errno else text
    return f"the response is not from an echod: {clipped(str(error) or type(error).__name__)}"

"""The administrator's interface, asked from outside: where it is, one request, and what is wrong, in a line."""

from __future__ import annotations

import argparse
import errno
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, Final, Self

from echod import runtime_dir
from echod.address import Address, AddressError, parse
from echod.client.peer_trust import Untrusted, check, name_of
from echod.config.errors import ConfigurationError
from echod.config.loading import administration, configuration_file
from echod.runtime_dir import expanded
from echod.text import escaped, from_system, system_error

VARIABLE: Final = "ECHOD_ADMIN"
LARGEST: Final = 16 * 1024 * 1024  #: octets of an answer: ten thousand connections take 3 MiB
PATIENCE: Final = 30.0  #: seconds for a whole answer: a reload that reads a long configuration takes one or two


class Unanswered(Exception):
    """There is no answer, or none that can be used; the message says why."""


class Unreadable(Unanswered):
    """The file that should say where the interface is cannot be read, or is wrong in just that."""


class Nobody(Unanswered):
    """Nobody is there; the file may say another place by now than when the daemon read it."""


class Denied(Unanswered):
    """The daemon is there, and the kernel does not let us connect."""


class Impostor(Unanswered):
    """The process that listens there is not trusted; nothing was sent to it."""


class Refused(Exception):
    """The daemon answered that it does not do that; `answer` is what it said."""

    def __init__(self, status: int, answer: Mapping[str, Any]) -> None:
        self.status = status
        self.answer = answer
        super().__init__(str(answer.get("error", f"status {status}")))


def place(arguments: argparse.Namespace) -> Address:
    """Where the interface is: `--admin`, `$ECHOD_ADMIN`, or the Unix address of the file that the daemon would read.

    The rest of that file may be wrong: it is the daemon that judges it. Raises Unanswered.
    """
    if arguments.admin is not None:
        asked: Address = arguments.admin
        return asked
    if named := os.environ.get(VARIABLE):
        try:
            return admin_address(named)
        except ValueError as error:
            raise Unanswered(f"${VARIABLE}: {error}") from None
    try:
        found = administration(os.environ)
    except ConfigurationError as error:
        raise Unreadable(f"{error.faults[0]}; --admin says where to ask, whatever the file") from None
    for address in sorted(found.listen, key=lambda one: not one.has_path):
        return _first_that_answers(list(_candidates(admin_address(address.place))))  # its options are for listening
    raise Nobody(escaped(f"{found.file}: there is no [admin] in it; add one, or say where with --admin"))


def _candidates(address: Address) -> Iterator[Address]:
    """The address, and if it is in our `%t`, the same file in every folder that this may be for another daemon."""
    yield address
    folder, name = os.path.split(address.path)
    if address.has_path and folder == runtime_dir.runtime_dir(os.environ):
        for other in runtime_dir.candidates(os.environ)[1:]:
            yield replace(address, path=os.path.join(other, name))


def _first_that_answers(candidates: list[Address]) -> Address:
    """The first address where a process listens that we trust. Raises the most telling reason if there is none."""
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
    if other := next((one for one in reasons if not isinstance(one, Nobody)), None):
        raise other
    places = ", ".join(address.place for address in candidates)
    raise Nobody(f"no daemon answers at any of {places}: is one running, with this address under [admin]?")


def admin_address(text: str) -> Address:
    """An address that the interface can have. Raises ValueError."""
    try:
        address = parse(expanded(from_system(text)), client=True)
    except AddressError as error:
        raise ValueError(str(error)) from None
    if not address.form.is_bare:
        raise ValueError(f"{address.place}: the administrator's interface is on unix:// or tcp://")
    return address


@contextmanager
def understanding(address: Address) -> Iterator[None]:
    """What an answer is taken apart in: one that has not what it should is no echod's. Raises Unanswered."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError):
        raise Unanswered(f"{address.place}: no answer of an echod of this version") from None


class Administrator:
    """One connection to the interface, kept for several requests."""

    def __init__(self, address: Address, patience: float | None = PATIENCE) -> None:
        self.address = address
        self._connection = _Connection(address, patience)

    def ask(self, path: str, method: str = "GET", body: bytes | None = None) -> Any:
        """What a resource says, out of its JSON. Raises Unanswered, and Refused for any status but 200."""
        response = self.open(path, method, body)
        try:
            said = response.read(LARGEST + 1)
            if len(said) > LARGEST:
                raise ValueError(f"more than {LARGEST} octets")
            answer = json.loads(said)
        except (OSError, HTTPException, ValueError, RecursionError) as error:
            raise Unanswered(f"{self.address.place}: {_why(error)}") from None
        if response.status != 200:
            raise Refused(response.status, answer if isinstance(answer, dict) else {})
        return answer

    def open(self, path: str, method: str = "GET", body: bytes | None = None) -> HTTPResponse:
        """Ask, and leave the answer to be read. Raises Unanswered."""
        try:
            self._connection.ask(method, path, body)
            return self._connection.getresponse()
        except (OSError, HTTPException) as error:
            raise self._unanswered(error) from None

    def connect(self) -> None:
        """Connect, and ask nothing. Raises Unanswered."""
        try:
            self._connection.connect()
        except OSError as error:
            raise self._unanswered(error) from None

    def _unanswered(self, error: OSError | HTTPException) -> Unanswered:
        self._connection.close()
        if isinstance(error, PermissionError) and self.address.has_path:
            return Denied(f"{self.address.place}: {system_error(error)}: {_who_may(self.address)}")
        nobody = isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ECONNREFUSED)
        return (Nobody if nobody else Unanswered)(f"{self.address.place}: {_why(error)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


class _Connection(HTTPConnection):
    """HTTP over whatever an address means, where a whole answer has `patience` seconds."""

    def __init__(self, address: Address, patience: float | None) -> None:
        super().__init__(address.host or "localhost", address.port or 80, timeout=patience)
        self._address = address
        self._patience = patience
        self._ends: float | None = None

    def ask(self, method: str, path: str, body: bytes | None) -> None:
        """Send a request; the time for its answer begins."""
        self._ends = None if self._patience is None else time.monotonic() + self._patience
        if isinstance(self.sock, _Bounded):
            self.sock.ends = self._ends
        self.request(method, path, body)

    def connect(self) -> None:
        if not self._address.has_path:
            super().connect()
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
        self.sock = bounded


class _Bounded(socket.socket):
    """A socket that is read until `ends`, of the monotonic clock: a timeout would begin anew at each octet."""

    ends: float | None = None

    def recv_into(self, *given: Any) -> int:
        if self.ends is not None:
            left = self.ends - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self.settimeout(left)
        return super().recv_into(*given)


def _who_may(address: Address) -> str:
    """What a user has to become to be let in, as far as the socket and the configuration tell."""
    try:
        owner = name_of(os.stat(address.system_path).st_uid)
    except OSError:  # in a folder that we may not search
        owner = "the daemon's user"
    try:
        group = administration(os.environ).group
    except ConfigurationError:
        group = ""
    users = "root" if owner == "root" else f"root or {owner}"
    return f"run this as {users}" + (f", or join group {escaped(group)}" if group else "")


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        said = system_error(error)
        return f"{said}: is a daemon running, with this address under [admin]?" if error.errno else said
    return f"no answer of an echod: {escaped(str(error) or type(error).__name__)}"

"""The administrator's interface, asked from outside: where it is, one request, and what is wrong, in a line."""

from __future__ import annotations

import argparse
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, Final, Self

from echod.address import Address, AddressError, parse
from echod.config.fault import ConfigurationError
from echod.config.loading import ADMIN, load
from echod.services.registry import UnusableKind, kinds
from echod.text import escaped, from_system, system_error

VARIABLE: Final = "ECHOD_ADMIN"
LARGEST: Final = 16 * 1024 * 1024  #: octets of an answer: ten thousand connections take 3 MiB
PATIENCE: Final = 30.0  #: seconds for an answer: a reload that reads a long configuration takes one or two


class Unanswered(Exception):
    """There is no answer, or none that can be used; the message says why."""


class Refused(Exception):
    """The daemon answered that it does not do that; `answer` is what it said."""

    def __init__(self, status: int, answer: Mapping[str, Any]) -> None:
        self.status = status
        self.answer = answer
        super().__init__(str(answer.get("error", f"status {status}")))


def place(arguments: argparse.Namespace) -> Address:
    """Where the interface is: `--admin`, `$ECHOD_ADMIN`, or the Unix address of the file that the daemon would read.

    Raises Unanswered.
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
        configuration = load(None, kinds(), os.environ)
    except ConfigurationError as error:
        raise Unanswered(f"{error.faults[0]}; --admin says where to ask, whatever the file") from None
    except UnusableKind as error:
        raise Unanswered(str(error)) from None
    listen = configuration.admin.listen
    if not configuration.sources:
        return parse(ADMIN, client=True)
    for address in sorted(listen, key=lambda one: one.scheme != "unix"):
        return admin_address(str(address))
    raise Unanswered(f"{configuration.sources[0]}: there is no [admin] in it; add one, or say where with --admin")


def admin_address(text: str) -> Address:
    """An address that the interface can have. Raises ValueError."""
    try:
        address = parse(from_system(text), client=True)
    except AddressError as error:
        raise ValueError(str(error)) from None
    if address.scheme not in ("unix", "tcp"):
        raise ValueError(f"{address.place}: the administrator's interface is on unix:// or tcp://")
    return address


@contextmanager
def understanding(address: Address) -> Iterator[None]:
    """What an answer is taken apart in: one that has not what it should is no echod's. Raises Unanswered."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
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
            self._connection.request(method, path, body)
            return self._connection.getresponse()
        except (OSError, HTTPException) as error:
            self._connection.close()
            raise Unanswered(f"{self.address.place}: {_why(error)}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


class _Connection(HTTPConnection):
    """HTTP over whatever an address means."""

    def __init__(self, address: Address, patience: float | None) -> None:
        super().__init__(address.host or "localhost", address.port or 80, timeout=patience)
        self._address = address

    def connect(self) -> None:
        if self._address.scheme == "tcp":
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._address.system_path)


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        said = system_error(error)
        return f"{said}: is a daemon running, with this address under [admin]?" if error.errno else said
    return f"no answer of an echod: {escaped(str(error) or type(error).__name__)}"

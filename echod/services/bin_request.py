"""The requests of `bin`: texts such as `delay=200ms,reset-after=1KiB`, in which a client chooses how the service fails.

A request is a list of KEY=VALUE. The keys of `[services.NAME.faults]` are faults; the others are listed in `Request`.
The text comes from a client: it is bounded, and each error is one line without control characters. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import parse_qsl

from echod.config import units
from echod.escaping import clipped, escaped
from echod.faults.keys import KEYS
from echod.faults.parsing import FaultErrors, parse_faults
from echod.faults.settings import NO_FAULTS, Faults
from echod.shape import Shape

LONGEST: Final = 4_096  #: bytes of a request
MOST: Final = 64  #: keys of a request
OF_SERVICES: Final = frozenset({"refuse", "backlog-full", "every", "first", "clients", "script"})
"""Faults that concern more than one connection, or a connection before its request."""
CHOICES: Final = tuple(key for key in KEYS if key not in OF_SERVICES)
"""The faults that a client can choose."""
SIZE: Final = "size"
STATUS, BODY, HEADER = "status", "body", "header"
OF_HTTP: Final = (STATUS, BODY, HEADER)
FORBIDDEN: Final = frozenset(
    {
        *("content-length", "transfer-encoding", "connection", "trailer", "upgrade"),
        *("set-cookie", "clear-site-data", "strict-transport-security", "content-security-policy"),
        *("x-content-type-options", "access-control-allow-credentials", "service-worker-allowed", "cache-control"),
    }
)
"""Headers that frame the response, or that would let a page of another site change a browser's state for this host."""
_CHOSEN_BY: Final = {"tls": "by the server name of TLS", "websocket": "in the query of the WebSocket URL"}
_PLURALS: Final = {
    Shape.STREAM: "streams",
    Shape.MESSAGE: "messages",
    Shape.DATAGRAM: "datagrams",
    Shape.REQUEST: "requests",
}
_DELAYS: Final = ("delay", "jitter", "delay_close")
_HEADER: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}): *([\x20-\x7e]{0,1000})")


class RequestError(ValueError):
    """A request that is refused; the message is one printable line for the client."""


@dataclass(frozen=True)
class Bounds:
    """The limits that the administrator sets."""

    allowed: frozenset[str] = frozenset(CHOICES)  #: the faults that a client can choose
    delay: float = 30.0  #: seconds of `delay`, `jitter` and `delay-close`, each
    size: int = 1 << 20  #: bytes of `size` and of `body`


@dataclass(frozen=True)
class Request:
    """The behaviour that a client has chosen."""

    faults: Faults = NO_FAULTS
    size: int | None = None  #: bytes that the service sends by itself
    status: int = 200  #: of an HTTP response, as are the next
    body: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


def of_text(text: str, bounds: Bounds) -> Request:
    """The request of a line: KEY=VALUE, separated by commas or white space. Raises RequestError."""
    return of_pairs(pairs(text), bounds)


def of_query(query: str, bounds: Bounds) -> Request:
    """The request of the query of a WebSocket, such as `delay=200ms&drop=0.5`. Raises RequestError."""
    return of_pairs(query_pairs(query), bounds, layer="websocket")


def query_pairs(query: str) -> list[tuple[str, str]]:
    """The keys and values of a query. Raises RequestError."""
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=MOST)
    except ValueError:
        raise RequestError(f"a request has more than {MOST} keys") from None


def pairs(text: str) -> Iterator[tuple[str, str]]:
    """Split a text into keys and values. Raises RequestError."""
    if len(text) > LONGEST:
        raise RequestError(f"a request has more than {LONGEST} bytes")
    for item in re.split(r"[,\s]+", text):
        key, equals, value = item.partition("=")
        if item and not equals:
            raise RequestError(f"{clipped(item)}: expected KEY=VALUE, such as delay=200ms")
        if item:
            yield key, value


def of_label(name: str, bounds: Bounds) -> Request | None:
    """The request in the labels of a host name, such as `reset-after-1kib.delay-200ms.bin.example`; None without one.

    A label is a key, a hyphen and a value. Labels that begin with no key belong to the name. Raises RequestError.
    """
    found = []
    for label in name.split("."):
        key = max((one for one in (*CHOICES, SIZE) if label.lower().startswith(f"{one}-")), key=len, default=None)
        if key is not None:
            found.append((key, _value_of_label(key, label[len(key) + 1 :].lower())))
    return of_pairs(found, bounds, layer="tls") if found else None


def _value_of_label(key: str, value: str) -> str:
    """Host names have no upper case: `1kib` is `1KiB`."""
    return re.sub(r"([kmgt])ib", lambda unit: unit[1].upper() + "iB", value)


def of_pairs(found: Iterable[tuple[str, str]], bounds: Bounds, *, layer: str = "", http: bool = False) -> Request:
    """The request of keys with values. Raises RequestError.

    It comes from a handshake of `layer`, whose own faults it may then choose. `http` permits the keys of HTTP.
    """
    request, faults = Request(), dict[str, Any]()
    seen: set[str] = set()
    for count, (key, value) in enumerate(found):
        if count >= MOST:
            raise RequestError(f"a request has more than {MOST} keys")
        if key in seen and key != HEADER:
            raise RequestError(f"{clipped(key)}: appears twice")
        seen.add(key)
        if key == SIZE:
            request = replace(request, size=_size(value, bounds))
        elif http and key in OF_HTTP:
            request = _with_http(request, key, value, bounds)
        elif key in CHOICES and key not in bounds.allowed:
            raise RequestError(f"{key}: is not allowed here; allowed are {', '.join(sorted(bounds.allowed)) or 'none'}")
        elif key in OF_SERVICES:
            raise RequestError(f"{key}: cannot be chosen by a client")
        elif key in KEYS and KEYS[key].layer not in ("", layer):
            raise RequestError(f"{key}: is chosen {_CHOSEN_BY[KEYS[key].layer]}")
        elif key not in KEYS:
            known = (*CHOICES, SIZE, *(OF_HTTP if http else ()))
            raise RequestError(f"{clipped(key)}: unknown key; expected one of: {', '.join(known)}")
        else:
            faults[key] = value
    return replace(request, faults=_faults(faults, bounds))


def check_shape(request: Request, shape: Shape) -> None:
    """Check that the faults exist on a transport. Raises RequestError."""
    for key, known in KEYS.items():
        if key.replace("-", "_") in request.faults.active and shape not in known.shapes:
            raise RequestError(f"{key}: does not exist on {_PLURALS[shape]}")


def _faults(written: Mapping[str, Any], bounds: Bounds) -> Faults:
    try:
        faults = parse_faults(written)
    except FaultErrors as error:
        raise RequestError(clipped_line(str(error))) from None
    for name in _DELAYS:
        if getattr(faults, name) > bounds.delay:
            raise RequestError(f"{name.replace('_', '-')}: at most {units.duration_text(bounds.delay)} here")
    return faults


def _size(value: str, bounds: Bounds) -> int:
    try:
        size = units.size(value)
    except ValueError as error:
        raise RequestError(f"{SIZE}: {clipped_line(str(error))}") from None
    if size > bounds.size:
        raise RequestError(f"{SIZE}: at most {units.size_text(bounds.size)} here")
    return size


def _with_http(request: Request, key: str, value: str, bounds: Bounds) -> Request:
    if key == STATUS:
        if not re.fullmatch("[2-5][0-9]{2}", value):
            raise RequestError(f"{STATUS}: {clipped(value)} must be a number from 200 to 599")
        return replace(request, status=int(value))
    if key == BODY:
        if len(value.encode("utf-8", "surrogateescape")) > bounds.size:
            raise RequestError(f"{BODY}: at most {units.size_text(bounds.size)} here")
        return replace(request, body=value)
    header = _HEADER.fullmatch(value)
    if header is None:
        raise RequestError(f"{HEADER}: {clipped(value)} must be NAME:VALUE in ASCII")
    if header[1].lower() in FORBIDDEN:
        raise RequestError(f"{HEADER}: {header[1]} cannot be chosen")
    return replace(request, headers=(*request.headers, (header[1], header[2].strip())))


def clipped_line(text: str) -> str:
    """The first line of a message, bounded and printable."""
    return escaped(text.partition("\n")[0][:300])

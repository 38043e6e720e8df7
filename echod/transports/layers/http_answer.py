"""Plain HTTP at a WebSocket address: the request as data, and the answer that a page module returns.

A browser that opens a `ws` address with GET sends no upgrade. The layer then calls an `AnswerGet`, sends the answer,
and closes the connection. This module knows no page, and pages know no socket.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final

from echod.escaping import escaped
from echod.faults.settings import WebSocketFault

PLAIN_TEXT: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Request:
    """The head of an HTTP request. Text of the peer is not escaped."""

    method: str  #: GET or HEAD
    path: str  #: percent-decoded, without the query
    query: str  #: the text after `?`, as it was sent
    headers: Mapping[str, str]  #: names in lower case; values of one name are joined by `, `


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. Date, Content-Length and Connection are added when it is sent."""

    status: int
    body: bytes = b""
    content_type: str = PLAIN_TEXT
    headers: tuple[tuple[str, str], ...] = ()  #: further headers


@dataclass(frozen=True, slots=True)
class Resource:
    """One service that is served over WebSocket: its path, and the settings of `[services.NAME.websocket]`."""

    path: str = "/"
    name: str = "echo"  #: the name of the service
    kind: str = "echo"
    origins: tuple[str, ...] = ()  #: allowed origins besides that of the port itself; `*` is every origin
    hosts: tuple[str, ...] = ()  #: allowed names in Host besides IP addresses and localhost
    subprotocols: tuple[str, ...] = ()  #: in the order of preference
    compression: bool = False  #: whether permessage-deflate is accepted
    page: bool = True  #: whether a browser gets a page
    message: int = 16_777_216  #: bytes: the largest message that is accepted
    summary: str = ""  #: what the kind does
    choose_fault: Callable[[Any, str], WebSocketFault | None] | None = field(default=None, compare=False)
    """How a connection misbehaves, given its facts and the query of its request; None if no connection does."""


AnswerGet = Callable[[Request, Resource | None, Sequence[Resource]], Answer | None]
"""Makes the page for a GET or HEAD request without an upgrade.

The resource is the one of the path, or None if the path is unknown. The sequence has all resources of the port. None as
the result selects the plain-text answer: 404 with the list of paths, or 426."""


def no_page(_request: Request, _resource: Resource | None, _resources: Sequence[Resource]) -> Answer | None:
    """The AnswerGet of a layer without pages."""
    return None


def text_answer(status: int, text: str, *headers: tuple[str, str]) -> Answer:
    """A plain-text answer. Text of a peer in it must be escaped already."""
    return Answer(status, f"{text}\n".encode(), headers=headers)


FIRST_PATHS: Final = 5
"""Paths in the first line of 404."""


def unknown_path(path: str, resources: Sequence[Resource]) -> Answer:
    """The plain-text answer 404: the paths that exist. A client and the log show its first line only."""
    first = ", ".join(escaped(one.path) for one in resources[:FIRST_PATHS])
    more = f" and {len(resources) - FIRST_PATHS} more" if len(resources) > FIRST_PATHS else ""
    lines = "".join(f"\n{escaped(one.path)}  {one.kind}" for one in resources)
    wrong = f"{escaped(path[:100])}: this path does not exist"
    return text_answer(404, f"{wrong}; the WebSocket paths are {first}{more}{lines}")


def not_an_upgrade(resource: Resource) -> Answer:
    """The plain-text answer 426 to a request for an existing path that asks for no WebSocket."""
    text = f"{escaped(resource.path)}: this is the WebSocket service {resource.name}; a WebSocket client can connect"
    return text_answer(426, text, *UPGRADE)


UPGRADE: Final = (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"))
"""The headers of 426 (RFC 9110 15.5.22, RFC 6455 4.2.2)."""


@dataclass(frozen=True, slots=True)
class Head:
    """The lines of an HTTP response before its body."""

    status: int
    headers: tuple[tuple[str, str], ...] = field(default=())

    def __bytes__(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        lines += (f"{name}: {value}" for name, value in self.headers)
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def encoded(answer: Answer, *, head_only: bool = False) -> bytes:
    """The bytes of an answer; `head_only` is for HEAD. The connection closes after it."""
    upgrades = any(name == "Upgrade" for name, _ in answer.headers)  # a connection option (RFC 9110 7.8)
    headers = (
        ("Date", formatdate(usegmt=True)),
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        ("X-Content-Type-Options", "nosniff"),
        ("Connection", "Upgrade, close" if upgrades else "close"),
        *answer.headers,
    )
    return bytes(Head(answer.status, headers)) + (b"" if head_only else answer.body)

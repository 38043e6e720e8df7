"""Requests and responses of the admin interface, as its resources see them. No HTTP, no socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Protocol

from echod.model import Peer

SLICE: Final = 64  #: items of a long list that are encoded at once: about half a millisecond

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"


class Feed(Protocol):
    """What an endless response is pulled from: a bounded queue that events fill."""

    def pieces(self) -> Iterator[bytes]:
        """What waits now. The iterator ends when the queue is empty; after a `wake` it is asked for again."""

    def close(self) -> None:
        """The client has gone: nothing is pulled any more. Also called if the feed has ended the response before."""


Attach = Callable[[Callable[[], None], Callable[[], None]], Feed]
"""Begins an endless response: `attach(wake, end)` returns its feed. Call `wake` when something was queued, as often as
you like, and `end` to finish the response after everything that is queued."""


@dataclass(frozen=True)
class Request:
    """A whole request; the names of its headers are in lower case, and repeated ones joined with a comma."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    peer: Peer


@dataclass(frozen=True)
class Answer:
    """The response to a request: a body, whole or in pieces that are built one by one, or an endless stream."""

    status: int
    body: bytes | Iterator[bytes] = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    stream: Attach | None = None


Respond = Callable[[Answer], None]
Handler = Callable[[Request, Respond], None]
"""Answers a request, at once or later, exactly once."""


def of_json(value: Any, status: int = 200) -> Answer:
    """An answer in JSON, one line."""
    return Answer(status, json.dumps(value).encode() + b"\n")


def fault(status: int, said: str, *headers: tuple[str, str]) -> Answer:
    """What was wrong, and what would be right, in one line of JSON."""
    return Answer(status, json.dumps({"error": said}).encode() + b"\n", headers=headers)


def list_of_json(items: Iterator[Any]) -> Iterator[bytes]:
    """A JSON list in pieces of SLICE items, each built when it is asked for."""
    separator = "["
    while slice_ := list(islice(items, SLICE)):
        yield (separator + ", ".join(map(json.dumps, slice_))).encode()
        separator = ", "
    yield b"[]" if separator == "[" else b"]"


def object_of_json(members: Mapping[str, Any]) -> Iterator[bytes]:
    """A JSON object in pieces, and a line end. A value that is an iterator is a list."""
    separator = "{"
    for name, value in members.items():
        head = f"{separator}{json.dumps(name)}: ".encode()
        if isinstance(value, Iterator):
            yield head
            yield from list_of_json(value)
        else:
            yield head + json.dumps(value).encode()
        separator = ", "
    yield b"}\n"

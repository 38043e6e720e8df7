"""Requests and responses, for the code that answers them. Without HTTP and socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Protocol

from echod.model import Peer

SLICE: Final = 32  #: items of a long list that are encoded at once: about 0.2 ms

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"


class Feed(Protocol):
    """The source of an endless response: a bounded queue of events."""

    def pieces(self) -> Iterator[bytes]:
        """The queued pieces. The iterator ends when the queue is empty; after a `wake` this method is called again."""

    def close(self) -> None:
        """Release everything: no more pieces are pulled. Also called if the feed itself has ended the response."""


Attach = Callable[[Callable[[], None], Callable[[], None]], Feed]
"""Begins an endless response: `attach(wake, end)` returns its feed. The feed calls `wake` when it has queued a piece,
any number of times, and `end` to finish the response after the queued pieces."""


@dataclass(frozen=True)
class Request:
    """A whole request. The names of its headers are in lower case; repeated headers are joined with a comma."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    peer: Peer
    raw_query: str = ""  #: the query as it was sent, with repeated keys


@dataclass(frozen=True)
class Answer:
    """The response to a request: a whole body, a body in pieces that are built one by one, or an endless stream."""

    status: int
    body: bytes | Iterator[bytes] = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    stream: Attach | None = None


Respond = Callable[[Answer], None]
Handler = Callable[[Request, Respond], None]
"""Processes a request: calls `Respond` exactly once, now or later."""


def of_json(value: Any, status: int = 200) -> Answer:
    """A response of one line of JSON."""
    return Answer(status, json.dumps(value).encode() + b"\n")


def error_answer(status: int, message: str, *headers: tuple[str, str]) -> Answer:
    """An error response of one line of JSON: what is wrong, and what was expected."""
    return Answer(status, json.dumps({"error": message}).encode() + b"\n", headers=headers)


def list_of_json(items: Iterator[Any]) -> Iterator[bytes]:
    """A JSON list in pieces of SLICE items, each built when it is pulled."""
    separator = "["
    while slice_ := list(islice(items, SLICE)):
        yield (separator + ", ".join(map(json.dumps, slice_))).encode()
        separator = ", "
    yield b"[]" if separator == "[" else b"]"


def object_of_json(members: Mapping[str, Any]) -> Iterator[bytes]:
    """A JSON object in pieces, with a line end. A value that is an iterator becomes a list."""
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

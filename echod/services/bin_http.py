"""Bin over HTTP: the path, the query or a header of a request names the behaviour of its response.

    curl 'http://127.0.0.1:10080/?delay=200ms&status=503&header=Retry-After:5'

The response has the chosen status, headers and body; without a body it has that of the request, or a line of JSON. A
page of another site can make a browser send such a request. Therefore a response cannot set cookies, runs no scripts,
and repeats no credentials.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from echod.http.messages import TEXT, Answer, Respond, error_answer, of_json
from echod.http.messages import Request as HTTPRequest
from echod.http.session import HTTPSession
from echod.model import Context, Peer, Say
from echod.services import bin_request
from echod.services.bin_pattern import pattern
from echod.services.bin_request import Bounds, Request, RequestError
from echod.shape import Shape

HEADER: Final = "echod-bin"  #: its value is a request, as in the first line of a stream
WITHOUT_BODY: Final = (204, 205, 304)  #: RFC 9110 15.3.5, 15.3.6 and 15.4.5
SHOWN: Final = ("host", "user-agent", "accept", "content-type", "content-length", "origin")
SAFE: Final = (("content-security-policy", "sandbox; default-src 'none'"), ("x-content-type-options", "nosniff"))


def http_session(peer: Peer, say: Say, context: Context, bounds: Bounds) -> HTTPSession:
    """A connection of an HTTP client."""

    def answer(request: HTTPRequest, respond: Respond) -> None:
        try:
            chosen = requested(request, bounds)
            bin_request.check_shape(chosen, Shape.REQUEST)
        except RequestError as error:
            _choose(peer, Request())
            respond(error_answer(400, str(error)))
        else:
            _choose(peer, chosen)
            respond(response(chosen, request))

    return HTTPSession(peer, say, answer, context.clock, context.work)


def requested(request: HTTPRequest, bounds: Bounds) -> Request:
    """The behaviour that an HTTP request names. Raises RequestError."""
    found = [
        *_of_path(request.path),
        *bin_request.query_pairs(request.raw_query),
        *bin_request.pairs(request.headers.get(HEADER, "")),
    ]
    return bin_request.of_pairs(found, bounds, http=True)


def response(chosen: Request, request: HTTPRequest) -> Answer:
    """The chosen response to a request."""
    headers = (*SAFE, *((name, value) for name, value in chosen.headers if name.lower() != "content-type"))
    kind = next((value for name, value in chosen.headers if name.lower() == "content-type"), TEXT)
    if chosen.status in WITHOUT_BODY:
        return Answer(chosen.status, b"", kind, headers)
    if chosen.size is not None:
        size = ("content-length", str(chosen.size))
        return Answer(chosen.status, pattern(chosen.size), kind, (*headers, size))
    if chosen.body is not None:
        return Answer(chosen.status, chosen.body.encode("utf-8", "backslashreplace"), kind, headers)
    if request.body:
        return Answer(chosen.status, request.body, kind, headers)
    described = of_json(
        {
            "method": request.method,
            "path": request.path,
            "query": request.raw_query,
            "headers": {name: request.headers[name] for name in SHOWN if name in request.headers},
        }
    )
    return Answer(chosen.status, described.body, described.content_type if kind == TEXT else kind, headers)


def _of_path(path: str) -> Iterator[tuple[str, str]]:
    """The keys and values in the parts of a path, such as `/status=503/delay=1s`. Other parts mean nothing."""
    for part in path.split("/"):
        key, equals, value = unquote(part).partition("=")
        if equals:
            yield key, value


def _choose(peer: Peer, chosen: Request) -> None:
    if peer.choose_faults is not None:
        peer.choose_faults(chosen.faults)

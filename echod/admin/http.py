"""HTTP/1.1 as a session (RFC 9112, by h11): requests come in as octets of a stream, answers go out as Replies.

      octets ─► h11 ─► Request ─► answer(request, respond) ─► Answer ─► h11 ─► Reply

Rules:

* Everything is bounded: the head of a request, its body, the requests that wait behind one that is being answered,
  and the time for a request as a whole, which no octet restarts.
* One request at a time for each connection, and one in a turn of the reactor, however many came at once; an answer may
  come later, or be a stream that has no end.
* What is wrong with a request is answered by a status and one line, and costs its own connection only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import h11

from echod.model import CLOSE, NOTHING, End, Peer, Reply, Say
from echod.text import escaped

HEAD: Final = 8_192  #: octets of a request's line and headers: what Apache and nginx take
BODY: Final = 65_536  #: octets of a request's body: more than any resource here needs
AHEAD: Final = HEAD + BODY  #: octets that may come while a request is being answered
PATIENCE: Final = 10.0  #: seconds that a request may take to come, as a whole
SILENCE: Final = 75.0  #: seconds between two requests of a connection: what nginx grants (keepalive_timeout)

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"

Later = Callable[[float, Callable[[], None]], object]

Write = Callable[[bytes], None]
Attach = Callable[[Write, Callable[[], None]], Callable[[], None]]
"""Begins a stream: gets how to send a piece of it, and how to end it; returns what to call when nobody listens any
more. It is not ended before it has begun."""


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
    """What a request is answered: a body, or a stream of pieces for as long as the client listens."""

    status: int
    body: bytes = b""
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


def at_once(_seconds: float, call: Callable[[], None]) -> None:
    """Puts nothing off, where there are no turns."""
    call()


class HTTPSession:
    """One connection of the interface. `overdue` has to be asked about once a second; `later` puts off to another
    turn of the reactor.
    """

    def __init__(
        self, peer: Peer, say: Say, handler: Handler, clock: Callable[[], float], later: Later = at_once
    ) -> None:
        self._peer = peer
        self._say = say
        self._handler = handler
        self._clock = clock
        self._later = later
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD)
        self._asked: h11.Request | None = None
        self._body = bytearray()
        self._answering = False
        self._resting = False  # others have their turn, and then the next request that is here already
        self._ahead = 0
        self._detach: Callable[[], None] | None = None
        self._gone = False
        self._since = clock()
        self._limit = PATIENCE
        self._out = bytearray()  # what `received` returns, instead of saying it
        self._within = False

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered, or a stream goes on."""
        return self._answering or self._resting

    def opened(self) -> Reply:
        """The client speaks first."""
        return NOTHING

    def received(self, data: bytes) -> Reply:
        """Some octets of a request, or of several."""
        if self.is_busy:
            self._ahead += len(data)
            if self._ahead > AHEAD:
                return Reply(end=End.RESET)
        elif self._limit == SILENCE:
            self._since, self._limit = self._clock(), PATIENCE
        return self._take(data)

    def ended(self) -> Reply:
        """The client sends no more; what it asked is still answered."""
        if self._detach is not None:
            return CLOSE
        return self._take(b"")

    def lost(self) -> None:
        """The connection is over."""
        self._gone = True
        if self._detach is not None:
            self._detach()
            self._detach = None

    def overdue(self, now: float) -> bool:
        """Say goodbye, and why, to who takes too long; whether that was so."""
        if self.is_busy or self._gone or now - self._since < self._limit:
            return False
        if self._limit == PATIENCE and self._http.our_state in _MAY_ANSWER:
            self._refuse(408, f"a request has {PATIENCE:g} s to come as a whole")
            self._flush()
        self._say(CLOSE)
        return True

    def _take(self, data: bytes | None) -> Reply:
        """Go on, after `data` came; b"" is the end of them, and None is no news."""
        self._within = True
        try:
            if data is not None:
                self._http.receive_data(data)
            self._proceed()
        except h11.RemoteProtocolError as error:
            if self._http.our_state in _MAY_ANSWER:
                self._refuse(error.error_status_hint, f"no request of HTTP/1.1: {error}")
        finally:
            self._within = False
        out = bytes(self._out)
        self._out.clear()
        return Reply(out, self._end())

    def _proceed(self) -> None:
        """Go through what has come, request by request."""
        while not self.is_busy:
            event = self._http.next_event()
            if event in (h11.NEED_DATA, h11.PAUSED):
                return
            if isinstance(event, h11.Request):
                self._asked = event
                if len(event.target) + sum(len(name) + len(value) + 4 for name, value in event.headers) > HEAD:
                    self._refuse(431, f"a head has {HEAD} octets at most")
                    return
                self._body.clear()
                if self._http.they_are_waiting_for_100_continue:
                    self._send(h11.InformationalResponse(status_code=100, headers=[]))
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) > BODY:
                    self._refuse(413, f"a body has {BODY} octets at most")
                    return
            elif isinstance(event, h11.EndOfMessage):
                self._ask()
            else:  # ConnectionClosed
                return

    def _ask(self) -> None:
        """Hand a whole request over."""
        asked = self._asked
        assert asked is not None, "h11 tells the request before its end"
        headers: dict[str, str] = {}
        for raw_name, raw_value in asked.headers:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        try:
            target = urlsplit(asked.target.decode("latin-1"))
            query = dict(parse_qsl(target.query))
        except ValueError as error:
            self._refuse(400, f"no target: {error}")
            return
        request = Request(asked.method.decode("latin-1"), target.path, query, headers, bytes(self._body), self._peer)
        self._answering, self._ahead = True, 0
        self._handler(request, self._respond)

    def _respond(self, answer: Answer) -> None:
        if self._gone or not self._answering:
            return
        head = self._asked is not None and self._asked.method == b"HEAD"
        headers = [("content-type", answer.content_type), ("cache-control", "no-store"), *answer.headers]
        if answer.stream is None:
            headers.append(("content-length", str(len(answer.body))))
        self._send(_head(answer.status, headers))
        if answer.stream is not None and not head:
            self._flush()
            self._detach = answer.stream(self._piece, self._end_stream)
            return
        if answer.body and not head:
            self._send(h11.Data(data=answer.body))
        self._send(h11.EndOfMessage())
        self._next()

    def _piece(self, data: bytes) -> None:
        if not self._gone and data:
            self._send(h11.Data(data=data))
            self._flush()

    def _end_stream(self) -> None:
        if self._detach is not None:
            self._detach = None
            self._send(h11.EndOfMessage())
            self._next()

    def _next(self) -> None:
        """The answer is given: on to the next request, or to the end."""
        self._answering, self._asked = False, None
        self._since, self._limit = self._clock(), SILENCE
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        if waits := len(self._http.trailing_data[0]):
            self._resting, self._ahead = True, waits
            self._later(0, self._go_on)
        if not self._within:
            self._flush()
            self._say(self._take(None))

    def _go_on(self) -> None:
        self._resting = False
        if not self._within and not self._gone:
            self._say(self._take(None))

    def _refuse(self, status: int, said: str) -> None:
        """Answer what is no request, and end."""
        answer = fault(status, escaped(said))
        headers = [("content-type", JSON), ("content-length", str(len(answer.body))), ("connection", "close")]
        self._send(_head(status, headers))
        self._send(h11.Data(data=answer.body))
        self._send(h11.EndOfMessage())

    def _send(self, event: h11.Event) -> None:
        self._out += self._http.send(event) or b""

    def _flush(self) -> None:
        if self._out:
            out = bytes(self._out)
            self._out.clear()
            self._say(Reply(out))

    def _end(self) -> End:
        done = (h11.MUST_CLOSE, h11.CLOSED, h11.ERROR, h11.DONE)
        over = self._http.our_state in done or (self._http.their_state is h11.CLOSED and not self.is_busy)
        return End.CLOSE if over and self._detach is None else End.NOTHING


_MAY_ANSWER: Final = (h11.IDLE, h11.SEND_RESPONSE)


def _head(status: int, headers: list[tuple[str, str]]) -> h11.Response:
    return h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase)

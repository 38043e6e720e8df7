"""HTTP/1.1 as a session (RFC 9112, by h11): requests arrive as bytes of a stream, responses leave as Replies.

      bytes ─► h11 ─► Request ─► handler(request, respond) ─► Answer ─► h11 ─► Reply.more

Rules:

* Everything is bounded: the head of a request, its body, the requests that wait after the current one, and the time
  for a whole request. Later bytes do not restart that timer.
* Responses are pulled. The next piece of a body is built when the transport has room for it. The next request of a
  connection is processed when the previous response has been sent.
* Requests and pieces of responses cost units of the work budget that all services share (`gate.work_budget`). While
  its turn is used up, a connection waits. It answers at most one request in a turn of the reactor.
* The response to an invalid request is a status and one line; it closes only its own connection.
"""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import h11

from echod.escaping import clipped, escaped
from echod.gate.work_budget import UNIT_BYTES, WorkBudget
from echod.http.messages import JSON, Answer, Feed, Handler, Request, error_answer
from echod.model import CLOSE, NOTHING, PLAIN, RESET, Arrival, Peer, Reply, Say

HEAD: Final = 8_192  #: bytes of a request line and its headers: the limit of Apache and nginx
BODY: Final = 65_536  #: bytes of a request body: more than any resource here needs
AHEAD: Final = HEAD + BODY  #: bytes that may arrive while a request is being answered
PATIENCE: Final = 10.0  #: seconds for a whole request to arrive
SILENCE: Final = 75.0  #: seconds between two requests of a connection: nginx's keepalive_timeout

# In units of the work budget; measured, an event of h11 takes about 10 µs, and a request with its response about 70 µs.
EVENT: Final = 8  #: of each event of h11, such as one chunk of a body
REQUEST: Final = 32  #: of each request, besides its events and the pieces of its response
PIECE: Final = 32  #: of each piece of a response, even if it has no bytes: its producer had work with SLICE items

_BYTES: Final = re.compile(r"bytearray\((b.*)\)")


class HTTPSession:
    """One connection. Call `overdue` about once a second, if a slow request is to end. All share `work`."""

    def __init__(
        self,
        peer: Peer,
        say: Say,
        handler: Handler,
        clock: Callable[[], float],
        work: WorkBudget | None = None,
    ) -> None:
        self._peer = peer
        self._share = f"admin {peer.share}"  # in the work budget: root waits for no crowd of readers over TCP
        self._say = say
        self._handler = handler
        self._clock = clock
        self._work = work or WorkBudget()
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD)
        self._current: h11.Request | None = None
        self._body = bytearray()
        self._answering = False  # from a whole request until its response has been sent
        self._ahead = 0
        self._out = bytearray()  # encoded, and not pulled yet
        self._pieces: Iterator[bytes] | None = None  # the rest of the body of the response
        self._feed: Feed | None = None  # the source of more pieces, for a stream
        self._stream_ends = False
        self._leaving = False  # whether all of the response has been pulled
        self._pulled = False  # whether the transport has an iterator of this session
        self._resting = False  # whether this session continues in another turn
        self._refused = False  # whether the request was invalid: later input is ignored
        self._gone = False
        self._since = clock()
        self._limit = PATIENCE

    @property
    def is_busy(self) -> bool:
        """Whether a request is being processed, or its response has not been sent, or a stream is open."""
        return self._answering or self._resting

    @property
    def is_streaming(self) -> bool:
        """Whether the response is an endless stream."""
        return self._feed is not None

    def opened(self) -> Reply:
        """Send nothing: the client sends first."""
        return NOTHING

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        """Process some bytes of a request, or of several."""
        if self._refused:
            return NOTHING
        if self.is_busy:
            self._ahead += len(data)
            if self._ahead > AHEAD:
                return RESET
        elif self._limit == SILENCE:
            self._since, self._limit = self._clock(), PATIENCE
        self._http.receive_data(data)
        return self._flow()

    def proceed(self) -> Reply:
        """Do nothing: this session holds no input."""
        return NOTHING

    def ended(self) -> Reply:
        """The client has finished sending: respond to its requests, or end a stream."""
        if self._feed is not None:
            self._detach()
            return CLOSE
        self._http.receive_data(b"")
        return self._flow()

    def lost(self) -> None:
        """Release everything: the connection is closed."""
        self._gone = True
        self._detach()
        self._work.cancel(self._resume)
        self._work.cancel(self._close)
        # The session and its connection refer to each other: release their memory without the garbage collector.
        self._http = h11.Connection(h11.SERVER)
        self._body.clear()
        self._out.clear()

    def overdue(self, now: float) -> bool:
        """Close the connection, with the reason, if its request takes too long. Returns whether it was closed."""
        if self.is_busy or self._gone or now - self._since < self._limit:
            return False
        if self._limit == PATIENCE and self._http.our_state in _MAY_ANSWER:
            self._refuse(408, f"the request did not arrive within {PATIENCE:g} s")
            self._say(self._flow())
        else:
            self._say(CLOSE)
        return True

    # output, which the transport pulls

    def _flow(self) -> Reply:
        """A Reply that makes the transport pull, unless it does so already or this session waits for another turn."""
        if self._pulled or self._resting or self._gone:
            return NOTHING
        self._pulled = True
        return Reply(more=self._output())

    def _output(self) -> Iterator[bytes]:
        """The pieces to send now; the transport takes the next one when it has room."""
        try:
            while not self._gone:
                if self._out:
                    out = bytes(self._out)
                    self._out.clear()
                    yield out
                elif self._work.is_used_up:
                    if self._rest():
                        return
                elif self._pieces is not None:
                    yield self._piece(self._pieces)
                elif self._leaving:
                    self._next()
                    if self._http.trailing_data[0] and self._rest():
                        return
                elif self._answering or self._refused or not self._advance():
                    break
        finally:
            self._pulled = False
        if self._is_over():
            # The transport is still pulling, and cannot close before the iterator ends.
            self._work.wait(self._close, self._share)

    def _piece(self, pieces: Iterator[bytes]) -> bytes:
        """The next piece of the response, encoded; b"" if it has no bytes."""
        piece = next(pieces, None)
        self._work.spend(PIECE + len(piece or b"") // UNIT_BYTES)
        if piece is not None:
            return self._http.send(h11.Data(data=piece)) or b""
        self._pieces = None
        if self._feed is not None and not self._stream_ends:
            return b""
        self._leaving = True
        return self._http.send(h11.EndOfMessage()) or b""

    def _next(self) -> None:
        """Begin with the next request, after the response was sent."""
        self._answering = self._stream_ends = self._leaving = False
        self._current = self._feed = None
        self._ahead = len(self._http.trailing_data[0])
        self._since, self._limit = self._clock(), SILENCE
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()

    def _rest(self) -> bool:
        """Continue in another turn; False without a reactor, in which case this turn continues."""
        self._resting = True
        self._work.wait(self._resume, self._share)
        return self._resting

    def _resume(self) -> None:
        self._resting = False
        if not self._pulled:
            self._say(self._flow())

    def _is_over(self) -> bool:
        done = (h11.MUST_CLOSE, h11.CLOSED, h11.ERROR, h11.DONE)
        over = self._http.our_state in done or self._http.their_state is h11.CLOSED
        return over and not (self.is_busy or self._gone)

    def _close(self) -> None:
        self._say(CLOSE)

    # requests

    def _advance(self) -> bool:
        """Take the next part of a request; False if there is none."""
        try:
            return self._take(self._http.next_event())
        except h11.RemoteProtocolError as error:
            if self._http.our_state not in _MAY_ANSWER:
                return False
            self._work.spend(REQUEST)
            self._refuse(error.error_status_hint, f"not a valid HTTP/1.1 request: {_plain(error)}")
            return True

    def _take(self, event: Any) -> bool:
        if event in (h11.NEED_DATA, h11.PAUSED):
            return False
        self._work.spend(EVENT)
        if isinstance(event, h11.Request):
            self._current = event
            self._body.clear()
            if not event.http_version.startswith(b"1."):  # RFC 9110 2.5: the major version decides about the syntax
                self._refuse(505, f"HTTP/{event.http_version.decode()} is not supported; expected HTTP/1.1 or HTTP/1.0")
            elif len(event.target) + sum(len(name) + len(value) + 4 for name, value in event.headers) > HEAD:
                self._refuse(431, f"the head of the request is larger than {HEAD} bytes")
            elif event.method == b"CONNECT":  # after a status 2xx the connection would be a tunnel (RFC 9110 9.3.6)
                self._refuse(501, "CONNECT: this server is not a proxy")
            elif self._http.they_are_waiting_for_100_continue:
                self._send(h11.InformationalResponse(status_code=100, headers=[]))
        elif isinstance(event, h11.Data):
            self._body += event.data
            if len(self._body) > BODY:
                self._refuse(413, f"the body of the request is larger than {BODY} bytes")
        elif isinstance(event, h11.EndOfMessage):
            self._ask()
        else:  # ConnectionClosed
            return False
        return True

    def _ask(self) -> None:
        """Pass a whole request to the handler."""
        self._work.spend(REQUEST)
        current = self._current
        assert current is not None, "h11 returns a Request before its EndOfMessage"
        headers: dict[str, str] = {}
        for raw_name, raw_value in current.headers:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        try:
            target = urlsplit(current.target.decode("latin-1"))
            query = dict(parse_qsl(target.query))
        except ValueError as error:
            self._refuse(400, f"the target of the request is not valid: {error}")
            return
        request = Request(
            current.method.decode("latin-1"), target.path, query, headers, bytes(self._body), self._peer, target.query
        )
        self._answering, self._ahead = True, 0
        self._handler(request, self._respond)

    # responses

    def _respond(self, answer: Answer) -> None:
        if self._gone or not self._answering:
            return
        head = self._current is not None and self._current.method == b"HEAD"
        headers = [("content-type", answer.content_type), ("cache-control", "no-store"), *answer.headers]
        if answer.stream is None and isinstance(answer.body, bytes) and answer.status not in _WITHOUT_LENGTH:
            headers.append(("content-length", str(len(answer.body))))
        self._send(_head(answer.status, headers))
        if head:
            self._pieces = iter(())
        elif answer.stream is not None:
            current = self._current
            self._feed = answer.stream(self._wake, lambda: self._end_stream(current))
            self._pieces = self._feed.pieces()
        else:
            self._pieces = iter((answer.body,)) if isinstance(answer.body, bytes) else answer.body
        if not self._pulled:
            self._say(self._flow())

    def _wake(self) -> None:
        """The feed has output again."""
        if self._feed is not None and self._pieces is None:
            self._pieces = self._feed.pieces()
            self._say(self._flow())

    def _end_stream(self, current: h11.Request | None) -> None:
        if self._answering and self._current is current:
            self._stream_ends = True
            self._wake()

    def _detach(self) -> None:
        feed, self._feed, self._pieces = self._feed, None, None
        if feed is not None:
            feed.close()

    def _refuse(self, status: int, message: str) -> None:
        """Respond to an invalid request, and close."""
        self._refused = True
        answer = error_answer(status, escaped(message))
        assert isinstance(answer.body, bytes)
        headers = [("content-type", JSON), ("content-length", str(len(answer.body))), ("connection", "close")]
        self._send(_head(status, headers))
        self._send(h11.Data(data=answer.body))
        self._send(h11.EndOfMessage())

    def _send(self, event: h11.Event) -> None:
        self._out += self._http.send(event) or b""


_PHRASES: Final = {one.value: one.phrase for one in HTTPStatus}
_MAY_ANSWER: Final = (h11.IDLE, h11.SEND_RESPONSE)
_WITHOUT_LENGTH: Final = (204, 304)
"""RFC 9110 8.6: Content-Length is forbidden in 204. In 304 it would be the size of the response with the body."""


def _plain(error: h11.RemoteProtocolError) -> str:
    """The text of an error, in which h11 shows bytes of the peer as Python writes them: here as escaped text."""
    return escaped(
        _BYTES.sub(lambda found: clipped(literal_eval(found[1]).decode("utf-8", "surrogateescape")), str(error))
    )


def _head(status: int, headers: list[tuple[str, str]]) -> h11.Response:
    return h11.Response(status_code=status, headers=headers, reason=_PHRASES.get(status, ""))

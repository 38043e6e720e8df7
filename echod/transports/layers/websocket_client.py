"""The client's side of the WebSocket handshake (RFC 6455 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final
from urllib.parse import quote

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Close
from websockets.http11 import Response
from websockets.streams import StreamReader
from websockets.typing import Origin, Subprotocol
from websockets.uri import WebSocketURI

from echod.address import Address
from echod.escaping import clipped, escaped
from echod.transports.layers.layer_interface import Build, ProtocolError, StreamTransport
from echod.transports.layers.websocket import HEAD, WebSocket

_ORDERLY: Final = frozenset({1000, 1001, 1005})  #: codes of an orderly end; 1005 is a Close without a code
QUERY: Final = "%/?:@!$&'()*+,;=~"  #: characters of a query that are not quoted (RFC 3986 3.4)
BODY: Final = 65_536  #: bytes of the body of a refusal that are read, for its first line


class WebSocketClient(WebSocket):
    """Connects to the path of `address`. `headers` are added to the request. `secure` is whether TLS is below.

    `show` is called with the head of the request and of the response, as they are on the wire.
    """

    __slots__ = ("_message", "_negotiation", "_received", "_request", "_show")

    is_client: ClassVar[bool] = True

    def __init__(
        self,
        build: Build,
        clock: Any,
        seconds: float,
        address: Address,
        *,
        message: int,
        secure: bool = False,
        headers: Sequence[tuple[str, str]] = (),
        origin: str | None = None,
        subprotocols: Sequence[str] = (),
        compression: bool = False,
        show: Callable[[str, bytes], None] = lambda _direction, _head: None,
    ) -> None:
        super().__init__(build, clock, seconds)
        path = quote(address.path or "/", safe="/@:+,;=!$'()*~", errors="surrogateescape")
        host = address.host.partition("%")[0]  # a scope is meaningful on this machine only (RFC 6874 4)
        self._negotiation = ClientProtocol(
            WebSocketURI(secure, host, address.port, path, quote(address.query, safe=QUERY), None, None),
            origin=None if origin is None else Origin(origin),
            extensions=[ClientPerMessageDeflateFactory()] if compression else None,
            subprotocols=list(map(Subprotocol, subprotocols)) or None,
        )
        self._request = self._negotiation.connect()
        for name, _ in headers:
            self._request.headers.pop(name, None)  # a header of the command line replaces ours
        for name, value in headers:
            self._request.headers.set_insecure(name, value)
        self._received = bytearray()
        self._show, self._message = show, message

    def begin(self, below: StreamTransport) -> None:
        """Send the request."""
        super().begin(below)
        request = self._request.serialize()
        self._show(">", request)
        below.write(request)

    def handshake(self, data: bytes) -> None:
        """Collect the response, and check it."""
        if self.facts.error is not None:
            return
        self._received += data
        end = self._received.find(b"\r\n\r\n", 0, HEAD) + 4
        if end > 3:
            self._check(end, over=False)
        elif len(self._received) > HEAD:
            self._fail_handshake(f"the head of the response has more than {HEAD} bytes")

    def ended(self) -> None:
        """Handle a FIN, which may end the body of a refusal."""
        if self.receiver is None and self.facts.error is None:
            end = self._received.find(b"\r\n\r\n", 0, HEAD) + 4
            if end > 3:
                self._check(end, over=True)
            elif self._received.startswith(b"\x15\x03"):
                self._fail_handshake("the server speaks TLS: its response is a TLS alert; expected wss://")
            else:
                self._fail_handshake("the server closed the connection before its response to the WebSocket request")
        else:
            super().ended()

    def _check(self, end: int, *, over: bool) -> None:
        """Check the response whose head has `end` bytes. A refusal is complete with its body, or if all is `over`."""
        switches = self._received.startswith(b"HTTP/1.1 101 ")
        body = len(self._received) - end
        try:
            response = _parsed(bytes(self._received[:end] if switches else self._received), over or body > BODY)
        except Exception as error:  # the parser raises six classes of errors
            self._show("<", bytes(self._received[:end]))
            self._fail_handshake(f"the response is not valid HTTP/1.1: {escaped(str(error))}")
            return
        if response is None:
            return  # the body continues
        self._show("<", bytes(self._received[:end]))
        try:
            self._negotiation.process_response(response)
        except InvalidHandshake as error:
            self._fail_handshake(_refusal(response) or escaped(str(error)))
            return
        rest, self._received = bytes(self._received[end:]), bytearray()
        subprotocol = self._negotiation.subprotocol
        self.facts.learned = {**(self.facts.learned or {}), "websocket": {"subprotocol": subprotocol}}
        self.open(b"", rest, self._message, self._negotiation.extensions)

    def _note_close(self, payload: bytes) -> None:
        """Report the code of a server that closes because of an error."""
        close = Close.parse(payload)
        if close.code not in _ORDERLY:
            reason = f": {clipped(close.reason, 125)}" if close.reason else ""
            self.facts.error = ProtocolError(f"the server closed the connection with code {close.code}{reason}")

    def _fail_handshake(self, why: str) -> None:
        self.facts.error = ProtocolError(why)
        self.below.abort(self.facts.error)


def _parsed(data: bytes, over: bool) -> Response | None:
    """The response, or None if its body is not complete. Raises the parser's errors."""
    reader = StreamReader()
    reader.feed_data(data)
    if over:
        reader.feed_eof()
    try:
        next(Response.parse(reader.read_line, reader.read_exact, reader.read_to_eof))
    except StopIteration as done:
        response: Response = done.value
        return response
    return None


def _refusal(response: Response) -> str:
    """The status of a refusal, and the first line of its text."""
    if response.status_code == 101:
        return ""
    first = bytes(response.body).decode("utf-8", "replace").strip().partition("\n")[0]
    status = f"HTTP {response.status_code} {escaped(response.reason_phrase)}"
    return f"{status}: {clipped(first, 200)}" if first else status

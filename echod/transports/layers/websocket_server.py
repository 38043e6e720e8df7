"""The server's side of the WebSocket handshake (RFC 6455 4.2), and of plain HTTP requests to the same port.

The path of the request selects a resource. A request that asks for no WebSocket is answered with a page or with text,
and one that cannot be accepted with a status and one line. Both close the connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from email.utils import formatdate
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from websockets.exceptions import InvalidHandshake
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request as Head
from websockets.server import ServerProtocol
from websockets.streams import StreamReader
from websockets.typing import Subprotocol

from echod.escaping import clipped
from echod.gate.total_buffer import Watermark
from echod.gate.work_budget import WorkBudget
from echod.transports.layers import http_answer
from echod.transports.layers.http_answer import (
    UPGRADE,
    Answer,
    AnswerGet,
    Request,
    Resource,
    encoded,
    no_page,
    not_an_upgrade,
    text_answer,
    unknown_path,
)
from echod.transports.layers.layer_interface import Answered, Build, ProtocolError
from echod.transports.layers.proxy_header import SIGNATURE
from echod.transports.layers.websocket import HEAD, WebSocket

WINDOW_BITS: Final = 12
"""The window of permessage-deflate: 4 KiB. With 32 KiB each connection would hold ten times the memory."""
COMPRESSION: Final = {"memLevel": 5, "level": 1}
"""The fastest level: a message of 1 MiB must not delay other connections for long."""
SHOWN: Final = ("host", "user-agent", "origin", "accept-language", "x-forwarded-for", "forwarded")
"""Request headers that `whoami` reports."""
LONGEST_SHOWN: Final = 200  #: characters of such a header
NOT_ASCII: Final = "a byte in its head is not ASCII"
_NOT_HTTP: Final = {
    b"\x16\x03": "this is a TLS handshake, and the address is ws://, without TLS; expected an HTTP request",
    SIGNATURE: "this is a PROXY header, and the address has no ?proxy=; expected an HTTP request",
    b"PROXY ": "this is a PROXY header, and the address has no ?proxy=; expected an HTTP request",
}
"""The first bytes of other protocols that a client may have begun with, and the answer."""
_OTHER_VERSION: Final = re.compile(rb"[^\r\n]* (HTTP/[02-9]\.[0-9])\r\n")  # another major version: RFC 9110 2.5
_METHOD: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}( |$)")  # RFC 9110 9.1


class WebSocketServer(WebSocket):
    """Accepts a WebSocket at one of `resources`, by its path. `answer_get` makes the pages."""

    __slots__ = ("_answer_get", "_head", "_resources")

    def __init__(
        self,
        build: Build,
        clock: Any,
        seconds: float,
        resources: Mapping[str, Resource],
        work: WorkBudget | None = None,
        answer_get: AnswerGet = no_page,
        mark: Watermark | None = None,
    ) -> None:
        super().__init__(build, clock, seconds, work, mark)
        self._resources, self._answer_get = resources, answer_get
        self._head: bytearray | None = bytearray()  # None after the request was answered

    def handshake(self, data: bytes) -> None:
        """Collect the head of the request, and answer it."""
        if self._head is None:
            return
        self._head += data
        if wrong := next((text for start, text in _NOT_HTTP.items() if self._head.startswith(start)), None):
            self._refuse(text_answer(400, wrong))
            return
        end = self._head.find(b"\r\n\r\n", 0, HEAD) + 4
        if end > 3:
            head, rest = bytes(self._head[:end]), bytes(self._head[end:])
            self._head = None
            self._answer_head(head, rest)
        elif len(self._head) > HEAD:
            self._refuse(text_answer(431, f"the head of the request has more than {HEAD} bytes"))
        elif not _METHOD.match(self._head[:33]):
            self._refuse(text_answer(400, "this is not an HTTP request"))

    def _answer_head(self, raw: bytes, rest: bytes) -> None:
        try:
            head = _parsed(raw)
            request = _request(head)
        except Exception as error:  # the parser raises six classes of errors
            if (other := _OTHER_VERSION.match(raw)) is not None:
                self._refuse(text_answer(505, f"{other[1].decode()} is not supported; expected HTTP/1.1 or HTTP/1.0"))
                return
            why = NOT_ASCII if isinstance(error, UnicodeError) else clipped(str(error))
            self._refuse(text_answer(400, f"not a valid HTTP/1.1 request: {why}"))
            return
        resource = self._resources.get(request.path)
        if not _asks_for_websocket(request):
            self._answer_plain(request, resource)
        elif resource is None:
            self._refuse(unknown_path(request.path, tuple(self._resources.values())))
        elif (refusal := _refusal(head, request, resource)) is not None:
            self._refuse(refusal)
        else:
            self._accept(head, request, resource, rest)

    def _answer_plain(self, request: Request, resource: Resource | None) -> None:
        """Answer a request without an upgrade: with a page, or with text."""
        if request.method not in ("GET", "HEAD"):
            self._refuse(text_answer(405, f"method {clipped(request.method)}: expected GET", ("Allow", "GET, HEAD")))
            return
        resources = tuple(self._resources.values())
        answer = None
        if any(one.page for one in ((resource,) if resource else resources)):
            answer = self._answer_get(request, resource, resources)
        if answer is None:
            answer = unknown_path(request.path, resources) if resource is None else not_an_upgrade(resource)
        self.facts.error = Answered(f"HTTP {answer.status}")
        self._send_answer(encoded(answer, head_only=request.method == "HEAD"))

    def _accept(self, head: Head, request: Request, resource: Resource, rest: bytes) -> None:
        """Switch to WebSocket."""
        deflate = [_deflate()] if resource.compression else []
        negotiation = ServerProtocol(
            extensions=deflate,
            subprotocols=[Subprotocol(one) for one in resource.subprotocols],
            select_subprotocol=_select_subprotocol,
        )
        try:
            accept, extensions, subprotocol = negotiation.process_request(head)
        except InvalidHandshake as error:
            self._refuse(text_answer(400, f"the WebSocket handshake is wrong: {_causes(error)}"))
            return
        headers = [
            ("Date", formatdate(usegmt=True)),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", accept),
        ]
        if extensions is not None:
            headers.append(("Sec-WebSocket-Extensions", extensions))
        if subprotocol is not None:
            headers.append(("Sec-WebSocket-Protocol", subprotocol))
        self._learn(request, subprotocol, extensions)
        response = bytes(http_answer.Head(101, tuple(headers)))
        self.open(response, rest, resource.message, negotiation.extensions)

    def _learn(self, request: Request, subprotocol: str | None, extensions: str | None) -> None:
        """Store the facts that `whoami` reports, and the path that selects the service."""
        facts = self.facts
        facts.path = request.path
        shown = {name: request.headers[name][:LONGEST_SHOWN] for name in SHOWN if name in request.headers}
        learned = {"path": request.path, "headers": shown, "subprotocol": subprotocol, "compression": extensions}
        if request.query:
            learned["query"] = request.query[:LONGEST_SHOWN]
        facts.learned = {**(facts.learned or {}), "websocket": learned}

    def _refuse(self, answer: Answer) -> None:
        """Send an answer to a wrong request, and close."""
        self.facts.error = ProtocolError(f"HTTP {answer.status}: {answer.body.decode().partition(chr(10))[0]}")
        self._send_answer(encoded(answer))

    def _send_answer(self, data: bytes) -> None:
        self._head = None
        self._cancel()
        self.below.write(data)
        self.below.close()


def _parsed(raw: bytes) -> Head:
    """The head of a request, which is complete. Raises the parser's errors."""
    reader = StreamReader()
    reader.feed_data(raw)
    reader.feed_eof()
    try:
        next(Head.parse(reader.read_line))
    except StopIteration as done:
        head: Head = done.value
        return head
    raise ValueError("the head is not complete")


def _request(head: Head) -> Request:
    """The request as data. Raises ValueError for a wrong target or Host."""
    headers: dict[str, str] = {}
    for name, value in head.headers.raw_items():
        name = name.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if not head.path.startswith("/"):
        raise ValueError(f"the target {clipped(head.path)} must begin with /")
    if head.protocol == "HTTP/1.1" and len(head.headers.get_all("Host")) != 1:  # RFC 9112 3.2
        raise ValueError("expected one Host header")
    path, _, query = head.path.partition("?")
    return Request(head.method, unquote(path, errors="surrogateescape"), query, headers)


def _tokens(value: str) -> set[str]:
    """The items of a list header, in lower case."""
    return {item.strip().lower() for item in value.split(",")}


def _asks_for_websocket(request: Request) -> bool:
    return "websocket" in _tokens(request.headers.get("upgrade", ""))


def _refusal(head: Head, request: Request, resource: Resource) -> Answer | None:
    """Why an upgrade is refused before the handshake is examined, or None."""
    if request.method != "GET":
        return text_answer(405, f"method {clipped(request.method)}: a WebSocket needs GET", ("Allow", "GET"))
    if head.protocol != "HTTP/1.1":
        return text_answer(505, f"{head.protocol}: a WebSocket needs HTTP/1.1")
    version = request.headers.get("sec-websocket-version")
    if version is not None and version != "13":
        return text_answer(426, f"Sec-WebSocket-Version {clipped(version)}: expected 13", *UPGRADE)
    if (origin := request.headers.get("origin")) is None:
        return None
    host = request.headers.get("host", "")
    if not _is_own_host(host, resource):
        right = "an IP address, localhost, or a name in websocket.hosts"
        return text_answer(403, f"Host {clipped(host)} is not allowed; expected {right}")
    if not _is_own_origin(origin, host, resource):
        return text_answer(403, f"Origin {clipped(origin)} is not allowed; expected one of websocket.origins")
    return None


def _is_own_host(host: str, resource: Resource) -> bool:
    """Whether a browser may have meant this server: a name in Host may be a foreign one that points here.

    Otherwise a foreign page could reach the service by DNS rebinding, with its own name as the origin.
    """
    with suppress(ValueError):
        name = (urlsplit(f"//{host}").hostname or "").removesuffix(".")
        if name == "localhost" or name in resource.hosts:
            return True
        ip_address(name)
        return True
    return False


def _is_own_origin(origin: str, host: str, resource: Resource) -> bool:
    """Whether the page that connects is of this host and port, or of an origin in the configuration."""
    if origin in resource.origins or "*" in resource.origins:
        return True
    authority = origin.partition("://")[2]
    return origin.startswith(("http://", "https://")) and authority.lower() == host.lower()


def _deflate() -> ServerPerMessageDeflateFactory:
    """Compression with small windows in both directions."""
    return ServerPerMessageDeflateFactory(
        server_max_window_bits=WINDOW_BITS, client_max_window_bits=WINDOW_BITS, compress_settings=COMPRESSION
    )


def _select_subprotocol(protocol: ServerProtocol, offered: Any) -> Any:
    """The first subprotocol that both sides know. Without one, the connection has none (RFC 6455 4.2.2)."""
    return next((one for one in protocol.available_subprotocols or () if one in offered), None)


def _causes(error: BaseException | None) -> str:
    """The messages of an error and of its causes."""
    parts = []
    while error is not None:
        parts.append(clipped(str(error)))
        error = error.__cause__
    return "; ".join(parts)

"""The responses of a WebSocket port to requests that are not upgrades: pages for browsers, text for other clients.

    Request ─► Site.response ─► Response: status, headers, body

Rules:

* A page is one response: its style and its script are in it, and the policy permits these two by their hashes
  (Content Security Policy Level 3, 2.3.1). A page loads nothing else, and connects to its own host only.
* Everything that comes from a request or from the configuration is escaped for HTML. Messages of peers never pass
  through this module: the script shows them as text.
* The files are read once, before the daemon drops its privileges.
"""

from __future__ import annotations

import json
import re
import tomllib
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from http import HTTPStatus
from pathlib import Path
from string import Template
from typing import Final, NamedTuple
from urllib.parse import parse_qs

from echod.escaping import clipped
from echod.pages.negotiation import language, prefers_html

HTML: Final = "text/html; charset=utf-8"
TEXT: Final = "text/plain; charset=utf-8"
LANGUAGES: Final = ("en", "zh")  #: the first one is for clients that prefer none of them

CHAT: Final = frozenset({"chat"})  #: the kinds with the chat page; all others have the try-it page
REPLY_ONLY: Final = frozenset({"whoami", "daytime", "time", "qotd"})  #: kinds that send once and read nothing

# A host that is safe in a header and in the policy, whose grammar has no IPv6 literals (CSP 2.3.1).
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?(:[0-9]{1,5})?")


class Route(NamedTuple):
    """A service on this port. `path` begins with a slash and is in the form of a request; `page` is its option."""

    path: str
    kind: str
    summary: str
    page: bool = True


class Request(NamedTuple):
    """A request whose head is complete. The names of the headers are in lower case."""

    method: str
    target: str  #: path and query, as received
    headers: Mapping[str, str]


class Response(NamedTuple):
    """A whole response. After it the connection is closed."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def encoded(self) -> bytes:
        """The bytes of the message (RFC 9112 2.1)."""
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


@dataclass(frozen=True)
class Files:
    """The files of this package, which all sites share."""

    pages: Mapping[str, Template]  #: try, chat and index
    scripts: Mapping[str, str]
    style: str
    words: Mapping[str, Mapping[str, str]]  #: by language
    kinds: Mapping[str, Mapping[str, str]]  #: by language: what a kind does

    @classmethod
    def read(cls, folder: Path = Path(__file__).parent) -> Files:
        """Read them. Raises OSError."""

        def text(name: str) -> str:
            return (folder / name).read_text("utf-8")

        words = tomllib.loads(text("words.toml"))
        shared = text("shared.js")
        return cls(
            pages={name: Template(text(f"{name}.html")) for name in ("try", "chat", "index")},
            scripts={"try": shared + text("try.js"), "chat": shared + text("chat.js")},
            style=text("style.css"),
            words={name: {key: word for key, word in words[name].items() if key != "kinds"} for name in LANGUAGES},
            kinds={name: words[name]["kinds"] for name in LANGUAGES},
        )


class Site:
    """The services of one port. With `secure`, the port is served over TLS."""

    def __init__(self, routes: Iterable[Route], files: Files, *, secure: bool = False) -> None:
        self._routes = {route.path: route for route in routes}
        self._files = files
        self._scheme = "wss" if secure else "ws"

    def response(self, request: Request) -> Response:
        """The response to a request that is not an upgrade, or to an upgrade of an unknown path."""
        path, _, query = request.target.partition("?")
        route = self._routes.get(path)
        if request.method not in ("GET", "HEAD"):
            made = _text(405, "the method is not allowed; this port accepts GET\n", ("Allow", "GET, HEAD"))
        elif prefers_html(request.headers.get("accept", "")) and (route is None or route.page):
            made = self._page(path, query, route, request)
        elif route is None:
            made = self._list(path)
        else:
            made = self._upgrade_required(route, request)
        return made._replace(body=b"") if request.method == "HEAD" else made

    # for clients that are not browsers

    def _list(self, path: str) -> Response:
        width = max((len(route.path) for route in self._routes.values()), default=0)
        lines = [f"  {route.path:{width}}  {route.kind}: {route.summary}" for route in self._routes.values()]
        if path == "/":
            return _text(200, "\n".join(["The WebSocket services on this port:", *lines, ""]))
        first = f"{clipped(path)} is not a service on this port; the services are:"
        return _text(404, "\n".join([first, *lines, ""]))

    def _upgrade_required(self, route: Route, request: Request) -> Response:
        url = f"{self._scheme}://{_host(request) or 'HOST'}{route.path}"
        return _text(
            426,
            f"{route.path} is a WebSocket service: connect to {url}, for example with `echoctl talk {url}`\n",
            ("Upgrade", "websocket"),  # RFC 9110 15.5.22
            ("Sec-WebSocket-Version", "13"),  # RFC 6455 4.4
            connection="Upgrade, close",
        )

    # for browsers

    def _page(self, path: str, query: str, route: Route | None, request: Request) -> Response:
        chosen = parse_qs(query, max_num_fields=8).get("lang", [""])[-1] if len(query) < 200 else ""
        chosen = chosen if chosen in LANGUAGES else ""
        lang = chosen or language(request.headers.get("accept-language", ""), LANGUAGES)
        suffix = f"?lang={chosen}" if chosen else ""
        words = self._files.words[lang]
        page = "index" if route is None else "chat" if route.kind in CHAT else "try"
        script = self._files.scripts.get(page, "")
        name = clipped(path)
        status = 404 if route is None and path != "/" else 200
        values = {key: escape(word) for key, word in words.items()} | {
            "lang": "zh-Hans" if lang == "zh" else lang,
            "style": self._files.style,
            "script": script,
            "words": _json(words),
            "path": escape(name),
            "missing": escape(words["not_served"].format(path=name)) if status == 404 else "",
            "hide_missing": "" if status == 404 else "hidden",
            "kind": escape(route.kind) if route else "",
            "summary": escape(self._summary(route, lang)) if route else "",
            "hide_composer": "hidden" if route and route.kind in REPLY_ONLY else "",
            "home": f"/{suffix}",
            "services_links": self._links(lang, suffix, path),
            "entries": self._entries(lang, suffix),
            "languages": _languages(lang),
        }
        body = self._files.pages[page].substitute(values).encode("utf-8", "backslashreplace")
        policy = _policy(script, self._files.style, _host(request))
        return Response(status, _headers(HTML, body, ("Content-Language", lang), *policy), body)

    def _summary(self, route: Route, lang: str) -> str:
        return self._files.kinds[lang].get(route.kind, route.summary)

    def _links(self, lang: str, suffix: str, path: str) -> str:
        """The list items of the services with a page, for the navigation."""
        return "".join(
            f'<li><a href="{escape(route.path + suffix)}"{" aria-current=page" if route.path == path else ""}>'
            f"{escape(route.path)}</a></li>"
            for route in self._routes.values()
            if route.page
        )

    def _entries(self, lang: str, suffix: str) -> str:
        """The list items of all services, with what they do."""
        items = []
        for route in self._routes.values():
            name = f"<b>{escape(route.path)}</b> <span>{escape(self._summary(route, lang))}</span>"
            link = f'<a href="{escape(route.path + suffix)}">{name}</a>' if route.page else f"<div>{name}</div>"
            items.append(f"<li>{link}</li>")
        return "".join(items)


def _languages(lang: str) -> str:
    """The links of the language switch, each in its own language."""
    names: Sequence[tuple[str, str, str]] = (("en", "en", "English"), ("zh", "zh-Hans", "中文"))
    return "".join(
        f'<a href="?lang={name}" lang="{tag}" hreflang="{tag}"{current}>{label}</a>'
        for name, tag, label in names
        for current in (" aria-current=true" if name == lang else "",)
    )


def _json(words: Mapping[str, str]) -> str:
    """JSON that is safe inside a script element: it has no `<`."""
    return json.dumps(words, ensure_ascii=False).replace("<", "\\u003c")


def _host(request: Request) -> str:
    """The Host of a request if it is safe to repeat, else an empty string."""
    host = request.headers.get("host", "")
    return host if _HOST.fullmatch(host) else ""


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _policy(script: str, style: str, host: str) -> Iterable[tuple[str, str]]:
    """The headers that bound what a page may do.

    Browsers before Content Security Policy Level 3 do not apply 'self' to WebSocket addresses, so the host is named.
    Cross-origin isolation gives a page the exact clock (5 µs instead of 100 µs), which loopback needs.
    """
    own = f" ws://{host} wss://{host}" if host else ""
    rules = (
        "default-src 'none'",
        f"script-src {_hash(script)}" if script else "script-src 'none'",
        f"style-src {_hash(style)}",
        "img-src data:",
        f"connect-src 'self'{own}",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
    return (
        ("Content-Security-Policy", "; ".join(rules)),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Embedder-Policy", "require-corp"),
    )


def _headers(
    content_type: str, body: bytes, *more: tuple[str, str], connection: str = "close"
) -> tuple[tuple[str, str], ...]:
    return (
        ("Content-Type", content_type),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("Vary", "Accept, Accept-Language"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        *more,
        ("Connection", connection),
    )


def _text(status: int, text: str, *more: tuple[str, str], connection: str = "close") -> Response:
    body = text.encode("utf-8", "backslashreplace")
    return Response(status, _headers(TEXT, body, *more, connection=connection), body)

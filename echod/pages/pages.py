"""The pages of a WebSocket port: the answers to browsers that open an address with GET.

    Request ─► Pages.answer ─► Answer: status, headers, body; None for a client that does not prefer HTML

Rules:

* A page is one response: its style and its script are in it, and the policy permits these two by their hashes
  (Content Security Policy Level 3, 2.3.1). A page loads nothing else, and connects to its own host only.
* Everything that comes from a request or from the configuration is escaped for HTML. Messages of peers never pass
  through this module: the script shows them as text.
* The files are read once, before the daemon drops its privileges.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Final
from urllib.parse import parse_qs, quote

from echod.escaping import clipped, escaped
from echod.pages.negotiation import language, prefers_html
from echod.pages.page_parts import LANGUAGES, json_of, language_links, policy_headers
from echod.transports.layers.http_answer import Answer, Request, Resource

HTML: Final = "text/html; charset=utf-8"
TITLES: Final = {"try": "$path", "chat": "$chat · $path", "index": "$index_title"}  #: of each page
QUERY: Final = 200  #: characters of a query that are read; the links of the pages have 8

CHAT: Final = frozenset({"chat"})  #: the kinds with the chat page; all others have the try-it page
REPLY_ONLY: Final = frozenset({"whoami", "daytime", "time", "qotd"})  #: kinds that send once and read nothing

# A host that is safe in a header and in the policy, whose grammar has no IPv6 literals (CSP 2.3.1).
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?(:[0-9]{1,5})?")


@dataclass(frozen=True)
class Files:
    """The files of this package."""

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

        def page(name: str, title: str) -> Template:
            head = text("head.html").replace("$title", title).rstrip("\n")
            header = text("service_header.html").rstrip("\n")
            return Template(text(f"{name}.html").replace("$head", head).replace("$service_header", header))

        words = tomllib.loads(text("words.toml"))
        shared = text("shared.js")
        return cls(
            pages={name: page(name, title) for name, title in TITLES.items()},
            scripts={"try": shared + text("try.js"), "chat": shared + text("chat.js")},
            style=text("style.css"),
            words={name: {key: word for key, word in words[name].items() if key != "kinds"} for name in LANGUAGES},
            kinds={name: words[name]["kinds"] for name in LANGUAGES},
        )


class Pages:
    """Makes the pages."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def answer(self, request: Request, resource: Resource | None, resources: Sequence[Resource]) -> Answer | None:
        """The page for a request, an `AnswerGet`. None selects the plain-text answer."""
        if not prefers_html(request.headers.get("accept", "")) or (resource is not None and not resource.page):
            return None
        query = request.query if len(request.query) <= QUERY else ""
        chosen = parse_qs(query).get("lang", [""])[-1]
        chosen = chosen if chosen in LANGUAGES else ""
        lang = chosen or language(request.headers.get("accept-language", ""), LANGUAGES)
        page = "index" if resource is None else "chat" if resource.kind in CHAT else "try"
        script = self._files.scripts.get(page, "")
        missing = resource is None and request.path != "/"
        values = self._values(lang, f"?lang={chosen}" if chosen else "", request.path, resources) | {
            "script": script,
            "hide_missing": "" if missing else "hidden",
            "kind": escape(resource.kind) if resource else "",
            "summary": escape(self._summary(resource, lang)) if resource else "",
            "hide_composer": "hidden" if resource and resource.kind in REPLY_ONLY else "",
        }
        body = self._files.pages[page].substitute(values).encode("utf-8", "backslashreplace")
        headers = policy_headers(script, self._files.style, _host(request))
        return Answer(404 if missing else 200, body, HTML, (("Content-Language", lang), *headers))

    def _values(self, lang: str, suffix: str, path: str, resources: Sequence[Resource]) -> dict[str, str]:
        """The values that every page contains, as HTML. `suffix` is the query that keeps the chosen language."""
        words, name = self._files.words[lang], clipped(path)
        return {key: escape(word) for key, word in words.items()} | {
            "lang": "zh-Hans" if lang == "zh" else lang,
            "languages": language_links(lang),
            "style": self._files.style,
            "words": json_of(words),
            "path": escape(name),
            "missing": escape(words["not_served"].format(path=name)),
            "home": f"/{suffix}",
            "services_links": _links(suffix, path, resources),
            "entries": self._entries(lang, suffix, resources),
        }

    def _summary(self, resource: Resource, lang: str) -> str:
        return self._files.kinds[lang].get(resource.kind) or resource.summary

    def _entries(self, lang: str, suffix: str, resources: Sequence[Resource]) -> str:
        """The list items of all services, with what they do."""
        items = []
        for one in resources:
            name = f"<b>{escape(escaped(one.path))}</b> <span>{escape(self._summary(one, lang))}</span>"
            link = f'<a href="{_href(one, suffix)}">{name}</a>' if one.page else f"<div>{name}</div>"
            items.append(f"<li>{link}</li>")
        return "".join(items)


def _href(resource: Resource, suffix: str) -> str:
    return escape(quote(resource.path, errors="surrogateescape") + suffix)


def _links(suffix: str, path: str, resources: Sequence[Resource]) -> str:
    """The list items of the services with a page, for the navigation."""
    return "".join(
        f'<li><a href="{_href(one, suffix)}"{" aria-current=page" if one.path == path else ""}>'
        f"{escape(escaped(one.path))}</a></li>"
        for one in resources
        if one.page
    )


def _host(request: Request) -> str:
    """The Host of a request if it is safe to repeat, else an empty string."""
    host = request.headers.get("host", "")
    return host if _HOST.fullmatch(host) else ""

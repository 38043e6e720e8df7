"""The status page of the admin interface: one response with its style, its script and uPlot, in two languages.

The page has no data. Its script reads the event stream of the daemon, and shows what it gets as text nodes only.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from html import escape
from pathlib import Path
from string import Template
from typing import Final
from urllib.parse import parse_qs

from echod.pages.negotiation import language
from echod.pages.page_parts import LANGUAGES, json_of, language_links, policy_headers

HTML: Final = "text/html; charset=utf-8"
QUERY: Final = 200  #: characters of a query that are read; the links of the page have 7
PIECE: Final = 16_384  #: bytes of the page that are sent at a time

Headers = tuple[tuple[str, str], ...]


class StatusPage:
    """Makes the page. The files of this package are read once, by the constructor. Raises OSError."""

    def __init__(self, folder: Path = Path(__file__).parent) -> None:
        self._folder = folder
        self._made: dict[tuple[str, str], bytes] = {}
        self._style = "".join(map(self._text, ("style.css", "vendor/uplot/uPlot.min.css", "status.css")))
        self._script = "".join(map(self._text, ("vendor/uplot/uPlot.iife.min.js", "status.js")))
        self._words = tomllib.loads(self._text("status_words.toml"))
        head = self._text("head.html").rstrip("\n")
        self._page = Template(self._text("status.html").replace("$head", head))

    def answer(self, accept_language: str, query: str) -> tuple[Iterator[bytes], Headers]:
        """The pieces of the page, and its headers. `query` may choose a language: `lang=zh`."""
        chosen = parse_qs(query if len(query) <= QUERY else "").get("lang", [""])[-1]
        chosen = chosen if chosen in LANGUAGES else ""
        lang = chosen or language(accept_language, LANGUAGES)
        key = lang, chosen
        if key not in self._made:
            self._made[key] = self._make(lang, f"/?lang={chosen}" if chosen else "/").encode()
        page = self._made[key]
        pieces = (page[at : at + PIECE] for at in range(0, len(page), PIECE))
        policy = (header for header in policy_headers(self._script, self._style, "") if header[0] != "Cache-Control")
        return pieces, (("Content-Language", lang), *policy)

    def _make(self, lang: str, home: str) -> str:
        words = self._words[lang]
        texts = {key: escape(word) for key, word in words.items() if key != "reasons"}
        return self._page.substitute(
            texts,
            lang="zh-Hans" if lang == "zh" else lang,
            languages=language_links(lang),
            home=home,
            style=self._style,
            script=self._script,
            words=json_of(words),
        )

    def _text(self, name: str) -> str:
        return (self._folder / name).read_text("utf-8")

"""Parts of every page: its languages, its words as JSON, and the headers that bound what it may do."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha256
from typing import Final

LANGUAGES: Final = ("en", "zh")  #: the first one is for clients that prefer none of them


def language_links(lang: str) -> str:
    """The links of the language switch, each in its own language."""
    names: Sequence[tuple[str, str, str]] = (("en", "en", "English"), ("zh", "zh-Hans", "中文"))
    return "".join(
        f'<a href="?lang={name}" lang="{tag}" hreflang="{tag}"{current}>{label}</a>'
        for name, tag, label in names
        for current in (" aria-current=true" if name == lang else "",)
    )


def json_of(words: object) -> str:
    """JSON that is safe inside a script element: it has no `<`."""
    return json.dumps(words, ensure_ascii=False).replace("<", "\\u003c")


@cache
def _hash(text: str) -> str:
    """The source of a policy that permits a script or a style of the package."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def policy_headers(script: str, style: str, host: str) -> Iterable[tuple[str, str]]:
    """The headers that bound what a page may do, and how long it is kept.

    Browsers before Content Security Policy Level 3 do not apply 'self' to WebSocket addresses, so the host is named.
    Cross-origin isolation gives a page the exact clock (5 µs instead of 100 µs), which loopback needs.
    """
    own = f" ws://{host} wss://{host}" if host else ""
    policy = (
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
        ("Content-Security-Policy", "; ".join(policy)),
        ("Cache-Control", "no-store"),
        ("Vary", "Accept, Accept-Language"),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Embedder-Policy", "require-corp"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    )

"""Content negotiation: the language of a page, and whether the client prefers HTML (RFC 9110 12.4 and 12.5)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

_WEIGHT: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")  # RFC 9110 12.4.2
PARTS: Final = 32
"""Items of a header that are read: browsers send fewer than ten, and a header has at most some kilobytes."""


def language(header: str, known: Sequence[str]) -> str:
    """The best of the `known` languages for an Accept-Language header; the first one if none matches.

    `zh-Hant-TW` matches `zh` (the lookup of RFC 4647 3.4). The client's order decides between equal weights.
    """
    best, weight = known[0], 0.0
    for name, quality in _weighted(header):
        primary = name.partition("-")[0]
        found = known[0] if name == "*" else primary
        if quality > weight and found in known:
            best, weight = found, quality
    return best


def prefers_html(header: str) -> bool:
    """Whether an Accept header names HTML, and does not prefer plain text. `*/*` alone, as curl sends it, does not."""
    weights = dict(_weighted(header))
    html = max(weights.get("text/html", 0.0), weights.get("application/xhtml+xml", 0.0))
    return html > 0 and html >= weights.get("text/plain", 0.0)


def _weighted(header: str) -> Iterator[tuple[str, float]]:
    """The items of a header in lower case, each with its weight from 0 to 1; one with an invalid weight has 0."""
    for part in header.split(",", PARTS)[:PARTS]:
        name, *parameters = (word.strip().lower() for word in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                quality = _quality(value.strip())
        if name:
            yield name, quality


def _quality(text: str) -> float:
    return float(text) if _WEIGHT.fullmatch(text) else 0.0

"""Rot13: rotates the letters of ASCII by 13 places, or by the option `places`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from string import ascii_lowercase, ascii_uppercase
from typing import Any

from echod.model import Context, Peer, Say, Service, Session, Transforming


@dataclass(frozen=True)
class Rot13Options:
    """The keys of a rot13 service."""

    places: int = field(default=13, metadata={"help": "how far each letter is rotated, from 1 to 25"})


class Rot13(Service):
    """Like echo, with rotated letters; all other bytes stay unchanged."""

    kind = "rot13"
    summary = "returns the input with its letters rotated"
    Options = Rot13Options

    def __init__(self, options: Any = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        here = ascii_lowercase + ascii_uppercase
        there = "".join(letters[self.options.places :] + letters[: self.options.places] for letters in _ALPHABETS)
        self._table = bytes.maketrans(here.encode(), there.encode())

    @classmethod
    def configuration_errors(cls, options: Any) -> Iterator[tuple[str, str]]:
        if not 1 <= options.places <= 25:
            yield "places", f"must be a whole number from 1 to 25, not {options.places}"

    def session(self, peer: Peer, say: Say) -> Session:
        return Transforming(self._turned)

    def answer(self, datagram: bytes, peer: Peer) -> bytes:
        return self._turned(datagram)

    def _turned(self, data: bytes) -> bytes:
        return data.translate(self._table)


_ALPHABETS = (ascii_lowercase, ascii_uppercase)

"""The types of configuration values: how each is checked, parsed and printed."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from echod.address import parse
from echod.config import units
from echod.config.bus_url import EXAMPLE, bus_url
from echod.config.errors import toml_text
from echod.escaping import for_system
from echod.runtime_dir import expanded

LARGEST_SHOWN: Final = 10**20  #: numbers from this one on are not printed in error messages


@dataclass(frozen=True)
class Form:
    """The type of a key's value."""

    right: str  #: the expected value, as in `must be …`
    accept: Callable[[Any], Any]  #: parses a value of TOML; raises ValueError with one line
    toml: Callable[[Any], str]  #: prints a value as TOML
    each: Form | None = None  #: for an array: the form of its elements


def type_of(value: object) -> str:
    """The type of a value of TOML or JSON, for error messages."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    names = {str: "text", int: "a number", float: "a number", list: "an array", dict: "a table"}
    return names.get(type(value), "a date or a time")


def called(value: object) -> str:
    """A TOML value of the wrong type, for error messages: the value if it is text or a number, otherwise its type."""
    if isinstance(value, str):
        return units.shown(value)
    if type(value) is float or (type(value) is int and abs(value) < LARGEST_SHOWN):
        return str(value)
    return "so large a number" if type(value) is int else type_of(value)


def text(right: str, read: Callable[[str], Any], write: Callable[[Any], str] = str) -> Form:
    """A form for strings, which `read` parses and `write` prints."""

    def accept(value: Any) -> Any:
        if not isinstance(value, str):
            raise ValueError(f"must be {right}, not {called(value)}{_with_quotes(value, read)}")
        return read(value)

    return Form(right, accept, lambda value: toml_text(write(value)))


def whole(lowest: int, highest: int) -> Form:
    """A form for whole numbers from `lowest` to `highest`."""
    right = "a whole number" if highest - lowest == 2**64 - 1 else f"a whole number from {lowest} to {highest}"

    def accept(value: Any) -> int:
        if type(value) is int and lowest <= value <= highest:
            return value
        raise ValueError(f"must be {right}, not {called(value)}{_without_quotes(value, accept, int)}")

    return Form(right, accept, str)


def number(lowest: float = -math.inf, highest: float = math.inf) -> Form:
    """A form for finite numbers from `lowest` to `highest`, with or without a fraction."""
    right = "a number" if lowest == -math.inf else f"a number from {lowest:.15g} to {highest:.15g}"

    def accept(value: Any) -> float:
        if type(value) in (int, float) and abs(value) <= sys.float_info.max and lowest <= value <= highest:
            return float(value)
        raise ValueError(f"must be {right}, not {called(value)}{_without_quotes(value, accept, float)}")

    return Form(right, accept, repr)


def _with_quotes(value: Any, read: Callable[[str], Any]) -> str:
    """The hint for a number that would be right as text, or as a duration in seconds; or ""."""
    if type(value) in (int, float) and abs(value) < LARGEST_SHOWN:
        for written in (str(value), f"{value}s"):
            with suppress(ValueError):
                read(written)
                return f'; did you mean "{written}", with the quotes?'
    return ""


def _without_quotes(value: Any, accept: Callable[[Any], Any], kind: Callable[[str], Any]) -> str:
    """The hint for text that would be right as a number or a boolean, of which `kind` makes a value; or ""."""
    if isinstance(value, str) and len(value) <= units.SHOWN:
        with suppress(ValueError, KeyError):
            return f"; did you mean {toml_plain(accept(kind(value)))}, without quotes?"
    return ""


def words(*known: str | int) -> Form:
    """A form for a fixed set of words or numbers."""
    right = "one of: " + ", ".join(map(str, known))
    texts = [word for word in known if isinstance(word, str)]

    def accept(value: Any) -> str | int:
        for word in known:
            if type(word) is type(value) and word == value:
                return word
        if not isinstance(value, str):
            raise ValueError(f"must be {right}; not {called(value)}")
        raise ValueError(f"{units.shown(value)} must be {right}{did_you_mean(value, texts)}")

    return Form(right, accept, lambda value: toml_text(value) if isinstance(value, str) else toml_plain(value))


def toml_plain(value: float) -> str:
    """A boolean or a number as TOML writes it."""
    return str(value).lower()


def did_you_mean(written: str, known: list[str]) -> str:
    """`; did you mean …?` with the most similar known word, or ""."""
    near = get_close_matches(written[: units.SHOWN].lower(), known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def array(each: Form, right: str) -> Form:
    """A form for arrays. The caller checks the elements with `each`, to report each wrong one."""

    def accept(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise ValueError(f"must be an array of {right}, not {called(value)}{_with_brackets(value, each)}")
        return value

    return Form(f"an array of {right}", accept, lambda value: f"[{', '.join(map(each.toml, value))}]", each)


def _with_brackets(value: Any, each: Form) -> str:
    """The hint for one value that would be right as the element of an array; or ""."""
    if type(value) in (str, int) and value != "":
        with suppress(ValueError):
            each.accept(value)
            return f"; did you mean [{called(value)}], with the brackets?"
    return ""


def lasting(more_than_zero: bool = False) -> Form:
    """A form for durations."""

    def read(written: str) -> float:
        seconds = units.duration(written)
        if more_than_zero and seconds == 0:
            raise ValueError(f'{units.shown(written)} must be longer than 0; the maximum is "24d"')
        return seconds

    return text('a duration such as "5m"', read, units.duration_text)


def sized(largest: int = units.LARGEST) -> Form:
    """A form for sizes above 0."""

    def read(written: str) -> int:
        if (size := units.size(written, largest)) == 0:
            raise ValueError(f'{units.shown(written)} must be at least "1"')
        return size

    return text('a size such as "64KiB"', read, units.size_text)


def _not_empty(written: str) -> str:
    if not written:
        raise ValueError("must not be empty")
    return written


def path(written: str) -> Path:
    """The path that a text names. Raises ValueError."""
    if not written or "\0" in written:
        raise ValueError(f'{units.shown(written)} must be the path of a file, such as "/etc/echod/FILE"')
    return Path(for_system(written))


def host_name(written: str) -> str:
    """A name that the Host header of a request may have, in lower case. Raises ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?", written):
        raise ValueError(f'{units.shown(written)}: must be the name of a host without a port, such as "echo.example"')
    return written.lower()


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        hint = _without_quotes(value, _boolean, {"true": True, "false": False}.__getitem__)
        raise ValueError(f"must be true or false, not {called(value)}{hint}")
    return value


FLAG: Final = Form("true or false", _boolean, toml_plain)
TEXT: Final = text("text", str)
NAME: Final = text("text", _not_empty)
URL: Final = text(f'a URL such as "{EXAMPLE}"', bus_url)
FILE: Final = text('the path of a file, such as "/etc/echod/FILE"', path)
DURATION: Final = lasting()
TIMEOUT: Final = lasting(more_than_zero=True)
SIZE: Final = sized()
RATE: Final = text('a rate such as "300", "300/900", "0" or "auto"', units.rate, units.rate_text)
COUNT: Final = whole(1, 2**31 - 1)
PROBABILITY: Final = number(0, 1)
PORTS: Final = array(whole(1, 65_535), "port numbers")
NETWORKS: Final = array(text('a network such as "192.0.2.0/24"', units.network), 'networks such as ["192.0.2.0/24"]')
ADDRESSES: Final = array(
    text('an address such as "tcp://127.0.0.1:10007"', lambda written: parse(expanded(written))),
    'addresses such as ["tcp://127.0.0.1:10007"]',
)

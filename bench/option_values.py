"""Values of the options of measuring tools. A wrong one is a usage error in one line, before anything is measured."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence


def whole_number(least: int = 1) -> Callable[[str], int]:
    """The parser of a whole number of at least `least`."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or int(text[:10]) < least or len(text) > 9:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to 999999999")
        return int(text)

    return parse


def decimal_number(least: float, most: float, what: str = "number of seconds") -> Callable[[str], float]:
    """The parser of a number within bounds; `what` describes it in the error."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a {what} from {least:g} to {most:g}")
        return value

    return parse


def known_names(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """The parser of some of the known names, separated by commas."""

    def parse(text: str) -> tuple[str, ...]:
        found = tuple(name.strip() for name in text.split(",") if name.strip())
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is unknown; expected one of {', '.join(known)}")
        return found

    return parse

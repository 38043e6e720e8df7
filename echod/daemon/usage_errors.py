"""Usage errors of the daemon in one line: the wrong argument, and a suggestion."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from echod.escaping import escaped


def meant_by(argument: str) -> str:
    """A hint at the option that the argument belongs to, or ""."""
    if "://" in argument:
        kind, _, address = argument.rpartition("=")
        return f"; did you mean --listen {escaped(kind or 'KIND')}={escaped(address)}?"
    if argument.endswith(".toml"):
        return f"; did you mean --config {escaped(argument)}?"
    return ""


def usage_error(message: str, options: Iterable[str]) -> str:
    """The one line for an error of Twisted's parser: the wrong word, the option that it may stand for, and --help.

    `options` are the long names of our own options, as getopt(3) has them: with a `=` if they need a value.
    """
    text, more = escaped(message), "--help lists the options"
    if match := re.fullmatch(r"option (-.*) requires argument", message):
        text = f"{escaped(match[1])} needs a value"
    elif match := re.fullmatch(r"option (-.*) must not have an argument", message):
        text = f"{escaped(match[1])} takes no value"
    elif match := re.fullmatch(r"option -(-?)(.*) not recognized", message):
        text = f'unknown option "{escaped(f"-{match[1]}{match[2]}")}"'
        if own := _option_of_twistd(match[2], is_long=bool(match[1])):
            more = f"it is an option of twistd: twistd {own} echod …"
        elif match[1] and (near := get_close_matches(match[2], [name.rstrip("=") for name in options], n=1)):
            text += f"; did you mean --{near[0]}?"
    return f"{text}; {more}"


def _option_of_twistd(name: str, *, is_long: bool) -> str:
    """The option of twistd with this long name or this letter, or ""."""
    from twisted.scripts import twistd

    theirs = twistd.ServerOptions()  # type: ignore[attr-defined]  # twistd defines it for each system
    long = name if is_long else theirs.synonyms.get(name, "")
    return next((f"--{long}{value}" for flag, value in ((long, ""), (f"{long}=", "=…")) if flag in theirs.longOpt), "")

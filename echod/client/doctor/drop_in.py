"""The command that adds a file to the configuration: it changes no file that an administrator wrote."""

from __future__ import annotations

import re
import shlex
from typing import Final

from echod.config.settings import Configuration

FIRST: Final = "zz-doctor-"  #: files are read in the order of their names, and the last one wins
NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]+")


def drop_in(configuration: Configuration, file: str, text: str, then: str = "") -> str:
    """The command that writes a drop-in of the configuration; "" without a file."""
    if not configuration.sources:
        return ""
    folder = configuration.sources[0].parent / "conf.d"
    quoted = " ".join(shlex.quote(line) for line in text.splitlines())
    target = shlex.quote(str(folder / f"{FIRST}{NOT_IN_NAMES.sub('-', file)}.toml"))
    return f"mkdir -p {shlex.quote(str(folder))} && printf '%s\\n' {quoted} > {target}{then}"

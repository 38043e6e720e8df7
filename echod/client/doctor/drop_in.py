"""The command that adds a file to the configuration: it changes no file that an administrator wrote."""

from __future__ import annotations

import shlex

from echod.config.settings import Configuration


def drop_in(configuration: Configuration, file: str, text: str, then: str = "") -> str:
    """The command that writes a drop-in of the configuration; "" without a file."""
    if not configuration.sources:
        return ""
    folder = configuration.sources[0].parent / "conf.d"
    quoted = " ".join(shlex.quote(line) for line in text.splitlines())
    target = shlex.quote(str(folder / f"doctor-{file}.toml"))
    return f"mkdir -p {shlex.quote(str(folder))} && printf '%s\\n' {quoted} > {target}{then}"

"""`python -m completion DIRECTORY`: write the completion of bash and zsh, made from the two programs' own parsers.

It writes `bash/echod`, `bash/echoctl`, `zsh/_echod` and `zsh/_echoctl`. shtab knows the shells' formats.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any, get_args

import shtab

from echod import tap
from echod.client import command_definitions
from echod.faults.keys import KEYS
from echod.model import Show
from echod.services.registry import kinds

KINDS = " ".join(f"{name}=" for name in kinds())
NAMES = (  # the names of the running daemon's services, of one kind or of all
    "echoctl status --json 2>/dev/null | "
    r"""sed 's/{"name": "/\n&/g' | sed -n 's/^{"name": "\([^"]*\)", "kind": "%s".*/\1/p'"""
)
CONSOLES, SERVICES = NAMES % "console", NAMES % '[^"]*'
FAULTS = " ".join(f"{key}=" for key in KEYS if key != "script")
PREAMBLE = {
    "bash": f"""
_echod_kinds() {{ compgen -W "{KINDS}" -- "$1"; }}
_echod_users() {{ compgen -u -- "$1"; }}
_echod_groups() {{ compgen -g -- "$1"; }}
_echod_consoles() {{ compgen -W "$({CONSOLES})" -- "$1"; }}
_echod_services() {{ compgen -W "$({SERVICES})" -- "$1"; }}
_echod_faults() {{ compgen -W "{FAULTS}" -- "$1"; }}
""",
    "zsh": f"""
_echod_kinds() {{ compadd -S '' -- {KINDS} }}
_echod_consoles() {{ local names; names=("${{(@f)$({CONSOLES})}}"); compadd -- $names }}
_echod_services() {{ local names; names=("${{(@f)$({SERVICES})}}"); compadd -- $names }}
_echod_faults() {{ compadd -S '' -- {FAULTS} }}
""",
}
COMPLETE: dict[str, Any] = {
    "FILE": shtab.FILE,
    "KIND=URL": {"bash": "_echod_kinds", "zsh": "_echod_kinds"},
    "USER": {"bash": "_echod_users", "zsh": "_users"},
    "GROUP": {"bash": "_echod_groups", "zsh": "_groups"},
    "CONSOLE": {"bash": "_echod_consoles", "zsh": "_echod_consoles"},
    "SERVICE": {"bash": "_echod_services", "zsh": "_echod_services"},
    "KEY=VALUE": {"bash": "_echod_faults", "zsh": "_echod_faults"},
}
"""The shell function that completes a word of each kind."""
OF_NAMES = {"name": "CONSOLE", "service": "SERVICE"}
VALUES = {"config": "FILE", "listen": "KIND=URL", "uid": "USER", "gid": "GROUP"}
CHOICES = {"announce": ("json",), "show": get_args(Show)}
NO_SPACE = """
_echod_words() {{
  {function} "$@"
  [[ ${{COMPREPLY[0]-}} == *= ]] && compopt -o nospace 2>/dev/null
  return 0
}}
complete -o filenames -F _echod_words echod
"""
"""After `echo=` the user types an address, so no space is inserted."""


def daemon() -> argparse.ArgumentParser:
    """The options of `echod`, which twistd parses, as an argparse parser."""
    options = tap.Options()
    short = {long: name for name, long in options.synonyms.items() if len(name) == 1}
    parser = argparse.ArgumentParser(prog="echod", add_help=False)
    for word in sorted(options.longOpt):
        name = word.removesuffix("=")
        flags = [f"-{short[name]}"] if name in short else []
        said = " ".join((options.docs.get(name) or "").split()).replace("%", "%%")
        if word.endswith("="):
            parser.add_argument(
                *flags,
                f"--{name}",
                metavar=VALUES.get(name, "TEXT"),
                action="append" if name in ("listen", "allow") else "store",
                choices=CHOICES.get(name),
                help=said,
            )
        else:
            parser.add_argument(*flags, f"--{name}", action="store_true", help=said)
    return parser


def actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Every option and command that a parser accepts."""
    found = list(parser._actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                found += actions(command)
    return found


def completion(parser: argparse.ArgumentParser, shell: str) -> str:
    """The completion script of a program. A FILE argument completes file names."""
    for action in actions(parser):
        what = (OF_NAMES.get(action.dest) if parser.prog == "echoctl" else None) or action.metavar
        if isinstance(what, str) and what in COMPLETE:
            action.complete = COMPLETE[what]  # type: ignore[attr-defined]  # shtab reads it from an action
    text = str(shtab.complete(parser, shell, preamble=PREAMBLE[shell]))
    if (shell, parser.prog) == ("bash", "echod"):
        text += NO_SPACE.format(function=re.findall(r"-F (\S+) echod", text)[-1])
    return text


def main(directory: Path) -> None:
    """Write the four files."""
    for parser in (daemon(), command_definitions.parser()):
        for shell, name in (("bash", parser.prog), ("zsh", f"_{parser.prog}")):
            file = directory / shell / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(completion(parser, shell), "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m completion DIRECTORY")
    main(Path(sys.argv[1]))

"""`python -m completion DIRECTORY`: what bash and zsh complete, made of the two programs' own parsers.

It writes `bash/echod`, `bash/echoctl`, `zsh/_echod` and `zsh/_echoctl`; shtab knows how the shells want them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import shtab

from echod import tap
from echod.client import commandline


def daemon() -> argparse.ArgumentParser:
    """The options of `echod`, which twistd reads, as argparse would."""
    options = tap.Options()
    short = {long: name for name, long in options.synonyms.items() if len(name) == 1}
    parser = argparse.ArgumentParser(prog="echod", add_help=False)
    for word in sorted(options.longOpt):
        name = word.removesuffix("=")
        flags = [f"-{short[name]}"] if name in short else []
        said = " ".join((options.docs.get(name) or "").split()).replace("%", "%%")
        if word.endswith("="):
            file = name == "config"
            parser.add_argument(
                *flags,
                f"--{name}",
                metavar="FILE" if file else "TEXT",
                action="store" if file else "append",  # only the file is given once
                help=said,
            )
        else:
            parser.add_argument(*flags, f"--{name}", action="store_true", help=said)
    return parser


def actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Everything that a parser and its commands accept."""
    found = list(parser._actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                found += actions(command)
    return found


def completion(parser: argparse.ArgumentParser, shell: str) -> str:
    """The text that a shell reads to complete a program's words; a FILE is completed as one."""
    for action in actions(parser):
        if action.metavar == "FILE":
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # shtab looks for it on an action
    return str(shtab.complete(parser, shell))


def main(directory: Path) -> None:
    """Write the four files."""
    for parser in (daemon(), commandline.parser()):
        for shell, name in (("bash", parser.prog), ("zsh", f"_{parser.prog}")):
            file = directory / shell / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(completion(parser, shell), "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m completion DIRECTORY")
    main(Path(sys.argv[1]))

"""argparse with messages that name the wrong word, the right `--help`, and the closest known word."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, NoReturn

from echod.config.units import shown
from echod.escaping import escaped
from echod.stdio import report

EX_USAGE: Final = 2  #: the code of argparse and most clients
EX_UNKNOWN: Final = 3  #: the code of monitoring plugins for everything that is not a result
NOT_AVAILABLE: Final = "not available in this version"


def _choice(match: re.Match[str]) -> str:
    """The message for a value that is not one of a few words. Python before 3.12 quotes each of them."""
    words = match[3].replace("'", "")
    return f"{match[1]}: {shown(match[2])} must be one of: {words}"


_NUMBER: Final = re.compile(r"-[0-9]*\.?[0-9]+")
_REWORDED: Final = (
    (re.compile(r"argument (?=[^:]+: )"), ""),
    (re.compile(r"^([^:]+): invalid choice: ['\"](.*)['\"] \(choose from (.*)\)$"), _choice),
    (re.compile(r"^([^:]+): expected one argument$"), r"\1 needs a value"),
    (re.compile(r"^([^:]+): ignored explicit argument (.*)$"), r"\1 takes no value: leave out \2"),
    (re.compile(r"^the following arguments are required: (.*)$"), r"\1 is missing"),
)
"""Messages of argparse, and their replacements."""


class Parser(argparse.ArgumentParser):
    """argparse with a usage error in one line, in which words of the user are escaped.

    `refuses` is called with all parsed arguments; it returns the usage error, or "".
    """

    refuses: Callable[[argparse.Namespace], str] | None = None
    commands: Mapping[str, Parser] = {}  #: the commands that may follow the program's options
    relatives: Mapping[str, Parser] = {}  #: the commands of the same program
    monitors = False  #: whether the command has the exit codes of a monitoring plugin with --warn or --critical
    _given: Sequence[str] = ()

    def __init__(self, *args: Any, **keywords: Any) -> None:
        self.options: list[str] = []
        self.takes_text = False
        self.url: Callable[[str], Any] | None = None  # parses one of several URLs
        super().__init__(*args, **keywords)

    def add_argument(self, *names: Any, **keywords: Any) -> argparse.Action:
        """As argparse. Also records the option names."""
        self.options += [name for name in names if name.startswith("-")]
        self.takes_text = self.takes_text or "text" in names
        self.url = keywords["type"] if "urls" in names else self.url
        return super().add_argument(*names, **keywords)

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse, but unknown words are refused before values are parsed. Exits with code 2 on a usage error."""
        given = sys.argv[1:] if args is None else list(args)
        self._given = given
        self._check_words(given)
        parsed, rest = super().parse_known_args(given, namespace)
        for name in ("text", "changes", "program"):  # argparse stops collecting them at the first option
            if isinstance(collected := getattr(parsed, name, None), list):
                end = rest.index("--") if "--" in rest else len(rest)
                setattr(parsed, name, [*collected, *rest[:end], *rest[end + 1 :]])
                rest = []
        if rest and self.url is not None:  # the same for URLs
            try:
                parsed.urls, rest = [*parsed.urls, *map(self.url, rest)], []
            except argparse.ArgumentTypeError as error:
                self.error(f"URL: {error}")
        if rest:
            self.error(f"unexpected argument {shown(rest[0])}")
        if self.refuses is not None and (wrong := self.refuses(parsed)):
            self.error(wrong)
        return parsed, rest

    def error(self, message: str) -> NoReturn:
        """Print the usage error and exit with code 2."""
        for pattern, words in _REWORDED:
            message = pattern.sub(words, message, count=1)
        report(f"{self.prog}: {escaped(message)}; see {self.prog} --help")
        monitoring = self.monitors and any(word.startswith(("--warn", "--crit")) for word in self._given)
        self.exit(EX_UNKNOWN if monitoring else EX_USAGE)

    def _check_words(self, words: list[str]) -> None:
        """Exit at the first unknown option, or at an unknown command."""
        commands = self.commands
        for word in words:
            if word == "--":
                return
            if word.startswith("-") and word != "-" and " " not in word:
                if self._is_unknown(word):
                    self.error(self._about_option(word))
            elif commands:
                if word not in commands:
                    self.error(self._about_command(word, commands))
                return

    def _is_unknown(self, word: str) -> bool:
        options = self.options
        if word in options or _NUMBER.fullmatch(word):
            return False
        if word.startswith("--"):
            name = word.partition("=")[0]
            return not any(option.startswith(name) for option in options)
        return word[:2] not in options

    def _about_option(self, word: str) -> str:
        name = word.partition("=")[0] if word.startswith("--") else word[:2]
        owners = [name_of for name_of, other in self.relatives.items() if name in other.options]
        listed = " and ".join(filter(None, (", ".join(owners[:-1]), *owners[-1:])))
        if owners and not self.commands:
            return f"unknown option {shown(word)}; it is an option of {listed}"
        if owners:
            return f"unknown option {shown(word)}; it is an option of {listed}: write it after the command"
        long = [option[2:] for option in self.options if option.startswith("--")]
        if name.startswith("--") and (close := get_close_matches(name[2:], long, n=1)):
            return f"unknown option {shown(word)}; did you mean --{close[0]}?"
        text = "; write -- before a text that begins with -" if self.takes_text else ""
        return f"unknown option {shown(word)}{text}"

    def _about_command(self, word: str, commands: Collection[str]) -> str:
        if "://" in word:
            return f"a command is missing before {shown(word)}; write {self.prog} send {shown(word)}"
        if close := get_close_matches(word.lower(), commands, n=1):
            return f"unknown command {shown(word)}; did you mean {close[0]}?"
        return f"unknown command {shown(word)}; expected one of: {', '.join(commands)}"

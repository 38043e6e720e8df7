"""echoctl's command line: every command and option, and nothing that takes long to import."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Final, NoReturn

from echod.address import Address, AddressError, parse
from echod.config.values import duration
from echod.text import escaped
from echod.version import VERSION

EX_USAGE: Final = 2  #: what argparse and most clients say


class Parser(argparse.ArgumentParser):
    """argparse, with one line for what is wrong, and a peer's or a user's bytes escaped in it."""

    def error(self, message: str) -> NoReturn:
        """End with code 2."""
        self.exit(EX_USAGE, f"{self.prog}: {escaped(message)}; see {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; the command's name is in `command`."""
    top = Parser(
        prog="echoctl",
        description="Talk to an echod, or to whatever else listens on a socket.",
        epilog="URL is tcp://HOST:PORT, udp://HOST:PORT or unix:///PATH; `echoctl COMMAND --help` tells more.",
    )
    top.add_argument("--version", action="version", version=f"echoctl {VERSION}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (summary, fill) in COMMANDS.items():
        fill(commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + "."))
    return top


def _send(command: argparse.ArgumentParser) -> None:
    command.add_argument("url", metavar="URL", type=_url, help="whom to ask, such as tcp://127.0.0.1:10008")
    command.add_argument("text", metavar="TEXT", nargs="*", help="what to send; without it, standard input")
    command.add_argument("--hex", action="store_true", help="print the answer as octets in hex")
    command.add_argument(
        "--timeout",
        metavar="TIME",
        type=_duration,
        help="give up after so long without a byte, such as 500ms or 5s (default: never; 5s for datagrams)",
    )
    command.add_argument("--keep-open", action="store_true", help="do not end sending: wait for the peer's end")


def _talk(command: argparse.ArgumentParser) -> None:
    command.add_argument("url", metavar="URL", type=_url, help="whom to talk to, such as tcp://127.0.0.1:10008")


def _check(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "file", metavar="FILE", nargs="?", help="the configuration (default: the one that the daemon would read)"
    )


COMMANDS: Final[dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]]] = {
    "send": ("send a text, or standard input, and print the whole answer", _send),
    "talk": ("a conversation: each line typed is sent, each answer printed", _talk),
    "check": ("read a configuration as the daemon would, and print its listeners or every error", _check),
}


def _url(text: str) -> Address:
    try:
        address = parse(text, client=True)
    except AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return address


def _duration(text: str) -> float:
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None

"""echoctl's command line: every command and option, and nothing that takes long to import."""

from __future__ import annotations

import argparse
import ipaddress
import re
from collections.abc import Callable
from dataclasses import replace
from textwrap import fill as fill_text
from typing import Any, Final

from echod.address import Address, AddressError, parse
from echod.client.examples import EXAMPLES
from echod.client.parser import NOT_AVAILABLE, Parser
from echod.config.units import duration, shown, size
from echod.runtime_dir import expanded
from echod.text import from_system
from echod.version import VERSION

PLANNED: Final = {"bench": "", "faults": ""}  #: commands of a later version
PLANNED_FOR_PING: Final = {
    "-I": "write the interface into the address: URL?interface=NAME",
    "-Q": "write the traffic class into the address: URL?dscp=NAME",
    **dict.fromkeys(("-t", "-D", "-O", "-w", "-f", "-n", "-v", "-A", "--source", "--csv", "--serve"), ""),
}
"""Options of a later version, and what to write until then."""

WIDTH: Final = 78  #: columns of a help's text: argparse's own, at 80
MARK: Final = 16  #: octets by which a datagram's answer is known: the least that one of ping's can have
LARGEST_DATAGRAM: Final = 65_507  #: octets that a UDP datagram over IPv4 holds at most (RFC 768, RFC 791)
LARGEST_PIECE: Final = 16 * 1024 * 1024  #: octets of one probe on a stream: its answer is held in memory, too
MOST_PROBES: Final = 2**32 - 1  #: what eight hexadecimal digits count
PATIENCE: Final = 5.0  #: seconds that ping waits for an answer
SHORTEST_INTERVAL: Final = 0.001  #: seconds: the reactor's clock has no finer hand


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; the command's name is in `command`."""
    top = Parser(
        prog="echoctl",
        description="Talk to an echod, or to whatever else listens on a socket.",
        epilog="URL is tcp://HOST:PORT, udp://HOST:PORT or unix:///PATH.\n`echoctl COMMAND --help` has its options.\n\n"
        + _examples(""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.planned = PLANNED
    top.add_argument("--version", action="version", version=f"echoctl {VERSION}")
    commands: Any = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (summary, fill) in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=fill_text(summary[0].upper() + summary[1:] + ".", WIDTH),
            epilog=_examples(name),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        fill(command)
        command.relatives = commands.choices
    top.commands = top.relatives = commands.choices
    return top


def _examples(name: str) -> str:
    return "examples:\n" + "\n".join(f"  {line}" for line in EXAMPLES[name])


def _send(command: Parser) -> None:
    command.refuses = _unfit_family
    _family(command)
    command.add_argument("url", metavar="URL", type=_url, help="whom to ask, such as tcp://127.0.0.1:10008")
    command.add_argument("text", metavar="TEXT", nargs="*", default=[], help="what to send; without it, standard input")
    command.add_argument("--hex", action="store_true", help="print the answer as octets in hex")
    command.add_argument(
        "--timeout",
        metavar="TIME",
        type=_patience,
        help="give up after so long without progress, looking up and connecting included, such as 500ms, or 5 for"
        " seconds (default: never; 5s for datagrams)",
    )
    command.add_argument("--keep-open", action="store_true", help="do not end sending: wait for the peer's end")


def _family(command: Parser) -> None:
    """`-4` and `-6`; `refuses` has to look whether they fit the address."""
    only = command.add_mutually_exclusive_group()
    for number in (4, 6):
        command.options.append(f"-{number}")
        only.add_argument(
            f"-{number}",
            dest="ip",
            action="store_const",
            const=number,
            help=f"try only the IPv{number} addresses of a name",
        )


def _unfit_family(asked: argparse.Namespace) -> str:
    """Why no address of that family can be meant, or ""."""
    if asked.ip is None:
        return ""
    if asked.url.has_path or asked.url.is_opaque:
        return f"-{asked.ip} is for tcp:// and udp://: {asked.url.place} has no IP address to choose"
    try:
        version = ipaddress.ip_address(asked.url.host.partition("%")[0]).version
    except ValueError:  # a name
        return ""
    return "" if version == asked.ip else f"-{asked.ip}: {asked.url.host} is an IPv{version} address"


def _talk(command: Parser) -> None:
    command.refuses = _unfit_family
    _family(command)
    command.add_argument("url", metavar="URL", type=_url, help="whom to talk to, such as tcp://127.0.0.1:10008")


def _ping(command: Parser) -> None:
    command.refuses = _unfit_probe
    command.planned = PLANNED_FOR_PING
    _family(command)
    command.add_argument(
        "url", metavar="URL", type=_url, help="whom to ask: an echo or upper, such as udp://127.0.0.1:10007"
    )
    command.add_argument(
        "-c", "--count", metavar="COUNT", type=_count, help="end after so many probes (default: never)"
    )
    command.add_argument(
        "-i",
        "--interval",
        metavar="TIME",
        type=_interval,
        default=1.0,
        help="from one probe to the next, such as 200ms, or 0.2 for seconds (default: 1s)",
    )
    command.add_argument(
        "-s", "--size", metavar="SIZE", type=_size, help="octets of a probe (default: 64; of a datagram 16 to 65507)"
    )
    command.add_argument(
        "-W",
        "--timeout",
        metavar="TIME",
        type=_patience,
        help="how long an answer may take, or a look-up and connecting; a later answer is late, and its probe lost"
        " (default: 5s; looking up and connecting: as long as it takes)",
    )
    command.add_argument(
        "-M",
        dest="df",
        choices=("do", "want", "dont"),
        help="set the IPv4 flag DF: do and never fragment, want as path MTU discovery says, or dont",
    )
    command.add_argument("-q", "--quiet", action="store_true", help="print the summary only")
    command.add_argument("--json", action="store_true", help="print one JSON object only")
    command.add_argument("--plot", metavar="FILE", type=_picture, help="draw the times into FILE.svg at the end")
    _color(command)
    command.add_argument("--connect", action="store_true", help="time connecting, with a connection for each probe")
    command.add_argument(
        "--exit-on-refusal",
        action="store_true",
        help="end at the first datagram or connection that is refused (default: it is a lost probe)",
    )


def _color(command: Parser) -> None:
    command.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="mark what is not as it should be (default: auto: on a terminal, unless $NO_COLOR is set)",
    )


def _unfit_probe(asked: argparse.Namespace) -> str:
    """Why such a probe cannot be sent there, or ""."""
    if asked.df is not None:
        if "df" not in asked.url.form.options:
            return f"-M {asked.df}: a probe over {asked.url.scheme} has no DF flag; use tcp:// or udp://"
        asked.url = replace(asked.url, options={**asked.url.options, "df": asked.df})
    asked.opening = asked.timeout
    asked.timeout = PATIENCE if asked.timeout is None else asked.timeout
    if wrong := _unfit_family(asked):
        return wrong
    if asked.connect:
        if not asked.url.form.is_bare:
            return "--connect: only tcp:// and unix:// have connections to time"
        return "" if asked.size is None else "--connect sends nothing: leave out --size"
    asked.size = 64 if asked.size is None else asked.size
    datagram = asked.url.shape.keeps_messages
    least, most = (MARK, LARGEST_DATAGRAM) if datagram else (1, LARGEST_PIECE)
    if least <= asked.size <= most:
        return ""
    return f"--size {asked.size}: a probe has from {least} to {most} octets over {asked.url.scheme}"


def _services(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _check(command: Parser) -> None:
    _color(command)
    command.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        type=_file,
        help="the configuration (default: the one that the daemon would read)",
    )


def _chat(command: Parser) -> None:
    command.refuses = _unfit_family
    _family(command)
    command.add_argument("url", metavar="URL", type=_url, help="the chat service, such as tcp://127.0.0.1:10012")
    command.add_argument("--nick", metavar="NAME", help="be called NAME (default: a guest)")
    command.add_argument("--room", metavar="ROOM", help="go to this room (default: the lobby)")


def _console(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "name", metavar="NAME", nargs="?", help="the service's name (default: the only one of this kind)"
    )
    _admin(command)


def _admin(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--admin",
        metavar="URL",
        type=_admin_url,
        help="where the daemon's administrator's interface is (default: $ECHOD_ADMIN, or as the daemon's file says)",
    )


def _status(command: Parser) -> None:
    _color(command)
    _admin(command)
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _top(command: Parser) -> None:
    _color(command)
    _admin(command)


COMMANDS: Final[dict[str, tuple[str, Callable[[Parser], None]]]] = {
    "send": ("send a text, or standard input, and print the whole answer", _send),
    "talk": ("a conversation: each line typed is sent, each answer printed", _talk),
    "ping": ("send probes on a schedule, verify each answer and measure how long it takes", _ping),
    "chat": ("talk with the others in a chat room, and see what they say while you type", _chat),
    "console": ("sit down as an operator of a console service, and answer its clients", _console),
    "status": ("what the running daemon serves, and what it has counted", _status),
    "top": ("what the running daemon does just now, drawn anew every second", _top),
    "reload": ("have the running daemon read its configuration anew, and wait for the verdict", _admin),
    "check": ("read a configuration as the daemon would, and print its listeners or every error", _check),
    "services": ("list every kind of service with its options", _services),
}


def _url(text: str) -> Address:
    try:
        address = parse(expanded(from_system(text)), client=True)
    except AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if address.is_passed:
        raise argparse.ArgumentTypeError(f"{address.place} is for listening; name the socket to reach")
    if address.is_opaque:
        from echod.transports.endpoint import unknown  # as late as the rest of Twisted

        if (said := unknown(address.path, client=True)) is not None:
            raise argparse.ArgumentTypeError(f"{address.place}: {said}")
    if not address.form.available:
        raise argparse.ArgumentTypeError(f"{address.place}: {address.scheme} is {NOT_AVAILABLE}")
    return address


def _admin_url(text: str) -> Address:
    address = _url(text)
    if not address.form.is_bare:
        raise argparse.ArgumentTypeError(f"{address.place}: the interface is on unix:// or tcp://")
    return address


def _duration(text: str) -> float:
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _interval(text: str) -> float:
    seconds = _seconds(text)
    if seconds < SHORTEST_INTERVAL:
        raise argparse.ArgumentTypeError(f"{shown(text)} is too short; the shortest is 1ms")
    return seconds


def _patience(text: str) -> float:
    seconds = _seconds(text)
    if not seconds:
        raise argparse.ArgumentTypeError(f"{shown(text)} leaves no time for an answer; write one such as 500ms")
    return seconds


def _seconds(text: str) -> float:
    """A duration, or a plain number of seconds as ping(8) takes it."""
    plain = re.fullmatch(r"([0-9]*)(\.[0-9]+)?", text) if text else None
    return _duration(f"{plain[1] or '0'}{plain[2] or ''}s" if plain else text)


def _file(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("the file's name is empty")
    return text


def _picture(text: str) -> str:
    if _file(text).endswith((".png", ".html")):
        raise argparse.ArgumentTypeError(f"{shown(text)}: {NOT_AVAILABLE}; write one such as times.svg")
    if not text.endswith(".svg"):
        raise argparse.ArgumentTypeError(f"{shown(text)} is no picture's name; write one such as times.svg")
    return text


def _size(text: str) -> int:
    try:
        return size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text) or not 1 <= int(text) <= MOST_PROBES:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a whole number from 1 to {MOST_PROBES}")
    return int(text)

"""echoctl's command line: its commands and options. It imports nothing that is slow to import."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from textwrap import fill as fill_text
from typing import Any, Final

from echod.client import bench_options, daemon_options, family_options, ping_options, proxy_options, websocket_options
from echod.client.argparse_errors import Parser
from echod.client.help_examples import EXAMPLES
from echod.client.tls_options import certificates, verification
from echod.client.value_types import (
    age,
    color_option,
    event_name,
    fault_value,
    file_name,
    lesson_number,
    patience,
    port_number,
    service_name,
    service_url,
)
from echod.event_catalogue import Severity
from echod.version import VERSION

WIDTH: Final = 78  #: columns of help text, as argparse uses on a terminal of 80


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; the command's name is in `command`."""
    top = Parser(
        prog="echoctl",
        description="A client for echod and for other services on sockets.",
        epilog="URL is tcp://HOST:PORT, udp://HOST:PORT, tls://HOST:PORT, unix:///PATH\n"
        "or ws://HOST:PORT/PATH.\n`echoctl COMMAND --help` has its options.\n\n" + _examples(""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
    command.refuses = _unfit
    family_options.add(command)
    command.add_argument("url", metavar="URL", type=service_url, help="the service, such as tcp://127.0.0.1:10008")
    command.add_argument("text", metavar="TEXT", nargs="*", default=[], help="text to send (default: standard input)")
    command.add_argument("--hex", action="store_true", help="print the reply as bytes in hex")
    command.add_argument(
        "--timeout",
        metavar="TIME",
        type=patience,
        help="give up after this time without progress, name lookup and connecting included: 500ms, or 5 for seconds"
        " (default: never; 5s for datagrams)",
    )
    command.add_argument("--keep-open", action="store_true", help="do not half-close: wait until the peer closes")
    proxy_options.add(command)
    verification(command)
    websocket_options.add(command)


def _unfit(arguments: argparse.Namespace) -> str:
    return family_options.unfit(arguments) or proxy_options.unfit(arguments)


def _talk(command: Parser) -> None:
    command.refuses = _unfit
    family_options.add(command)
    command.add_argument("url", metavar="URL", type=service_url, help="the service, such as tcp://127.0.0.1:10008")
    proxy_options.add(command)
    command.add_argument("-v", "--verbose", action="store_true", help="print the TLS and the WebSocket handshake")
    verification(command)
    websocket_options.add(command)


def _services(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.add_argument(
        "--matrix", action="store_true", help="print over which addresses each kind is served, or why it is not"
    )


def _check(command: Parser) -> None:
    color_option(command)
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        type=file_name,
        help="the configuration file (default: the file that the daemon would read)",
    )


def _chat(command: Parser) -> None:
    command.refuses = family_options.unfit
    family_options.add(command)
    command.add_argument("url", metavar="URL", type=service_url, help="the chat service, such as tcp://127.0.0.1:10012")
    command.add_argument("--nick", metavar="NAME", help="your nick (default: one the service chooses)")
    command.add_argument("--room", metavar="ROOM", help="the room to join (default: the lobby)")
    verification(command)
    websocket_options.add(command)


def _console(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "name", metavar="NAME", nargs="?", help="the name of the service (default: the only console service)"
    )
    daemon_options.admin(command)
    command.add_argument("--json-lines", action="store_true", help="print each event as one JSON object a line")


def _unfit_faults(arguments: argparse.Namespace) -> str:
    """The usage error of a KEY=VALUE, or "". Splits each into key and value."""
    try:
        arguments.changes = [fault_value(one) for one in arguments.changes]
    except argparse.ArgumentTypeError as error:
        return str(error)
    return ""


def _faults(command: Parser) -> None:
    command.refuses = _unfit_faults
    color_option(command)
    command.add_argument("service", metavar="NAME", type=service_name, help="the name of the service")
    command.add_argument(
        "changes",
        metavar="KEY=VALUE",
        nargs="*",
        default=[],
        help="set a fault, such as delay=200ms; KEY= ends it (keys: docs/FAULTS.md, echod-faults(7))",
    )
    command.add_argument("--clear", action="store_true", help="end all other faults, and restart the random numbers")
    command.add_argument("--script", metavar="FILE", type=file_name, help="faults over time: a TOML file with steps")
    daemon_options.admin(command)
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _unfit_events(arguments: argparse.Namespace) -> str:
    if arguments.json and arguments.follow:
        return "--json prints one object at the end, which --follow does not have: use --json-lines"
    return ""


def _events(command: Parser) -> None:
    command.refuses = _unfit_events
    color_option(command)
    command.add_argument("-f", "--follow", action="store_true", help="print new events until you interrupt it")
    command.add_argument(
        "--name",
        metavar="NAME",
        action="append",
        type=event_name,
        help="only events of this name, or of a pattern such as 'certificate.*'; may be repeated",
    )
    command.add_argument("--service", metavar="NAME", type=service_name, help="only events of this service")
    command.add_argument(
        "--severity",
        choices=list(map(str, Severity)),
        default="info",
        help="only events of at least this severity (default: info); debug shows single connections",
    )
    command.add_argument(
        "--since", metavar="TIME", type=age, help="only events that are at most this old: 10m (default: all that exist)"
    )
    daemon_options.admin(command)
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.add_argument("--json-lines", action="store_true", help="print one JSON object a line for each event")


def _unfit_lesson(arguments: argparse.Namespace) -> str:
    """The usage error of a lesson that is missing, or of options that exclude each other; or ""."""
    modes = [name for name in ("list", "hint", "reset") if getattr(arguments, name)]
    if len(modes) > 1:
        return f"--{modes[1]}: not allowed with argument --{modes[0]}"
    if arguments.hint and arguments.number is None:
        return "--hint needs the number of a lesson"
    if arguments.program and (modes or arguments.number is None):
        return "COMMAND is for an attempt at one lesson"
    if arguments.number is not None and (arguments.list or arguments.reset):
        return f"--{modes[0]} takes no number of a lesson"
    return ""


def _lesson(command: Parser) -> None:
    command.refuses = _unfit_lesson
    command.add_argument(
        "number", metavar="N", nargs="?", type=lesson_number, help="the lesson, from 1 to 10 (default: list all)"
    )
    command.add_argument(
        "program",
        metavar="COMMAND",
        nargs="*",
        default=[],
        help="after --: run your program; {port} in it is the port, which is otherwise its last argument",
    )
    command.add_argument("--list", action="store_true", help="list the lessons, and which of them you have passed")
    command.add_argument("--hint", action="store_true", help="print the next hint")
    command.add_argument("--reset", action="store_true", help="forget which lessons you have passed")
    command.add_argument(
        "--port", metavar="PORT", type=port_number, help="the port of the exercise (default: 9100 + N, or a free one)"
    )
    command.add_argument(
        "--timeout", metavar="TIME", type=patience, help="end the attempt after this time (default: 10m; COMMAND: 1m)"
    )
    command.add_argument(
        "--language", choices=("en", "zh"), help="English or Chinese (default: as LC_ALL, LC_MESSAGES or LANG)"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object, and the rest on standard error")


COMMANDS: Final[dict[str, tuple[str, Callable[[Parser], None]]]] = {
    "send": ("send a text, or standard input, and print the whole reply", _send),
    "talk": ("send each typed line and print each reply", _talk),
    "ping": ("send probes on a schedule, verify each reply and measure its time", ping_options.add),
    "bench": ("send a load, verify each byte of the replies, and measure throughput and latency", bench_options.add),
    "chat": ("join a chat room; received lines do not disturb your typing", _chat),
    "console": ("answer the clients of a console service as an operator", _console),
    "status": ("print the running daemon's listeners and counters", daemon_options.status),
    "top": ("show the running daemon's rates, updated every second", daemon_options.top),
    "events": ("print the running daemon's recent events, and follow new ones", _events),
    "faults": ("print the faults that a service injects, or change them", _faults),
    "reload": ("make the running daemon reload its configuration, and print the result", daemon_options.reload),
    "check": ("check a configuration, and print its listeners or every error", _check),
    "doctor": ("print what is wrong with this machine for a configuration, and how to mend it", daemon_options.doctor),
    "services": ("list the kinds of services with their options", _services),
    "lesson": ("practise sockets: each exercise checks what your program sends and receives", _lesson),
    "certificates": ("write a CA, and certificates of a server and a client, to test TLS", certificates),
}

"""echoctl's command line: its commands and options. It imports nothing that is slow to import."""

from __future__ import annotations

import argparse
import ipaddress
from collections.abc import Callable
from dataclasses import replace
from textwrap import fill as fill_text
from typing import Any, Final

from echod.client import proxy_options, websocket_options
from echod.client.argparse_errors import Parser
from echod.client.help_examples import EXAMPLES
from echod.client.tls_options import LAYER, certificates, verification
from echod.client.value_types import (
    admin_url,
    fault_value,
    file_name,
    interval,
    patience,
    picture,
    probe_count,
    probe_size,
    service_name,
    service_url,
)
from echod.version import VERSION

OVER_IP: Final = "tcp://, udp://, tls://, ws:// or wss://"
PLANNED: Final = {"bench": ""}  #: commands of a later version
PLANNED_FOR_PING: Final = {
    "-I": "write the interface into the address: URL?interface=NAME",
    "-Q": "write the traffic class into the address: URL?dscp=NAME",
    "-t": "write the TTL into the address: URL?ttl=NUMBER",
    "--source": "write the local address into the address: URL?source=ADDRESS",
    **dict.fromkeys(("-D", "-O", "-w", "-f", "-n", "-v", "-A", "--csv", "--serve"), ""),
}
"""ping(8) options of a later version, each with the alternative, or ""."""

WIDTH: Final = 78  #: columns of help text, as argparse uses on a terminal of 80
MARK: Final = 16  #: bytes of the mark at the start of a datagram probe, and so its minimum size
LARGEST_DATAGRAM: Final = 65_507  #: maximum payload of a UDP datagram over IPv4, in bytes (RFC 768, RFC 791)
LARGEST_PIECE: Final = 16 * 1024 * 1024  #: maximum bytes of a probe on a stream; its reply is held in memory, too
PATIENCE: Final = 5.0  #: seconds that ping waits for a reply


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; the command's name is in `command`."""
    top = Parser(
        prog="echoctl",
        description="A client for echod and for other services on sockets.",
        epilog="URL is tcp://HOST:PORT, udp://HOST:PORT, tls://HOST:PORT, unix:///PATH\n"
        "or ws://HOST:PORT/PATH.\n`echoctl COMMAND --help` has its options.\n\n" + _examples(""),
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
    command.refuses = _unfit
    _family(command)
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


def _family(command: Parser) -> None:
    """Add `-4` and `-6`. The command's `refuses` must call `_unfit_family`."""
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


def _unfit_family(arguments: argparse.Namespace) -> str:
    """The usage error if `-4` or `-6` does not fit the URL, or "".  Only a name has addresses of both families."""
    if arguments.ip is None:
        return ""
    if arguments.url.has_path or arguments.url.is_opaque:
        return f"-{arguments.ip}: {arguments.url.label} has no IP address; expected {OVER_IP}"
    try:
        version = ipaddress.ip_address(arguments.url.host.partition("%")[0]).version
    except ValueError:  # a name
        return ""
    return "" if version == arguments.ip else f"-{arguments.ip}: {arguments.url.host} is an IPv{version} address"


def _unfit(arguments: argparse.Namespace) -> str:
    return _unfit_family(arguments) or proxy_options.unfit(arguments)


def _talk(command: Parser) -> None:
    command.refuses = _unfit
    _family(command)
    command.add_argument("url", metavar="URL", type=service_url, help="the service, such as tcp://127.0.0.1:10008")
    proxy_options.add(command)
    command.add_argument("-v", "--verbose", action="store_true", help="print the TLS and the WebSocket handshake")
    verification(command)
    websocket_options.add(command)


def _ping(command: Parser) -> None:
    command.refuses = _unfit_probe
    command.planned = PLANNED_FOR_PING
    _family(command)
    command.add_argument(
        "url", metavar="URL", type=service_url, help="an echo or upper service, such as udp://127.0.0.1:10007"
    )
    command.add_argument(
        "-c", "--count", metavar="COUNT", type=probe_count, help="end after this number of probes (default: never)"
    )
    command.add_argument(
        "-i",
        "--interval",
        metavar="TIME",
        type=interval,
        default=1.0,
        help="time between probes: 200ms, or 0.2 for seconds (default: 1s)",
    )
    command.add_argument(
        "-s",
        "--size",
        metavar="SIZE",
        type=probe_size,
        help="bytes of a probe (default: 64; 16 to 65507 for datagrams)",
    )
    command.add_argument(
        "-W",
        "--timeout",
        metavar="TIME",
        type=patience,
        help="time to wait for a reply, and for name lookup and connecting; after it, the probe counts as lost"
        " (default: 5s; no limit for name lookup and connecting)",
    )
    command.add_argument(
        "-M",
        dest="df",
        choices=("do", "want", "dont"),
        help="the IPv4 flag DF: do sets it, want follows path MTU discovery, dont clears it",
    )
    command.add_argument("-q", "--quiet", action="store_true", help="print the summary only")
    command.add_argument("--json", action="store_true", help="print one JSON object only")
    command.add_argument("--plot", metavar="FILE", type=picture, help="at the end, draw the times into FILE.svg")
    _color(command)
    command.add_argument("--connect", action="store_true", help="time connecting: open a connection for each probe")
    proxy_options.add(command)
    command.add_argument(
        "--exit-on-refusal",
        action="store_true",
        help="end at the first refused datagram or connection (default: count it as lost)",
    )
    command.add_argument(
        "--ping-frames",
        action="store_true",
        help="WebSocket: send ping frames of 16 to 125 bytes instead of messages; any service answers them",
    )
    verification(command)
    websocket_options.add(command)


def _color(command: Parser) -> None:
    command.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="color problems (default: auto: on a terminal, unless $NO_COLOR is set)",
    )


def _unfit_probe(arguments: argparse.Namespace) -> str:
    """The usage error if such probes cannot be sent to the URL, or "". Fills in defaults."""
    if arguments.df is not None:
        if "df" not in arguments.url.form.options:
            return f"-M {arguments.df}: {arguments.url.scheme} has no DF flag; expected {OVER_IP}"
        arguments.url = replace(arguments.url, options={**arguments.url.options, "df": arguments.df})
    arguments.opening = arguments.timeout
    arguments.timeout = PATIENCE if arguments.timeout is None else arguments.timeout
    if wrong := _unfit(arguments):
        return wrong
    if arguments.connect:
        if arguments.proxy is not None:
            return "--connect sends nothing: leave out --proxy"
        if not arguments.url.form.is_bare and arguments.url.form.layers != (LAYER,):
            return f"--connect: {arguments.url.scheme} is not supported; use tcp://, tls:// or unix://"
        return "" if arguments.size is None else "--connect sends nothing: leave out --size"
    arguments.size = 64 if arguments.size is None else arguments.size
    url = arguments.url
    if arguments.ping_frames and websocket_options.LAYER not in url.form.layers:
        return f"--ping-frames: {url.label} is not WebSocket; --ping-frames is for ws:// and wss://"
    least = MARK if url.shape.keeps_messages else 1
    most = LARGEST_PIECE if url.form.layers or not url.shape.keeps_messages else LARGEST_DATAGRAM
    most = websocket_options.LARGEST_PING if arguments.ping_frames else most
    if least <= arguments.size <= most:
        return ""
    return f"--size {arguments.size} is out of range ({least}–{most} bytes over {arguments.url.scheme})"


def _services(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.add_argument(
        "--matrix", action="store_true", help="print over which addresses each kind is served, or why it is not"
    )


def _check(command: Parser) -> None:
    _color(command)
    command.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        type=file_name,
        help="the configuration file (default: the file that the daemon would read)",
    )


def _chat(command: Parser) -> None:
    command.refuses = _unfit_family
    _family(command)
    command.add_argument("url", metavar="URL", type=service_url, help="the chat service, such as tcp://127.0.0.1:10012")
    command.add_argument("--nick", metavar="NAME", help="your nick (default: one the service chooses)")
    command.add_argument("--room", metavar="ROOM", help="the room to join (default: the lobby)")
    verification(command)
    websocket_options.add(command)


def _console(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "name", metavar="NAME", nargs="?", help="the name of the service (default: the only console service)"
    )
    _admin(command)


def _admin(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--admin",
        metavar="URL",
        type=admin_url,
        help="the address of the admin interface (default: $ECHOD_ADMIN, or as in the daemon's configuration)",
    )


def _unfit_faults(arguments: argparse.Namespace) -> str:
    """The usage error of a KEY=VALUE, or "". Splits each into key and value."""
    try:
        arguments.changes = [fault_value(one) for one in arguments.changes]
    except argparse.ArgumentTypeError as error:
        return str(error)
    return ""


def _faults(command: Parser) -> None:
    command.refuses = _unfit_faults
    _color(command)
    command.add_argument("service", metavar="NAME", type=service_name, help="the name of the service")
    command.add_argument(
        "changes",
        metavar="KEY=VALUE",
        nargs="*",
        help="set a fault, such as delay=200ms; KEY= ends it (docs/FAULTS.md lists the keys)",
    )
    command.add_argument("--clear", action="store_true", help="end all other faults")
    command.add_argument("--script", metavar="FILE", type=file_name, help="faults over time: a TOML file with steps")
    _admin(command)
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _status(command: Parser) -> None:
    _color(command)
    _admin(command)
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _top(command: Parser) -> None:
    _color(command)
    _admin(command)


COMMANDS: Final[dict[str, tuple[str, Callable[[Parser], None]]]] = {
    "send": ("send a text, or standard input, and print the whole reply", _send),
    "talk": ("send each typed line and print each reply", _talk),
    "ping": ("send probes on a schedule, verify each reply and measure its time", _ping),
    "chat": ("join a chat room; received lines do not disturb your typing", _chat),
    "console": ("answer the clients of a console service as an operator", _console),
    "status": ("print the running daemon's listeners and counters", _status),
    "top": ("show the running daemon's rates, updated every second", _top),
    "faults": ("print the faults that a service injects, or change them", _faults),
    "reload": ("make the running daemon reload its configuration, and print the result", _admin),
    "check": ("check a configuration, and print its listeners or every error", _check),
    "services": ("list the kinds of services with their options", _services),
    "certificates": ("write a CA, and certificates of a server and a client, to test TLS", certificates),
}

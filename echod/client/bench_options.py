"""The options of `echoctl bench`, and which of them fit together."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Final

from echod.address import Address
from echod.client import family_options, output_options, proxy_options, websocket_options
from echod.client.argparse_errors import Parser
from echod.client.tls_options import verification
from echod.client.value_types import color_option, patience, probe_size, service_url, size_range
from echod.config.units import shown
from echod.transports.multicast import is_group

MOST_CONNECTIONS: Final = 65_536
MOST_DEPTH: Final = 65_536
MOST_MESSAGES: Final = 10**12
MOST_SIZES: Final = 1024
RATES: Final = (0.001, 10_000_000.0)  #: messages a second
USUAL_SIZE: Final = 64
USUAL_TIME: Final = 10.0  #: seconds, as wrk
USUAL_TIMEOUT: Final = 5.0  #: seconds that a message waits for its reply
OPEN_DEPTH: Final = 256
"""Messages in flight on each connection with --rate: an open loop sends also while replies are late."""
MARK: Final = 12  #: bytes of the number of a datagram
LARGEST_DATAGRAM: Final = 65_507  #: maximum payload of a UDP datagram over IPv4, in bytes (RFC 768, RFC 791)
LARGEST_MESSAGE: Final = 16 * 1024 * 1024
LARGEST_PACKET: Final = 200_000
"""Bytes of a message on a Unix seqpacket socket: the send buffer that the kernel grants by default holds it."""
IN_MEMORY: Final = 1024 * 1024 * 1024  #: bytes of all messages in flight, at most


def add(command: Parser) -> None:
    """Add the options of bench."""
    command.refuses = _unfit
    family_options.add(command)
    command.add_argument(
        "url", metavar="URL", type=service_url, help="an echo or upper service, such as tcp://127.0.0.1:10007"
    )
    _load(command)
    _output(command)
    proxy_options.add(command)
    verification(command)
    websocket_options.add(command)


def _load(command: Parser) -> None:
    command.add_argument(
        "-c",
        "--connections",
        metavar="COUNT",
        type=_whole(MOST_CONNECTIONS),
        default=1,
        help="connections at once; over datagrams, sockets (default: 1)",
    )
    command.add_argument(
        "-s",
        "--size",
        metavar="SIZE",
        type=_sizes,
        default=(USUAL_SIZE,),
        help="bytes of a message: 1400, 64KiB, a list 64,1400 or a range 64-1472/64, in turn (default: 64)",
    )
    command.add_argument(
        "-d",
        "--depth",
        metavar="COUNT",
        type=_whole(MOST_DEPTH),
        help=f"messages in flight on each connection (default: 1; with --rate {OPEN_DEPTH})",
    )
    command.add_argument(
        "-r",
        "--rate",
        metavar="RATE",
        type=_rate,
        help="messages a second in total, at planned times; latencies count from these times (default: the next"
        " message is sent when a reply arrives)",
    )
    command.add_argument(
        "-t", "--time", metavar="TIME", type=patience, help="send for this time (default: 10s; none with --count)"
    )
    command.add_argument(
        "-n", "--count", metavar="COUNT", type=_whole(MOST_MESSAGES), help="stop after this number of messages"
    )
    command.add_argument(
        "--warm-up", metavar="TIME", type=patience, default=0.0, help="send for this time first, without counting"
    )
    command.add_argument(
        "-W",
        "--timeout",
        metavar="TIME",
        type=patience,
        default=USUAL_TIMEOUT,
        help="time to wait for each reply (default: 5s)",
    )
    command.add_argument(
        "--connect", action="store_true", help="a connection for each message: connect, echo, close; not for datagrams"
    )


def _output(command: Parser) -> None:
    command.add_argument("-q", "--quiet", action="store_true", help="print the summary only")
    output_options.formats(command, "second")
    output_options.plots(command)
    color_option(command)


def _unfit(arguments: argparse.Namespace) -> str:
    """The usage error if the options do not fit together or the URL, or "". Sets the defaults that depend on others."""
    url: Address = arguments.url
    if url.is_opaque:
        return f"{url.label}: an endpoint string is not supported; write a URL such as tcp://HOST:PORT"
    if not url.has_path and is_group(url.host):
        return f"{url.label} is a multicast group; expected the address of one service"
    if wrong := family_options.unfit(arguments) or proxy_options.unfit(arguments) or output_options.unfit(arguments):
        return wrong
    if arguments.connect and not url.shape.has_connections:
        return f"--connect: {url.label} has no connections; use tcp://, tls://, ws://, wss:// or a Unix socket"
    if arguments.connect and arguments.depth is not None:
        return "--connect has one message on each connection: leave out --depth"
    if arguments.time is None and arguments.count is None:
        arguments.time = USUAL_TIME
    if arguments.depth is None:
        arguments.depth = 1 if arguments.rate is None or arguments.connect else _open_depth(arguments)
    return _unfit_sizes(arguments)


def _open_depth(arguments: argparse.Namespace) -> int:
    """OPEN_DEPTH, or less if the messages are so large that they would fill the memory."""
    most: int = IN_MEMORY // (arguments.connections * max(arguments.size))
    return max(1, min(OPEN_DEPTH, most))


def _unfit_sizes(arguments: argparse.Namespace) -> str:
    url = arguments.url
    if not url.shape.has_connections:
        least, most = MARK, LARGEST_DATAGRAM
    else:
        least, most = 1, LARGEST_PACKET if url.has_path and url.shape.keeps_messages else LARGEST_MESSAGE
    for size in (min(arguments.size), max(arguments.size)):
        if not least <= size <= most:
            return f"--size {size} is out of range ({least}–{most} bytes over {url.scheme})"
    if arguments.connections * arguments.depth * max(arguments.size) > IN_MEMORY:
        return "--connections, --depth and --size: more than 1 GiB would be in flight"
    return ""


def _whole(most: int) -> Callable[[str], int]:
    """The type of a whole number from 1 to `most`."""

    def accept(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,13}", text) or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{shown(text)} is not a whole number from 1 to {most}")
        return int(text)

    return accept


def _rate(text: str) -> float:
    lowest, highest = RATES
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text) or not lowest <= float(text) <= highest:
        right = f"a number of messages a second from {lowest:g} to {highest:.0f}"
        raise argparse.ArgumentTypeError(f"{shown(text)} is not {right}")
    return float(text)


def _sizes(text: str) -> tuple[int, ...]:
    """Sizes from a list of sizes and ranges."""
    sizes: list[int] = []
    for part in text.split(","):
        sizes += size_range(part) if "-" in part else (probe_size(part),)
    if len(sizes) > MOST_SIZES:
        raise argparse.ArgumentTypeError(f"{shown(text)} has {len(sizes)} sizes; expected up to {MOST_SIZES}")
    return tuple(sizes)

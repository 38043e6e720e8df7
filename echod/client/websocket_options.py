"""The options of WebSocket on the command line. Nothing here is slow to import."""

from __future__ import annotations

import argparse
import re
from typing import Final

from echod.client.argparse_errors import Parser
from echod.config.units import shown
from echod.escaping import from_system

LAYER: Final = "websocket"  #: of the schemes that these options fit
LARGEST_PING: Final = 125  #: bytes of a ping frame (RFC 6455 5.5)
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2


def add(command: Parser) -> None:
    """Add the options of the request. Call it after the command's `refuses` is set."""
    command.add_argument(
        "--header",
        metavar="NAME:VALUE",
        type=_header,
        action="append",
        default=[],
        help="WebSocket: add this header to the request, or replace it; may be repeated",
    )
    command.add_argument(
        "--subprotocol",
        metavar="NAME",
        type=_subprotocol,
        action="append",
        default=[],
        help="WebSocket: offer this subprotocol; may be repeated, the preferred one first",
    )
    command.add_argument("--origin", metavar="ORIGIN", type=_value, help="WebSocket: send this Origin, as a page does")
    earlier = command.refuses
    command.refuses = lambda arguments: (earlier(arguments) if earlier else "") or unfit(arguments)


def unfit(arguments: argparse.Namespace) -> str:
    """The usage error if the options do not fit the URL, or ""."""
    given = {"--header": arguments.header, "--subprotocol": arguments.subprotocol, "--origin": arguments.origin}
    first = next((name for name, value in given.items() if value), None)
    if first is not None and LAYER not in arguments.url.form.layers:
        return f"{first}: {arguments.url.label} is not WebSocket; {first} is for ws:// and wss://"
    return ""


def _value(text: str) -> str:
    value = from_system(text)
    if not re.fullmatch(r"[\x20-\x7e]{1,4096}", value):
        raise argparse.ArgumentTypeError(f"{shown(value)} must be 1 to 4096 visible ASCII characters")
    return value


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not _TOKEN.fullmatch(name):
        raise argparse.ArgumentTypeError(f"{shown(text)} must be a header such as X-Test: 1")
    return name, _value(value.strip())


def _subprotocol(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{shown(text)} must be the name of a subprotocol, such as echo.v1")
    return text

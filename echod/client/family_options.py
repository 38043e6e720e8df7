"""The options `-4` and `-6`, which select the addresses of a name."""

from __future__ import annotations

import argparse
import ipaddress
from typing import Final

from echod.client.argparse_errors import Parser

OVER_IP: Final = "tcp://, udp://, tls://, ws:// or wss://"


def add(command: Parser) -> None:
    """Add `-4` and `-6`. The command's `refuses` must call `unfit`."""
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


def unfit(arguments: argparse.Namespace) -> str:
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

"""The options that make a client send a PROXY header, as a proxy does. Nothing here is slow to import."""

from __future__ import annotations

import argparse
import ipaddress
import re

from echod.client.argparse_errors import Parser
from echod.config.units import shown
from echod.shape import Shape
from echod.socket_names import Inet, inet


def add(command: Parser) -> None:
    """Add `--proxy` and `--proxy-source`. The command's `refuses` must call `unfit`."""
    command.add_argument(
        "--proxy",
        choices=("v1", "v2"),
        help="send a PROXY header of this version first, as a proxy does; over UDP in each datagram",
    )
    command.add_argument(
        "--proxy-source",
        metavar="ADDRESS:PORT",
        type=_source,
        help="the client that the header names (default: the address of the client socket)",
    )


def unfit(arguments: argparse.Namespace) -> str:
    """The usage error if a header cannot be sent to the URL, or ""."""
    version, url = arguments.proxy, arguments.url
    if version is None:
        return "" if arguments.proxy_source is None else "--proxy-source needs --proxy v1 or --proxy v2"
    if "proxy" not in url.form.options:
        return f"--proxy: {url.label} has no IP address; --proxy is for tcp://, udp://, tls://, ws:// and wss://"
    if url.shape is Shape.DATAGRAM and version == "v1":
        return "--proxy v1: version 1 has no datagrams; use --proxy v2"
    return ""


def _source(text: str) -> Inet:
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
        if "%" in host or bracketed is not (address.version == 6):
            raise ValueError(host)
    except ValueError:
        expected = "an IP address and a port, such as 192.0.2.1:5000 or [2001:db8::1]:5000"
        raise argparse.ArgumentTypeError(f"{shown(text)} must be {expected}") from None
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"{shown(text)}: port {shown(port)} is not a number from 0 to 65535")
    return inet(str(address), int(port))

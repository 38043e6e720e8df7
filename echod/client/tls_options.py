"""The options of TLS on the command line. Nothing here is slow to import."""

from __future__ import annotations

import argparse

from echod.client.parser import Parser
from echod.escaping import from_system


def certificates(command: Parser) -> None:
    """Add the arguments of `echoctl certificates`."""
    command.add_argument("directory", metavar="DIR", type=_folder, help="the folder to write to; it is created")
    command.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        type=_server_name,
        default=[],
        help="DNS names and IP addresses of the server (default: localhost, 127.0.0.1, ::1 and the host name)",
    )


def _folder(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("the folder name is empty")
    return text


def _server_name(text: str) -> str:
    from echod.tls.issuing import general_name  # slow to import, as all of cryptography

    name = from_system(text)
    try:
        general_name(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return name

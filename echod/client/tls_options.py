"""The options of TLS on the command line. Nothing here is slow to import."""

from __future__ import annotations

import argparse
from typing import Final

from echod.client.argparse_errors import Parser
from echod.client.value_types import file_name
from echod.config.units import shown
from echod.escaping import from_system

LAYER: Final = "tls"  #: of the schemes that these options fit
LONGEST_PROTOCOL: Final = 255  #: bytes of an ALPN name (RFC 7301 3.1)


def verification(command: Parser) -> None:
    """Add the options for the certificates of both sides. Call it after the command's `refuses` is set."""
    for name, metavar, meaning in (
        ("--ca", "FILE", "trust the certificates in this PEM file, and check its CRLs (default: those of the system)"),
        ("--cert", "FILE", "present this certificate, in PEM, with the chain that the server needs"),
        ("--key", "FILE", "the private key of --cert (default: in the same file)"),
    ):
        command.add_argument(name, metavar=metavar, type=file_name, help=f"TLS: {meaning}")
    command.add_argument(
        "--server-name",
        metavar="NAME",
        type=_expected_name,
        help="TLS: expect, and ask for, this DNS name or IP address (default: the host of the URL)",
    )
    command.add_argument(
        "--alpn", metavar="LIST", type=_protocols, default=(), help="TLS: offer these protocols: echo,http/1.1"
    )
    command.add_argument("--insecure", action="store_true", help="TLS: accept any certificate, and print a warning")
    earlier = command.refuses
    command.refuses = lambda arguments: (earlier(arguments) if earlier else "") or unfit(arguments)


def unfit(arguments: argparse.Namespace) -> str:
    """The usage error if the options do not fit the URL or each other, or ""."""
    given = {
        "--ca": arguments.ca,
        "--cert": arguments.cert,
        "--key": arguments.key,
        "--server-name": arguments.server_name,
        "--alpn": arguments.alpn,
        "--insecure": arguments.insecure,
    }
    first = next((name for name, value in given.items() if value), None)
    if first is not None and LAYER not in arguments.url.form.layers:
        return f"{first}: {arguments.url.label} has no TLS; {first} is for tls:// and wss://"
    if arguments.key and not arguments.cert:
        return "--key needs --cert, the certificate of the key"
    if arguments.insecure and arguments.ca:
        return "--insecure verifies nothing: leave out --ca"
    return ""


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
    command.add_argument(
        "--wrong", action="store_true", help="also write certificates that are wrong on purpose, and a CRL"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")


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


def _expected_name(text: str) -> str:
    from echod.tls.verification import server_name  # slow to import, as all of cryptography

    name = from_system(text)
    try:
        server_name(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return name


def _protocols(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if not (name and name.isascii() and name.isprintable() and len(name) <= LONGEST_PROTOCOL):
            raise argparse.ArgumentTypeError(f"{shown(name)} is not the name of a protocol; expected echo,http/1.1")
    return names

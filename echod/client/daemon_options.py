"""The options of the commands that talk to the running daemon, or that examine the machine for it."""

from __future__ import annotations

import argparse
from typing import Final

from echod.client.argparse_errors import Parser
from echod.client.top_rates import CONNECTION_ORDERS, ORDERS
from echod.client.value_types import admin_url, color_option, file_name, listed_connections, observation

STATUS_ORDERS: Final = ("name", "open", "connections", "datagrams", "in", "out", "refused")
"""What `status` may sort its listeners by."""


def admin(command: argparse.ArgumentParser) -> None:
    """Add `--admin`."""
    command.add_argument(
        "--admin",
        metavar="URL",
        type=admin_url,
        help="the address of the admin interface (default: $ECHOD_ADMIN, or as in the daemon's configuration)",
    )


def json_option(command: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    command.add_argument("--json", action="store_true", help="print one JSON object")


def reload(command: Parser) -> None:
    """Add the options of `reload`."""
    admin(command)
    json_option(command)


def status(command: Parser) -> None:
    """Add the options of `status`."""
    color_option(command)
    admin(command)
    json_option(command)
    command.add_argument(
        "--sort",
        metavar="ORDER",
        choices=STATUS_ORDERS,
        help="sort the listeners, the largest first: name, open, connections, datagrams, in, out or refused"
        " (default: as configured)",
    )
    command.add_argument(
        "--connections",
        metavar="N",
        type=listed_connections,
        help="also list the N connections with the most traffic, up to 10000",
    )


def _unfit_top(arguments: argparse.Namespace) -> str:
    """The usage error of an order that the view does not have, or of several forms of output; or ""."""
    forms = [name for name in ("once", "json", "json_lines") if getattr(arguments, name)]
    if len(forms) > 1:
        first, second = (f"--{name.replace('_', '-')}" for name in forms[:2])
        return f"{second}: not allowed with argument {first}"
    known = ("busy", *CONNECTION_ORDERS) if arguments.by == "connections" else ORDERS
    if arguments.sort in (None, *known):
        return ""
    return f"--sort {arguments.sort} is not for --by {arguments.by}; expected one of: {', '.join(known)}"


def top(command: Parser) -> None:
    """Add the options of `top`."""
    command.refuses = _unfit_top
    color_option(command)
    admin(command)
    command.add_argument(
        "--by",
        metavar="VIEW",
        choices=("listeners", "services", "connections"),
        default="listeners",
        help="listeners, services or connections (default: listeners; Tab changes it)",
    )
    command.add_argument(
        "--sort",
        metavar="ORDER",
        choices=tuple(dict.fromkeys((*ORDERS, *CONNECTION_ORDERS))),
        help="the order: busy, name, open, new, datagrams, in, out or refused; of connections busy, bytes, in, out or"
        " unsent (default: busy; < and > change it)",
    )
    command.add_argument("--reverse", action="store_true", help="reverse the order")
    command.add_argument("--once", action="store_true", help="print the rates of one second, also without a terminal")
    command.add_argument("--json", action="store_true", help="print the rates of one second as one JSON object")
    command.add_argument("--json-lines", action="store_true", help="print a JSON object each second")


def doctor(command: Parser) -> None:
    """Add the options of `doctor`."""
    color_option(command)
    admin(command)
    command.add_argument(
        "--config",
        metavar="FILE",
        type=file_name,
        help="the configuration file (default: the file that the daemon would read)",
    )
    command.add_argument(
        "--wait",
        metavar="TIME",
        type=observation,
        default=1.0,
        help="observe the counters of dropped packets for this time, up to 60s (default: 1s; 0: do not observe)",
    )
    json_option(command)

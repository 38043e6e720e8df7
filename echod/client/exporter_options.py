"""`--serve` and `--serve-host` of ping: metrics for Prometheus, in place of a ping that ends."""

from __future__ import annotations

import argparse
from typing import Final

from echod.client.value_types import exporter_address, host_of_request

EXPORTER: Final = "tcp://127.0.0.1:10091"  #: where metrics are served by default
_OF_A_PING_THAT_ENDS: Final = {
    **{name: f"--{name.replace('_', '-')}" for name in ("count", "exit_on_refusal", "warn", "critical", "json")},
    **{name: f"--{name}" for name in ("plot", "hgrm", "live")},
    "deadline": "-w",
}


def add(command: argparse.ArgumentParser) -> None:
    """Add the options."""
    command.add_argument(
        "--serve",
        metavar="ADDRESS",
        nargs="?",
        const=EXPORTER,
        type=exporter_address,
        help=f"serve metrics for Prometheus at this address, until interrupted (default: {EXPORTER})",
    )
    command.add_argument(
        "--serve-host",
        metavar="NAME",
        type=host_of_request,
        action="append",
        default=[],
        help="with --serve: also answer requests to this name, besides IP addresses and localhost; may be repeated",
    )


def unfit(arguments: argparse.Namespace) -> str:
    """The usage error if an exporter has options of a ping that ends; or ""."""
    if arguments.serve is not None:
        for name, option in _OF_A_PING_THAT_ENDS.items():
            if getattr(arguments, name):
                return f"--serve measures until it is interrupted: leave out {option}"
    elif arguments.serve_host:
        return f"--serve-host {arguments.serve_host[0]}: nothing is served; expected --serve as well"
    return ""

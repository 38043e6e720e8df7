"""The options of `ping` and `bench` that draw, and the opening of their files."""

from __future__ import annotations

import argparse
import os
import sys

from echod.client.argparse_errors import Parser
from echod.client.value_types import file_name, picture

TERMINAL = "-"  #: instead of a file: draw on standard output


def add(command: Parser) -> None:
    """Add the options."""
    command.add_argument("--live", action="store_true", help="show the last minute as a graph in the terminal")
    command.add_argument(
        "--hgrm", metavar="FILE", type=file_name, help="at the end, write the percentiles in HdrHistogram's format"
    )
    command.add_argument(
        "--plot",
        metavar="FILE",
        type=picture,
        help="at the end, draw the times and their percentiles into FILE.svg, FILE.png or the page FILE.html; - draws"
        " them in the terminal",
    )


def unfit(arguments: argparse.Namespace) -> str:
    """The usage error if the output for people does not fit an output for programs, or ""."""
    names = ("json", "json_lines", "csv", "warn", "critical")
    machine = next((f"--{name.replace('_', '-')}" for name in names if getattr(arguments, name, None)), "")
    if arguments.plot == TERMINAL and machine:
        return f"--plot -: leave out {machine}, which must be the only output; expected a file such as times.svg"
    if arguments.live and machine:
        return f"--live: leave out {machine}, which must be the only output"
    if arguments.live and arguments.quiet:
        return "--live: leave out --quiet"
    return ""


def live_error(arguments: argparse.Namespace) -> str:
    """The error if --live was given and standard output is not a terminal that has another screen, or ""."""
    if arguments.live and not (sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"):
        return f"{arguments.command}: --live: standard output is not a terminal; leave out --live, or use --plot FILE"
    return ""

"""The output options that `ping` and `bench` share: formats for programs, and plots."""

from __future__ import annotations

import argparse
import os
import sys

from echod.client.argparse_errors import Parser
from echod.client.value_types import file_name, picture

TERMINAL = "-"  #: instead of a file: draw on standard output


def formats(command: Parser, record: str) -> None:
    """Add `--json`, `--json-lines` and `--csv`. `record` is what a line describes: a probe or a second."""
    group = command.add_mutually_exclusive_group()
    for name, what in (
        ("json", "print one JSON object only"),
        ("json-lines", f"print a JSON object for each {record}, and one at the end"),
        ("csv", f"print comma-separated values, a line for each {record}"),
    ):
        command.options.append(f"--{name}")
        group.add_argument(f"--{name}", action="store_true", help=what)


def plots(command: Parser) -> None:
    """Add `--live`, `--hgrm` and `--plot`."""
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

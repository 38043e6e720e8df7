"""`echoctl doctor`: prints the problems of this machine for a configuration, and the command that mends each."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from rich.text import Text

from echod.client.admin import Administrator, Denied, NoDaemon, RequestRefused, Unanswered, admin_of, parsing_response
from echod.client.commands.check import unknown_endpoint
from echod.client.doctor.certificate_renewal import renewal_after
from echod.client.doctor.checks import CHECKS, findings
from echod.client.doctor.machine_facts import PROBLEMS, Finding, check_form
from echod.client.doctor.read_machine import Status, read_machine
from echod.client.tables import ALARM, HEADING, QUIET, line, screen, show
from echod.config.errors import ConfigurationError
from echod.config.loading import load
from echod.config.name_resolution import Unresolved, resolved
from echod.config.settings import Configuration
from echod.escaping import counted, escaped
from echod.services.registry import kinds

CONFIGURATION: Final = "configuration"  #: the check that finds its errors
FORBIDDEN: Final = 403  #: the daemon refuses this user (RFC 9110 15.5.4)
OF_THE_DAEMON: Final = re.compile(r"echoctl (?:reload|status)")  #: in the command of a finding
PATIENCE: Final = 5.0  #: seconds for a response of the daemon
STYLES: Final = {"error": ALARM, "warning": HEADING, "notice": QUIET}


def run(arguments: argparse.Namespace) -> int:
    """Print the findings. Returns 1 if one of them is a problem, otherwise 0."""
    found = examined(arguments)
    problems = sum(one.severity in PROBLEMS for one in found)
    if arguments.json:
        print(json.dumps({"problems": problems, "findings": [asdict(one) for one in found]}))
    else:
        console = screen(arguments.color)
        for text in drawn(found):
            show(console, text)
    return 1 if problems else 0


def examined(arguments: argparse.Namespace) -> list[Finding]:
    """The findings. If the configuration is wrong, these are its errors, and nothing else is checked."""
    file = None if arguments.config is None else Path(arguments.config)
    try:
        configuration = load(file, kinds(), os.environ, unknown=unknown_endpoint)
    except ConfigurationError as error:
        return [Finding("error", CONFIGURATION, str(one), command=renewal_after(one)) for one in error.errors]
    unresolved: list[Finding] = []
    try:
        configuration, notes = resolved(configuration)
        unresolved += [Finding("warning", "names", escaped(note)) for note in notes]
    except Unresolved as error:
        unresolved += [Finding("error", "names", escaped(str(one))) for one in error.errors]
    machine = read_machine(configuration, lambda: _status(arguments, configuration), arguments.wait)
    option = _admin_option(arguments, configuration)
    found = findings(configuration, machine)
    return [
        *unresolved,
        *(replace(one, command=OF_THE_DAEMON.sub(lambda words: words[0] + option, one.command)) for one in found),
    ]


def _admin_option(arguments: argparse.Namespace, configuration: Configuration) -> str:
    """The option with which echoctl finds the daemon of this configuration; "" for the one at the default address."""
    try:
        if arguments.admin is None and arguments.config is None:
            return ""
        address = arguments.admin or admin_of(configuration.admin.listen, os.environ)
    except Unanswered:
        return ""
    return f" --admin {shlex.quote(address.label)}" if address.has_path else ""  # TCP is for reading only


def _status(arguments: argparse.Namespace, configuration: Configuration) -> Status:
    """The status of the daemon, or why there is none."""
    try:
        address = arguments.admin or admin_of(configuration.admin.listen, os.environ)
        with Administrator(address, PATIENCE) as administrator:
            status = administrator.ask("/api/status")
        with parsing_response(address):
            check_form(status)
        return Status(status)
    except (Unanswered, RequestRefused) as error:
        denied = isinstance(error, Denied) or (isinstance(error, RequestRefused) and error.status == FORBIDDEN)
        return Status(None, str(error), isinstance(error, NoDaemon), denied)


def drawn(found: Sequence[Finding]) -> Iterator[Text]:
    """The findings as lines, and a line that counts the problems."""
    for one in found:
        yield line(f"{one.severity}: {one.what}", STYLES[one.severity])
        for label, text in (("found", one.found), ("needed", one.needed), ("command", one.command)):
            if text:
                yield line(f"  {label}: {text}")
    problems = sum(one.severity in PROBLEMS for one in found)
    if any(one.check == CONFIGURATION for one in found):
        yield line("the configuration has errors, so this machine was not checked", ALARM)
        return
    of_checks = counted(len(CHECKS), "check", "checks")
    yield line(f"{counted(problems, 'problem', 'problems')} found by {of_checks}", ALARM if problems else QUIET)

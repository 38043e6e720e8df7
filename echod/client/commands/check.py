"""`echoctl check`: reads the configuration as the daemon would, and prints its listeners or every error."""

from __future__ import annotations

import argparse
import json
import os
import resource
from pathlib import Path
from typing import Final, NamedTuple

from echod.client.stdout import fail, put_text
from echod.client.tables import fitted, screen, show
from echod.config.address_listing import warnings
from echod.config.errors import ConfigurationError, LocatedError
from echod.config.fd_budget import fit
from echod.config.line_numbers import error_at
from echod.config.loading import load
from echod.config.name_resolution import Unresolved, resolved
from echod.config.settings import Configuration
from echod.escaping import escaped
from echod.services.registry import kinds

EX_CONFIG: Final = 78  #: sysexits(3), as the daemon


class Checked(NamedTuple):
    """The listeners and the messages of a start with a configuration. After an error it has nothing else."""

    listeners: tuple[tuple[str, str], ...] = ()  #: the service and the address of each
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


def run(arguments: argparse.Namespace) -> int:
    """Print the listeners and return 0, or every error and return 78."""
    checked = examined(None if arguments.file is None else Path(arguments.file))
    if arguments.json:
        listeners = [{"service": name, "address": address} for name, address in checked.listeners]
        put_text(f"{json.dumps({'listeners': listeners, 'warnings': checked.warnings, 'errors': checked.errors})}\n")
    else:
        console = screen(arguments.color)
        if checked.listeners:
            show(console, fitted(("", ""), checked.listeners, console.width))
        for line in (*checked.errors, *checked.warnings):
            fail(escaped(line))
    return EX_CONFIG if checked.errors else 0


def examined(file: Path | None) -> Checked:
    """Read a configuration as a start would."""
    try:
        configuration, notes = resolved(load(file, kinds(), os.environ, unknown=unknown_endpoint))
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        configuration, shrunk = fit(configuration, hard)
        wrong = unusable_bus(configuration)
    except (ConfigurationError, Unresolved) as error:
        return Checked(errors=tuple(map(str, error.errors)))
    if wrong is not None:
        return Checked(errors=(str(wrong),))
    listening = [(service.name, service.listen) for service in configuration.services]
    listening += [("admin", configuration.admin.listen)] if configuration.admin.listen else []
    listeners = tuple((name, str(address)) for name, addresses in listening for address in addresses)
    return Checked(listeners, (*notes, *shrunk, *warnings(configuration)))


def unusable_bus(configuration: Configuration) -> LocatedError | None:
    """The error of the TLS to a broker, or None."""
    bus = configuration.bus
    if bus.url is None:
        return None
    from echod.bus.redis_connect import UnusableTls, tls_options  # it imports Twisted

    try:
        tls_options(bus.url.host, tls=bus.url.tls, ca=bus.ca)
    except UnusableTls as error:
        return error_at(configuration, error.key, str(error))
    return None


def unknown_endpoint(text: str) -> str | None:
    """The error of an endpoint string, or None."""
    from echod.transports.twisted_endpoint_strings import (
        unknown,  # Twisted takes half a second to import, and few addresses need it
    )

    return unknown(text)

"""`echoctl check`: reads the configuration as the daemon would, and prints its listeners or every error."""

from __future__ import annotations

import argparse
import os
import resource
from pathlib import Path
from typing import Final

from echod.client.stdout import fail
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


def run(arguments: argparse.Namespace) -> int:
    """Print the listeners and return 0, or every error and return 78."""
    try:
        path = None if arguments.file is None else Path(arguments.file)
        configuration, notes = resolved(load(path, kinds(), os.environ, unknown=unknown_endpoint))
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        configuration, shrunk = fit(configuration, hard)
        wrong = unusable_bus(configuration)
    except ConfigurationError as error:
        tell(error)
        return EX_CONFIG
    except Unresolved as error:
        for line in error.errors:
            fail(line)
        return EX_CONFIG
    if wrong is not None:
        fail(str(wrong))
        return EX_CONFIG
    console = screen(arguments.color)
    listening = [(service.name, service.listen) for service in configuration.services]
    listening += [("admin", configuration.admin.listen)] if configuration.admin.listen else []
    rows = [(name, str(address)) for name, addresses in listening for address in addresses]
    if rows:
        show(console, fitted(("", ""), rows, console.width))
    for line in (*notes, *shrunk, *warnings(configuration)):
        fail(line)
    return 0


def tell(wrong: ConfigurationError) -> None:
    """Print every configuration error on standard error, a line each."""
    for error in wrong.errors:
        fail(escaped(str(error)))


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

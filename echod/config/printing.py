"""Prints a configuration as TOML for `--print-config`; reading it again gives the same configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from echod.config.errors import joined
from echod.config.kind_options import option_forms
from echod.config.schema import (
    ADMIN,
    BUS,
    DAEMON,
    FAULTS,
    LIMITS,
    POLICY,
    SERVICE,
    TLS,
    WEBSOCKET,
    Table,
    field_of,
    missing,
)
from echod.config.schema_check import DEFAULT
from echod.config.settings import Configuration, ServiceConfig
from echod.escaping import escaped

Origins = Mapping[str, tuple[Path, ...]]

READERS: Final = Table("defaults", {key: POLICY[key] for key in ("allow", "deny")})
"""The lists of `[defaults]` apply to the admin interface over TCP; a service has its own."""


def describe(configuration: Configuration) -> Iterator[str]:
    """Every effective value, one a line, with its file (or `default`) in a comment.

    Keys of a later version are left out. `load` of these lines gives an equal configuration.
    """
    yield from _table(DAEMON, "daemon", configuration.daemon, configuration.origins)
    yield ""
    yield from _table(ADMIN, "admin", configuration.admin, configuration.origins)
    yield ""
    yield from _table(BUS, "bus", configuration.bus, configuration.origins)
    yield ""
    yield from _table(READERS, "defaults", configuration.admin, configuration.origins)
    for service in configuration.services:
        yield ""
        yield from _service(service, configuration.origins)


def _service(service: ServiceConfig, origins: Origins) -> Iterator[str]:
    path = joined("services", service.name)
    yield from _table(SERVICE, path, service, origins)
    yield from _lines(Table("options", option_forms(service.kind)), path, service.options, origins)
    yield ""
    yield from _table(LIMITS, f"{path}.limits", service.limits, origins)
    if service.tls is not None:
        yield ""
        yield from _table(TLS, f"{path}.tls", service.tls, origins)
    if service.faults is not None:
        yield ""
        yield from _table(FAULTS, f"{path}.faults", service.faults, origins)
    if any(address.served_form.has_url_path for address in service.listen):
        yield ""
        yield from _table(WEBSOCKET, f"{path}.websocket", service.websocket, origins)


def _table(table: Table, path: str, struct: object, origins: Origins) -> Iterator[str]:
    yield f"[{path}]"
    yield from _lines(table, path, struct, origins)


def _lines(table: Table, path: str, struct: object, origins: Origins) -> Iterator[str]:
    """One line for each key of the table, with the value of the struct's field."""
    for key, form in table.keys.items():
        if isinstance(form, Table):
            continue
        value = getattr(struct, field_of(key))
        files = origins.get(joined(path, key), (DEFAULT,))
        origin = "  # " + ", ".join(escaped(str(file)) for file in files)
        if value is None:
            yield f"# {key} is not set{origin}"
        elif form.each or missing(f"{table.name}.{key}", value) is None:
            yield f"{key} = {form.toml(value)}{origin}"


def setting(service: ServiceConfig, path: str, origins: Origins) -> tuple[str, str, str]:
    """One key of a service, such as `allow` or `limits.idle`: its table, its line of TOML, and its place in the files.

    That is a file, or `default`. Raises KeyError for a key that a service does not have.
    """
    table, _, key = path.rpartition(".")
    forms, struct = (LIMITS, service.limits) if table == "limits" else (SERVICE, service)
    form = forms.keys[key]
    assert not isinstance(form, Table), f"{path} is a table"
    where = joined("services", service.name) + (f".{table}" if table else "")
    files = origins.get(joined(where, key), (DEFAULT,))
    line = f"{key} = {form.toml(getattr(struct, field_of(key)))}"
    return where, line, ", ".join(escaped(str(file)) for file in files)

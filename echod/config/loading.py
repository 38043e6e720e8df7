"""The entry point of the configuration: loads it from files, or from `--listen` alone.

Callers print each error of a ConfigurationError on its own line and exit with 78 (EX_CONFIG).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from echod.address import Address, parse
from echod.config import files, schema
from echod.config.address_conflicts import Unknown
from echod.config.building import ALLOW, Building
from echod.config.errors import ConfigurationError, LocatedError, joined
from echod.config.line_numbers import located
from echod.config.schema_check import DEFAULT, Found, Reading, Written
from echod.config.settings import Configuration
from echod.config.units import shown
from echod.config.value_types import ADDRESSES, NETWORKS
from echod.gate.access import Network
from echod.model import Service
from echod.runtime_dir import expanded

Kinds = Mapping[str, type[Service]]

VARIABLE: Final = "ECHOD_CONFIG"
LISTEN: Final = Path("--listen")
SHOW: Final = Path("--show")  #: the origin of `show` from the command line
ADMIN: Final = "unix://%t/admin.sock"
"""The admin address without a configuration: in a folder that only the user can write to."""
BUILT_IN: Final[Mapping[str, Any]] = {
    "admin": {"listen": [ADMIN]},
    "services": {
        "echo": {"listen": ["tcp://127.0.0.1:10007", "udp://127.0.0.1:10007"]},
        "upper": {"listen": ["tcp://127.0.0.1:10008", "udp://127.0.0.1:10008"]},
    },
}
"""The configuration if no file exists: any user can start it, and only this machine can connect."""


def load(
    path: Path | None,
    kinds: Kinds,
    environ: Mapping[str, str],
    *,
    allow: Sequence[str] = (),
    system: Path = files.SYSTEM,
    unknown: Unknown = lambda _: None,
) -> Configuration:
    """Read the file at `path`, otherwise the file in `$ECHOD_CONFIG`, otherwise `system` if it exists.

    Without any file, the built-in configuration is used. `allow` are networks in CIDR that are added to every service's
    `allow`. `unknown` checks endpoint strings. Raises ConfigurationError.
    """
    errors: list[LocatedError] = []
    main = _main_file(path, environ, system)
    read = [] if main is None else files.read_all(main, errors)
    layers = [(DEFAULT, BUILT_IN)] if main is None else [(file.path, file.content) for file in read]
    texts = {file.path: file.text for file in read}
    reading = Reading(kinds, errors, whole=not errors)
    try:
        found = reading.root(layers)
        building = Building(reading, found, _networks(reading, allow), unknown)
        return replace(building.configuration([file.path.absolute() for file in read]), texts=texts)
    except ConfigurationError as error:
        raise ConfigurationError(located(error.errors, texts)) from None


def with_show(configuration: Configuration, written: str | None) -> Configuration:
    """The configuration with `show` set for each service that does not set it. Raises ConfigurationError.

    None, without the option, changes nothing.
    """
    if written is None:
        return configuration
    try:
        how = schema.SHOW.accept(written)
    except ValueError as error:
        raise ConfigurationError([LocatedError(SHOW, "", str(error))]) from None
    services, origins = [], dict(configuration.origins)
    for service in configuration.services:
        if service.show is None:
            service = replace(service, show=how)
            origins[joined(joined("services", service.name), "show")] = (SHOW,)
        services.append(service)
    return replace(configuration, services=tuple(services), origins=origins)


@dataclass(frozen=True)
class Administration:
    """The part of a configuration that a client needs to find the admin interface."""

    file: Path | None  #: the file that `load` would read
    listen: tuple[Address, ...]
    group: str = ""  #: the group whose members may read


def administration(environ: Mapping[str, str], *, system: Path = files.SYSTEM) -> Administration:
    """The [admin] section of the file that `load` would read, and of its drop-ins; otherwise the built-in address.

    Errors in other sections are ignored. Raises ConfigurationError if no address could be read and `[admin]` or the
    TOML syntax has errors.
    """
    main = _main_file(None, environ, system)
    if main is None:
        return Administration(None, (parse(expanded(ADMIN)),))
    errors: list[LocatedError] = []
    read = files.read_all(main, errors)
    layers = [(file.path, {"admin": file.content["admin"]}) for file in read if "admin" in file.content]
    admin = Reading({}, errors, whole=False).root(layers).get("admin", {})
    listen, group = admin.get("listen"), admin.get("group")
    addresses = tuple(address for address in listen.value if address is not None) if listen else ()
    if errors and not addresses:
        raise ConfigurationError(located(errors, {file.path: file.text for file in read}))
    return Administration(main, addresses, group.value if group else "")


def from_listen(
    listen: Sequence[str], allow: Sequence[str], kinds: Kinds, unknown: Unknown = lambda _: None
) -> Configuration:
    """A configuration from `KIND=URL` options; each service has the name of its kind. Allows loopback and `allow`.

    Raises ConfigurationError; its errors name `--listen` or `--allow` instead of a file.
    """
    reading = Reading(kinds, [])
    services: dict[str, Found] = {}
    for text in listen:
        name, equals, url = text.partition("=")
        if not equals or "://" in name:
            reading.add_error(LISTEN, "", f"{shown(text)}: expected KIND=URL, such as echo=tcp://127.0.0.1:10007")
            continue
        address = reading.value("services.NAME.listen", ADDRESSES, [url], LISTEN, "")
        try:
            kind = Written(reading.kind(name), DEFAULT, "")
        except ValueError as error:
            reading.add_error(LISTEN, "", str(error))
            continue
        addresses = services[name]["listen"].value if name in services else ()
        addresses += address.value if address else ()
        services[name] = {"kind": kind, "listen": Written(addresses, LISTEN, "")}
    if not listen:
        reading.add_error(LISTEN, "", "expected KIND=URL, such as echo=tcp://127.0.0.1:10007")
    return Building(reading, {"services": services}, _networks(reading, allow), unknown).configuration(())


def configuration_file(environ: Mapping[str, str], *, system: Path = files.SYSTEM) -> Path | None:
    """The file that `load` would read without a path, or None."""
    return _main_file(None, environ, system)


def _main_file(path: Path | None, environ: Mapping[str, str], system: Path) -> Path | None:
    if path is not None:
        return path
    if named := environ.get(VARIABLE):
        return Path(named)
    return system if files.exists(system) else None


def _networks(reading: Reading, allow: Sequence[str]) -> tuple[Network, ...]:
    """The networks of `--allow`."""
    written = reading.value("--allow", NETWORKS, list(allow), ALLOW, "")
    return written.value if written else ()

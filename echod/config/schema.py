"""The grammar of `echod.toml`: every table, every key, the form of its value, and what is not built yet.

A key is written in kebab-case and is, in snake_case, the field of its table's struct, which holds its default.
docs/CONFIG.md describes them all; a test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Final, get_args

from echod.address import Address, parse
from echod.config import settings
from echod.config.units import shown
from echod.config.value_types import (
    ADDRESSES,
    COUNT,
    DURATION,
    FILE,
    FLAG,
    NAME,
    NETWORKS,
    PORTS,
    PROBABILITY,
    RATE,
    SIZE,
    TEXT,
    TIMEOUT,
    URL,
    Form,
    array,
    octets,
    text,
    whole,
    words,
)
from echod.gate.limits import Limits
from echod.runtime_dir import expanded

LARGEST_BUFFER: Final = 64 << 20
"""Bytes. Each read asks for the memory of a whole buffer, and never brings more than the kernel holds: 32 MiB at most
where nobody has raised Linux's own limit (tcp_rmem)."""
MOST_WORKERS: Final = 1024  #: more than the CPUs of any machine this runs on


@dataclass(frozen=True)
class Table:
    """One table of TOML: the forms of its keys, and the tables in it."""

    name: str  #: as the page calls it; NAME stands for any name
    keys: Mapping[str, Form | Table]
    struct: type | None = None  #: the dataclass whose fields hold the defaults


def field_of(key: str) -> str:
    """The name that a key has in its struct."""
    return key.replace("-", "_")


def key_of(field: str) -> str:
    """The key of a field of a struct."""
    return field.replace("_", "-")


def default(table: Table, key: str) -> Any:
    """The default of a key; None is none."""
    of_fields = {field.name: field.default for field in fields(table.struct)} if table.struct else {}
    value = of_fields.get(field_of(key))
    return None if value is MISSING else value


_WORKERS: Final = whole(1, MOST_WORKERS)
_AUTO: Final = words("auto")


def _workers(value: Any) -> Any:
    try:
        return value if value == "auto" else _WORKERS.accept(value)
    except ValueError:
        raise ValueError(f"must be {WORKERS.right}") from None


WORKERS: Final = Form(f'{_WORKERS.right}, or "auto"', _workers, _AUTO.toml)

DAEMON: Final = Table(
    "daemon",
    {
        "workers": WORKERS,
        "drain": DURATION,
        "plane": words(*get_args(settings.Plane)),
        "log-format": words(*get_args(settings.LogFormat)),
        "log-level": words(*get_args(settings.LogLevel)),
        "landlock": FLAG,
    },
    settings.Daemon,
)


def _admin_address(written: str) -> Address:
    address = parse(expanded(written))
    if not address.form.is_bare:
        raise ValueError(f"{shown(written)}: the admin interface is served on unix:// and tcp:// only")
    return address


_ADMIN_RIGHT: Final = 'an address such as "unix://%t/admin.sock"'


def _host_name(written: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?", written):
        raise ValueError(f'{shown(written)}: must be the name of a host without a port, such as "echo.example"')
    return written.lower()


ADMIN: Final = Table(
    "admin",
    {
        "listen": array(text(_ADMIN_RIGHT, _admin_address), "addresses"),
        "hosts": array(text('a name such as "echo.example"', _host_name), 'names such as ["echo.example"]'),
        "group": TEXT,
    },
    settings.Admin,
)

LIMITS: Final = Table(
    "limits",
    {
        "connections": COUNT,
        "per-client": COUNT,
        "new-per-client": RATE,
        "rate": RATE,
        "idle": DURATION,
        "stall": TIMEOUT,
        "handshake": TIMEOUT,
        "buffer": octets(LARGEST_BUFFER),
        "total-buffer": SIZE,
        "message": SIZE,
    },
    Limits,
)

POLICY: Final[Mapping[str, Form]] = {
    "allow": NETWORKS,
    "deny": NETWORKS,
    "proxy-from": NETWORKS,
    "larger-answers-to": NETWORKS,
    "allow-source-ports": PORTS,
}
"""What `[defaults]` sets for every service, and each service for itself."""

DEFAULTS: Final = Table("defaults", {**POLICY, "limits": LIMITS}, settings.ServiceConfig)

FAULTS: Final = Table(
    "services.NAME.faults",
    {
        "seed": whole(0, 2**63 - 1),
        "delay": DURATION,
        "jitter": DURATION,
        "rate": SIZE,
        "chunk": SIZE,
        "drop": PROBABILITY,
        "duplicate": PROBABILITY,
        "reorder": PROBABILITY,
        "corrupt": PROBABILITY,
        "truncate": SIZE,
        "reset-after": SIZE,
        "close-after": SIZE,
        "half-close-after": SIZE,
        "hang-after": SIZE,
        "refuse": FLAG,
        "silent": FLAG,
    },
)

TLS: Final = Table(
    "services.NAME.tls",
    {
        "certificate": NAME,
        "key": FILE,
        "directory": FILE,
        "client-ca": FILE,
        "client": words("required", "optional"),
        "profile": words("intermediate", "modern"),
        "alpn": array(NAME, 'names of protocols such as ["echo"]'),
    },
)

KIND_RIGHT: Final = 'the name of a kind, such as "echo"'

SERVICE: Final = Table(
    "services.NAME",
    {
        "kind": text(KIND_RIGHT, str, lambda kind: str(kind.kind)),
        "listen": ADDRESSES,
        **POLICY,
        "limits": LIMITS,
        "faults": FAULTS,
        "tls": TLS,
    },
    settings.ServiceConfig,
)
"""What every service has; the options of its kind are keys of the same table."""

BUS: Final = Table("bus", {"url": URL})

SERVICES: Final = Table("services", {})
"""Its keys are the names of services, each of them a table like SERVICE."""

ROOT: Final = Table("", {"daemon": DAEMON, "admin": ADMIN, "defaults": DEFAULTS, "services": SERVICES, "bus": BUS})


Missing = Callable[[Any], str | None]
"""What of a value, or of one element of an array, is not built yet: its name, "" for the key itself, or None."""


def _all(_value: Any) -> str:
    return ""


def _scheme(address: Address) -> str | None:
    return None if address.form.available or address.is_passed else f"{address.scheme}://"


NOT_YET: Final[tuple[tuple[str, Missing], ...]] = (
    ("admin.listen", lambda address: "?proxy=" if "proxy" in address.options else None),
    ("bus", _all),
    ("daemon.workers", lambda workers: None if workers == 1 else f"workers = {_AUTO.toml(workers)}"),
    ("defaults.proxy-from", _all),
    ("limits.handshake", _all),
    ("services.NAME.faults", _all),
    ("services.NAME.listen", _scheme),
    ("services.NAME.listen", lambda address: "?proxy=" if "proxy" in address.options else None),
    ("services.NAME.proxy-from", _all),
    ("services.NAME.tls", _all),
)
"""All that the schema knows and this version does not do; what is built loses its line here."""


def missing(name: str, value: Any) -> str | None:
    """What of this value is not built yet, by the name of its table and key: its name, "" for the key, or None."""
    return next((said for key, of in NOT_YET if key == name and (said := of(value)) is not None), None)

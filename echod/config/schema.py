"""The schema of `echod.toml`: every table and key, the form of each value, and the keys of later versions.

A key is written in kebab-case; in snake_case it is a field of its table's struct, which has the default.
docs/CONFIG.md describes all keys, and a test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
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
    NETWORKS,
    PORTS,
    RATE,
    SIZE,
    TEXT,
    TIMEOUT,
    URL,
    Form,
    array,
    called,
    host_name,
    path,
    sized,
    text,
    whole,
    words,
)
from echod.faults.keys import KEYS
from echod.gate.limits import Limits
from echod.model import Show
from echod.runtime_dir import expanded
from echod.tls.profiles import Profile

LARGEST_BUFFER: Final = 64 << 20
"""Bytes: the maximum of `buffer`. Each read allocates a whole buffer, but returns at most what the kernel holds: 32 MiB
with the default of Linux (tcp_rmem)."""
MOST_WORKERS: Final = 1024  #: more than the CPUs of any machine


@dataclass(frozen=True)
class Table:
    """One table of TOML: the forms of its keys, and its tables."""

    name: str  #: as in docs/CONFIG.md; NAME stands for any name
    keys: Mapping[str, Form | Table]
    struct: type | None = None  #: the dataclass whose fields hold the defaults


def field_of(key: str) -> str:
    """The name of a key's field."""
    return key.replace("-", "_")


def key_of(field: str) -> str:
    """The key of a field of a struct."""
    return field.replace("_", "-")


def default(table: Table, key: str) -> Any:
    """The default of a key, or None if it has none."""
    of_fields = {field.name: field.default for field in fields(table.struct)} if table.struct else {}
    value = of_fields.get(field_of(key))
    return None if value is MISSING else value


_WORKERS: Final = whole(1, MOST_WORKERS)
_AUTO: Final = words("auto")


def _workers(value: Any) -> Any:
    try:
        return value if value == "auto" else _WORKERS.accept(value)
    except ValueError:
        raise ValueError(f"must be {WORKERS.right}; not {called(value)}") from None


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


ADMIN: Final = Table(
    "admin",
    {
        "listen": array(text(_ADMIN_RIGHT, _admin_address), "addresses"),
        "hosts": array(text('a name such as "echo.example"', host_name), 'names such as ["echo.example"]'),
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
        "buffer": sized(LARGEST_BUFFER),
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
"""The keys that `[defaults]` sets for all services, and that each service can override."""

DEFAULTS: Final = Table("defaults", {**POLICY, "limits": LIMITS}, settings.ServiceConfig)

FAULTS: Final = Table("services.NAME.faults", {key: known.form for key, known in KEYS.items()})

WRONG_CERTIFICATES: Final = (
    *("expired", "not-yet-valid", "wrong-host", "untrusted", "revoked", "weak-key"),
    *("incomplete-chain", "reversed-chain", "wrong-purpose", "many-names", "huge-chain"),
)
"""Certificates that are wrong on purpose, for tests of clients."""


def _certificate(written: str) -> Path | str:
    return written if written in (settings.SELF_SIGNED, *WRONG_CERTIFICATES) else path(written)


def _protocol(written: str) -> str:
    if not written or len(written.encode()) > 255:  # RFC 7301 3.1
        raise ValueError(f"{shown(written)} must be the name of a protocol, of 1 to 255 bytes")
    return written


def _http_url(written: str) -> str:
    if not re.fullmatch(r"http://[A-Za-z0-9.:\[\]_-]{1,255}(/[!-~]{0,255})?", written):
        raise ValueError(f'{shown(written)} must be a URL such as "http://127.0.0.1:10081"')
    return written.rstrip("/")


TLS: Final = Table(
    "services.NAME.tls",
    {
        "certificate": text('the path of a file, or "self-signed"', _certificate),
        "key": FILE,
        "directory": FILE,
        "client-ca": FILE,
        "client": words(*get_args(settings.ClientCertificate)),
        "profile": words(*get_args(Profile)),
        "alpn": array(text('the name of a protocol such as "echo"', _protocol), 'names of protocols such as ["echo"]'),
        "test-ca": FILE,
        "test-ca-key": FILE,
        "revocation-url": text('the URL of a revocation service, such as "http://127.0.0.1:10081"', _http_url),
    },
    settings.TlsSettings,
)


def _origin(written: str) -> str:
    if written not in ("*", "null") and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\\s\"'<>]+", written):
        raise ValueError(f'{shown(written)} must be an origin such as "https://page.example", without a path')
    return written


def _token(written: str) -> str:
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", written):
        raise ValueError(f'{shown(written)} must be the name of a subprotocol, such as "echo.v1"')
    return written


WEBSOCKET: Final = Table(
    "services.NAME.websocket",
    {
        "origins": array(text('an origin such as "https://page.example"', _origin), 'origins such as ["*"]'),
        "hosts": array(text('a name such as "echo.example"', host_name), 'names such as ["echo.example"]'),
        "compression": words("off", "on"),
        "subprotocols": array(text('a name such as "echo.v1"', _token), 'names such as ["echo.v1"]'),
        "page": FLAG,
    },
    settings.WebSocketSettings,
)

SHOW: Final = words(*get_args(Show))

KIND_RIGHT: Final = 'the name of a kind, such as "echo"'

SERVICE: Final = Table(
    "services.NAME",
    {
        "kind": text(KIND_RIGHT, str, lambda kind: str(kind.kind)),
        "listen": ADDRESSES,
        "show": SHOW,
        "record": SIZE,
        **POLICY,
        "limits": LIMITS,
        "faults": FAULTS,
        "tls": TLS,
        "websocket": WEBSOCKET,
    },
    settings.ServiceConfig,
)
"""The keys of every service; the options of its kind are in the same table."""

BUS: Final = Table("bus", {"url": URL, "ca": FILE}, settings.Bus)

SERVICES: Final = Table("services", {})
"""Its keys are names of services, each with a table like SERVICE."""

ROOT: Final = Table("", {"daemon": DAEMON, "admin": ADMIN, "defaults": DEFAULTS, "services": SERVICES, "bus": BUS})


Unavailable = Callable[[Any], str | None]
"""The part of a value, or of an array element, that is not implemented yet: "" for the whole key, None for nothing."""


NOT_YET: Final[tuple[tuple[str, Unavailable], ...]] = (
    ("admin.listen", lambda address: "?proxy=" if "proxy" in address.options else None),
)
"""The keys of the schema that this version does not implement yet."""


def missing(name: str, value: Any) -> str | None:
    """The part of a value that is not implemented yet, given `TABLE.KEY`: "" for the whole key, None for nothing."""
    return next((part for key, of in NOT_YET if key == name and (part := of(value)) is not None), None)

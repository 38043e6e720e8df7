"""The configuration of a daemon for tests: TOML from addresses and settings, in a directory of its own."""

from __future__ import annotations

import contextlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from echod.transports.registry import SCHEMES

ADMIN: Final = "unix://%t/admin.sock"
DRAIN: Final = "100ms"  #: of a stop: with the default, a client that does not close delays it by six seconds
SELF_SIGNED: Final = {"certificate": "self-signed"}

Tables = dict[str, Any]


class ConfigurationFiles:
    """`echod.toml` in a directory, and `conf.d/testing.toml` with what tests need besides.

    `listen` are KIND=URL, or `config` is the text of the file. `settings` are keys of every service. `record` is the
    key of services that do not set it; None records nothing. With `admin`, an admin socket is added.
    Raises ValueError for an address that is not KIND=URL.
    """

    def __init__(
        self,
        directory: Path,
        listen: Sequence[str],
        config: str | None,
        settings: Mapping[str, Any],
        record: str | None,
        *,
        admin: bool = True,
    ) -> None:
        if bool(listen) == (config is not None):
            raise ValueError("expected addresses such as echo=tcp://127.0.0.1:0, or config, and not both")
        self.file = directory / "echod.toml"
        self._added = directory / "conf.d" / "testing.toml"
        text = config if config is not None else to_toml({"services": services_of(listen)})
        self._text = text.replace("{dir}", str(directory))
        self._written: Tables = {}  # what the text has, if it is TOML: echod reports what is wrong
        with contextlib.suppress(ValueError, RecursionError):  # see why_not_toml
            self._written = tomllib.loads(self._text)
        self.settings = dict(settings)  #: of every service
        self.of_one: dict[str, Tables] = {}  #: of one service, by its name
        self._record = record
        self._admin = admin

    def write(self) -> None:
        """Write the files. Raises OSError."""
        self.file.write_text(self._text, "utf-8")
        self._added.parent.mkdir(exist_ok=True)
        self._added.write_text(to_toml(self._additions()), "utf-8")

    @property
    def names(self) -> list[str]:
        """The names of the services."""
        return list(_table(self._written, "services"))

    def fix_ports(self, urls: Mapping[str, Sequence[str]]) -> None:
        """Replace port 0 by the ports of these URLs, by the name of the service, in the order of its addresses."""
        for name, service in _table(self._written, "services").items():
            listen = service.get("listen", []) if isinstance(service, dict) else []
            found = urls.get(name, ())
            if len(found) == len(listen):
                fixed = [_with_port(text, url) for text, url in zip(listen, found, strict=True)]
                self.of_one.setdefault(name, {})["listen"] = fixed

    def _additions(self) -> Tables:
        added: Tables = {}
        if self._admin and "admin" not in self._written:
            added["admin"] = {"listen": [ADMIN]}
        if "drain" not in _table(self._written, "daemon"):
            added["daemon"] = {"drain": DRAIN}
        services: Tables = {}
        for name in self.names:
            service = _table(_table(self._written, "services"), name)
            keys: Tables = {**self.settings, **self.of_one.get(name, {})}
            if self._record is not None:  # else it may use the fast path, which has no faults
                keys.setdefault("faults", {})
                if "record" not in service:
                    keys.setdefault("record", self._record)
            services[name] = keys
        return {**added, "services": services}


def services_of(listen: Sequence[str]) -> Tables:
    """The table of services for addresses, each with the name of its kind. Raises ValueError."""
    services: Tables = {}
    for text in listen:
        kind, equals, url = text.partition("=")
        if not equals or "://" in kind:
            raise ValueError(f"{text!r} is not KIND=URL; expected an address such as echo=tcp://127.0.0.1:0")
        service = services.setdefault(kind, {"listen": []})
        service["listen"].append(url)
        scheme = SCHEMES.get(url.partition(":")[0])
        if scheme is not None and scheme.is_encrypted:
            service["tls"] = SELF_SIGNED
    return services


def to_toml(table: Mapping[str, Any]) -> str:
    """A table as TOML: each of its keys on one line."""
    return "".join(f"{_text(key)} = {_value(value)}\n" for key, value in table.items())


def _value(value: Any) -> str:
    """A value as TOML. Raises TypeError for a type that TOML does not have."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(str(key))} = {_value(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str | Path):
        return _text(str(value))
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise TypeError(f"{value!r} is not a value of the configuration")


def _text(value: str) -> str:
    """A basic string of TOML. JSON has the same escapes, and does not escape DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _table(table: Tables, key: str) -> Tables:
    """A table within a table; empty if there is none."""
    value = table.get(key)
    return value if isinstance(value, dict) else {}


def _with_port(text: str, url: str) -> str:
    port = re.search(r":(\d+)(?=[/?]|$)", url)
    return re.sub(r":0(?=[/?]|$)", f":{port[1]}", text, count=1) if port else text

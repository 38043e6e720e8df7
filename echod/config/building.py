"""Builds a `Configuration` from the values read: fills in defaults, and checks rules that concern several keys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from echod.config.address_conflicts import AddressConflicts, Unknown
from echod.config.errors import ConfigurationError, element, joined
from echod.config.fault_settings import faults_of
from echod.config.kind_transports import refusal_of
from echod.config.schema import ADMIN, BUS, DAEMON, FAULTS, LIMITS, POLICY, SERVICE, TLS, WEBSOCKET, field_of, key_of
from echod.config.schema_check import DEFAULT, Found, Reading, Written
from echod.config.settings import (
    LOOPBACK,
    Admin,
    Bus,
    Configuration,
    Daemon,
    ServiceConfig,
    TlsSettings,
    WebSocketSettings,
)
from echod.config.tls_settings import TlsBuilding
from echod.faults.settings import Faults
from echod.gate.access import Network
from echod.gate.limits import Limits
from echod.model import Service

ALLOW: Final = Path("--allow")  #: the origin of networks from the command line


class Building:
    """Builds one configuration from the values that a `Reading` found. `also` is added to every `allow`."""

    def __init__(
        self, reading: Reading, found: Found, also: tuple[Network, ...] = (), unknown: Unknown = lambda _: None
    ) -> None:
        self._reading = reading
        self._found = found
        self._defaults: Found = found.get("defaults", {})
        self._also = also
        self._origins: dict[str, tuple[Path, ...]] = {}
        self._addresses = AddressConflicts(reading, unknown)

    def configuration(self, sources: Iterable[Path]) -> Configuration:
        """The configuration. Raises ConfigurationError with every error, including those of the reading."""
        daemon = Daemon(**self._fields("daemon", DAEMON.keys, [self._found.get("daemon", {})]))
        services = [self._service(name, found) for name, found in self._found.get("services", {}).items()]
        admin = self._admin(self._found.get("admin", {}))
        bus = self._bus(self._found.get("bus", {}))
        self._check_shared_ports([service for service in services if service is not None])
        if self._reading.errors:
            raise ConfigurationError(self._reading.errors)
        built = tuple(service for service in services if service is not None)
        return Configuration(daemon, built, admin, bus, tuple(sources), self._origins)

    def _check_shared_ports(self, services: Iterable[ServiceConfig]) -> None:
        """Check that services of one port agree on what applies before the path of a client is known."""
        first: dict[tuple[str, int], ServiceConfig] = {}
        for service in services:
            for address in service.listen:
                if address is None or not address.form.has_url_path or address.any_port:
                    continue
                other = first.setdefault((address.host, address.port), service)
                for key in (
                    "proxy-from",
                    "limits.handshake",
                    *(["tls", "faults.tls"] if address.form.is_encrypted else []),
                ):
                    if _value(service, key) != _value(other, key):
                        ours, theirs = (f"{joined('services', one.name)}.{key}" for one in (service, other))
                        [file, *_] = next(one for at, one in self._origins.items() if at.startswith((ours, theirs)))
                        text = f"{address.label} shares its port with {other.name}; expected the value of {theirs}"
                        self._reading.add_error(file, ours, text)

    def _fields(self, path: str, keys: Iterable[str], tables: Iterable[Found]) -> dict[str, Any]:
        """The fields that are set in these tables; for each key, the first table that has it counts."""
        fields: dict[str, Any] = {}
        for key in keys:
            for table in tables:
                if isinstance(written := table.get(key), Written):
                    fields[field_of(key)] = written.value
                    self._origins[joined(path, key)] = (written.file,)
                    break
        return fields

    def _admin(self, found: Found) -> Admin:
        """The admin interface. Over TCP, `allow` and `deny` of `[defaults]` apply."""
        if listen := found.get("listen"):
            self._addresses.check(listen)
        self._check_admin(found)
        lists = self._fields("defaults", ("allow", "deny"), [self._defaults])
        if self._also:
            self._origins["defaults.allow"] = (*self._origins.get("defaults.allow", (DEFAULT,)), ALLOW)
        allow = tuple(dict.fromkeys(lists.get("allow", LOOPBACK) + self._also))
        return Admin(**self._fields("admin", ADMIN.keys, [found]), allow=allow, deny=lists.get("deny", ()))

    def _check_admin(self, found: Found) -> None:
        """Check that the other keys of `[admin]` have a `listen`. An empty one disables the interface on purpose."""
        listen_is_wrong = any(error.path == "admin.listen" for error in self._reading.errors)
        if "listen" in found or listen_is_wrong or not self._reading.whole:
            return
        for key, example in (("hosts", "tcp://127.0.0.1:10090"), ("group", "unix://%t/admin.sock")):
            if (written := found.get(key)) and written.value:
                text = f'has no effect without listen; expected one such as listen = ["{example}"], or no {key}'
                self._reading.add_error(written.file, written.path, text)

    def _bus(self, found: Found) -> Bus:
        """The bus. `ca` has an effect only over TLS."""
        bus = Bus(**self._fields("bus", BUS.keys, [found]))
        url_is_wrong = any(error.path == "bus.url" for error in self._reading.errors)
        if (ca := found.get("ca")) and not url_is_wrong and (bus.url is None or not bus.url.tls):
            text = "has no effect without TLS; expected a url such as rediss://127.0.0.1:6379/0, or no ca"
            self._reading.add_error(ca.file, ca.path, text)
        return bus

    def _service(self, name: str, found: Found) -> ServiceConfig | None:
        """One service, or None if its kind or addresses are wrong."""
        path = joined("services", name)
        kind, listen = found.get("kind"), found.get("listen")
        if listen:
            self._addresses.check(listen)
        if not (kind and listen):
            return None
        self._check_carriage(kind.value, listen)
        both = (found, self._defaults)
        tables = [table.get("limits", {}) for table in both]
        limits = self._fields(f"{path}.limits", LIMITS.keys, tables)
        service = ServiceConfig(
            name,
            options=self._options(path, kind.value, listen.file, found),
            **self._fields(path, ("kind", "listen", "show", "record"), [found]),
            **self._fields(path, POLICY, both),
            tls=self._tls(joined(path, "tls"), listen, found.get("tls")),
            limits=Limits(**limits),
            faults=self._faults(joined(path, "faults"), listen, found.get("faults")),
            websocket=WebSocketSettings(
                **self._fields(f"{path}.websocket", WEBSOCKET.keys, [found.get("websocket", {})])
            ),
            written_limits={field_of(key): table[key].path for table in reversed(tables) for key in table},
        )
        self._check_proxies(service, listen, found.get("proxy-from"))
        self._check_websocket(joined(path, "websocket"), listen, found.get("websocket", {}))
        if not self._also:
            return service
        key = joined(path, "allow")
        self._origins[key] = (*self._origins.get(key, (DEFAULT,)), ALLOW)
        return replace(service, allow=tuple(dict.fromkeys(service.allow + self._also)))

    def _tls(self, path: str, listen: Written, found: Found | None) -> TlsSettings | None:
        fields = self._fields(path, TLS.keys, [found or {}])
        return TlsBuilding(self._reading, path, listen).settings(found, fields)

    def _faults(self, path: str, listen: Written, found: Found | None) -> Faults | None:
        if found is None:
            return None
        return faults_of(self._reading, path, found, self._fields(path, FAULTS.keys, [found]), listen)

    def _check_proxies(self, service: ServiceConfig, listen: Written, proxy_from: Written | None) -> None:
        """Check that `proxy` of an address and `proxy-from` are both there, or neither."""
        expected = [address is not None and "proxy" in address.options for address in listen.value]
        if not any(expected) and proxy_from is not None and proxy_from.value:
            text = "no address of the service has ?proxy=; add it, such as tcp://*:7?proxy=any, or leave out this key"
            self._reading.add_error(proxy_from.file, proxy_from.path, text)
        for index in [at for at, is_expected in enumerate(expected) if is_expected]:
            address, path = listen.value[index], element(listen.path, index)
            if not service.proxy_from:
                text = 'needs proxy-from, the networks of the proxies, such as proxy-from = ["127.0.0.1"]'
                self._reading.add_error(listen.file, path, f"{address}: ?proxy= {text}")

    def _check_websocket(self, path: str, listen: Written, found: Found) -> None:
        """Check that an address uses the settings of `found`, if it has any."""
        written = next((one for one in found.values() if isinstance(one, Written)), None)
        if written and not any(one is None or "websocket" in one.served_form.layers for one in listen.value):
            text = "no address of the service uses WebSocket; expected one such as ws://*:8007/echo"
            self._reading.add_error(written.file, path, text)

    def _options(self, path: str, kind: type[Service], file: Path, found: Found) -> Any:
        """The options of a service. Errors that its kind finds are recorded for the key, or for the service."""
        keys = {field_of(key): key for key in found if key not in SERVICE.keys}
        try:
            options = kind.Options(**self._fields(path, keys.values(), [found]))
        except (TypeError, ValueError) as error:
            self._reading.add_error(file, path, str(error))
            return None
        try:
            errors = tuple(kind.configuration_errors(options))
        except Exception as error:  # code of another package
            errors = (("", f"kind {kind.kind} cannot check its options: {type(error).__name__}: {error}"),)
        for name, text in errors:
            written = found.get(keys.get(name, ""))
            self._reading.add_error(
                written.file if written else file, joined(path, key_of(name)) if name else path, text
            )
        return options

    def _check_carriage(self, kind: type[Service], listen: Written) -> None:
        """Check that the kind supports the transport of each address. Inherited sockets are checked at the start."""
        for index, address in enumerate(listen.value):
            if address is not None and (why := refusal_of(kind, address)):
                self._reading.add_error(listen.file, element(listen.path, index), f"{address.label}: {why}")


def _value(service: ServiceConfig, key: str) -> Any:
    """The value of a key of a service, such as `limits.handshake`."""
    value: Any = service
    for name in key.split("."):
        value = getattr(value, field_of(name), None)  # without faults
    return replace(value, fingerprints=()) if isinstance(value, TlsSettings) else value

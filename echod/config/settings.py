"""The dataclasses of a configuration that has been read. They are frozen and comparable.

The origins of values (`sources`, `origins`, `written_limits`) are left out of comparisons. Otherwise a reload of a
file that was only moved would restart its services.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from echod.address import Address
from echod.config.bus_url import BusUrl
from echod.faults.settings import Faults
from echod.gate.access import Network
from echod.gate.limits import Auto, Limits
from echod.model import Service, Show
from echod.tls.profiles import Profile

if TYPE_CHECKING:
    from echod.tls.server import ServerContexts

Plane = Literal["auto", "python", "off"]
ClientCertificate = Literal["required", "optional"]
LogFormat = Literal["auto", "text", "json", "journal"]
LogLevel = Literal["debug", "info", "warn", "error", "critical"]

SELF_SIGNED: Final = "self-signed"  #: the certificate that is made at the start

LOOPBACK: Final[tuple[Network, ...]] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
"""The default of `allow`: this machine only."""


@dataclass(frozen=True)
class Daemon:
    """Settings of the whole process."""

    workers: int | Auto = 1  #: processes that share every address; "auto" is one for each usable CPU
    drain: float = 10.0  #: seconds that a stop or a reload waits for open connections
    plane: Plane = "auto"  #: "off" disables the fast path, "python" its native loop
    log_format: LogFormat = "auto"  #: "auto" is journal under systemd, text otherwise
    log_level: LogLevel = "info"
    landlock: bool = False  #: whether the kernel restricts the process to the files and ports of its start


@dataclass(frozen=True)
class Admin:
    """The admin interface; without addresses it is disabled."""

    listen: tuple[Address, ...] = ()
    hosts: tuple[str, ...] = ()  #: host names accepted over TCP in addition to localhost
    group: str = ""  #: the name or number of the group whose members may read; "" for none
    gid: int | None = None  #: the number of `group`, after name resolution
    allow: tuple[Network, ...] = LOOPBACK  #: clients that may read over TCP, from `[defaults]`
    deny: tuple[Network, ...] = ()  #: clients that may not


@dataclass(frozen=True)
class Bus:
    """The broker that connects daemons; without a URL this daemon is alone."""

    url: BusUrl | None = None
    ca: Path | None = None  #: certificates that are trusted for `rediss://`, in PEM; None for those of the system


@dataclass(frozen=True)
class TlsSettings:
    """TLS of one service: `[services.NAME.tls]`."""

    certificate: Path | str | None = None
    """A file, SELF_SIGNED, or a word for a certificate that is wrong on purpose; None if `directory` has all."""
    key: Path | None = None  #: the file of the key; None if it is in the file of the certificate
    directory: Path | None = None  #: certificates that are chosen by the name that the client asks for
    client_ca: Path | None = None  #: the authorities of clients' certificates; None asks for none
    client: ClientCertificate = "required"  #: whether clients need a certificate, with `client_ca`
    profile: Profile = "intermediate"
    alpn: tuple[str, ...] = ()  #: the protocols of the service, the preferred one first
    test_ca: Path | None = None  #: the authority that signs a wrong certificate; None is one of this process
    test_ca_key: Path | None = None  #: its key; None if it is in the file of `test_ca`
    revocation_url: str | None = None  #: where clients can ask about a revoked certificate
    fingerprints: tuple[str, ...] = ()  #: of the certificates that were read: a renewal is a change
    contexts: ServerContexts | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class WebSocketSettings:
    """WebSocket of one service: `[services.NAME.websocket]`."""

    origins: tuple[str, ...] = ()  #: origins of pages that may connect, besides that of the port itself; "*" is any
    hosts: tuple[str, ...] = ()  #: names that Host may have if a page connects, besides IP addresses and localhost
    compression: Literal["off", "on"] = "off"  #: whether permessage-deflate is accepted
    subprotocols: tuple[str, ...] = ()  #: the subprotocols of the service, the preferred one first
    page: bool = True  #: whether a browser that opens the path gets a page


@dataclass(frozen=True)
class ServiceConfig:
    """One service: its kind, options, addresses, access lists and limits."""

    name: str
    kind: type[Service]
    options: Any  #: an instance of `kind.Options`
    listen: tuple[Address, ...]
    allow: tuple[Network, ...] = LOOPBACK
    deny: tuple[Network, ...] = ()
    proxy_from: tuple[Network, ...] = ()  #: peers whose PROXY headers are trusted
    larger_answers_to: tuple[Network, ...] = LOOPBACK  #: clients that may get a datagram larger than the request
    allow_source_ports: tuple[int, ...] = ()  #: exceptions to the loop guard
    limits: Limits = field(default_factory=Limits)
    show: Show | None = None  #: whether messages of clients are printed; None is the default of the kind
    record: int | None = None  #: bytes of clients' messages to keep for the admin interface; None keeps none
    tls: TlsSettings | None = None  #: set if an address uses TLS
    websocket: WebSocketSettings = WebSocketSettings()
    faults: Faults | None = None  #: the faults that are injected; None without a table of them
    written_limits: Mapping[str, str] = field(default_factory=dict, compare=False)
    """The configured fields of `limits`, each with the path of its key in the service or in `[defaults]`. A configured
    limit that cannot be met is an error; a default is reduced."""


@dataclass(frozen=True)
class Configuration:
    """The whole configuration."""

    daemon: Daemon
    services: tuple[ServiceConfig, ...]  #: in the order of the files
    admin: Admin = field(default_factory=Admin)
    bus: Bus = field(default_factory=Bus)
    sources: tuple[Path, ...] = field(default=(), compare=False)  #: the files that were read, in order
    origins: Mapping[str, tuple[Path, ...]] = field(default_factory=dict, compare=False)
    """The origin of each configured key, such as `services.echo.limits.idle`: files, `--listen` or `--allow`. Keys
    that are not in it have their defaults."""
    texts: Mapping[Path, str] = field(default_factory=dict, compare=False, repr=False)
    """The text of each file, so that later errors can name the line."""

"""What a configuration is once it has been read: frozen structs, equal where they ask for the same.

Where a value came from is no part of what it is: `sources`, `origins` and `written_limits` do not count when
two configurations are compared, or every reload of a file that only moved would restart its services.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Final, Literal

from echod.address import Address
from echod.gate.access import Network
from echod.gate.limits import Auto, Limits
from echod.model import Service

Plane = Literal["auto", "off"]
LogFormat = Literal["auto", "text", "json", "journal"]
LogLevel = Literal["debug", "info", "warn", "error", "critical"]

LOOPBACK: Final[tuple[Network, ...]] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
"""Who is let in until somebody says otherwise: this machine only."""


@dataclass(frozen=True)
class Daemon:
    """The process as a whole."""

    workers: int | Auto = 1  #: processes that share every address; "auto" is one a usable CPU
    drain: float = 10.0  #: seconds that a stop or a reload waits for open connections
    plane: Plane = "auto"  #: "off" carries every byte the plain Twisted way
    log_format: LogFormat = "auto"  #: "auto" is journal under systemd, text otherwise
    log_level: LogLevel = "info"
    landlock: bool = False  #: whether the kernel keeps the process to the files and ports of its start


@dataclass(frozen=True)
class Admin:
    """The administrator's interface; without an address nothing opens."""

    listen: tuple[Address, ...] = ()
    hosts: tuple[str, ...] = ()  #: names by which the interface may be asked over TCP, besides localhost
    group: str = ""  #: the name or number of the group whose members may read; "" is none
    gid: int | None = None  #: its number, once it has been looked up
    allow: tuple[Network, ...] = LOOPBACK  #: who may read over TCP: those of `[defaults]`
    deny: tuple[Network, ...] = ()  #: and who may not


@dataclass(frozen=True)
class ServiceConfig:
    """One service: what it answers, where it listens, who may ask, and how much."""

    name: str
    kind: type[Service]
    options: Any  #: an instance of `kind.Options`
    listen: tuple[Address, ...]
    allow: tuple[Network, ...] = LOOPBACK
    deny: tuple[Network, ...] = ()
    proxy_from: tuple[Network, ...] = ()  #: whose PROXY headers are believed
    larger_answers_to: tuple[Network, ...] = LOOPBACK  #: who may get a datagram larger than the question
    allow_source_ports: tuple[int, ...] = ()  #: exceptions to the loop guard
    limits: Limits = field(default_factory=Limits)
    written_limits: Mapping[str, str] = field(default_factory=dict, compare=False)
    """The fields of `limits` that somebody wrote, and the key that holds each, of the service or of `[defaults]`: what
    is written and cannot be met is an error, where a default shrinks."""


@dataclass(frozen=True)
class Configuration:
    """All there is to serve."""

    daemon: Daemon
    services: tuple[ServiceConfig, ...]  #: in the order in which the files name them
    admin: Admin = field(default_factory=Admin)
    sources: tuple[Path, ...] = field(default=(), compare=False)  #: the files that were read, in their order
    origins: Mapping[str, tuple[Path, ...]] = field(default_factory=dict, compare=False)
    """The path of each key that somebody wrote, such as `services.echo.limits.idle`, and where: a file, or
    `--listen` and `--allow`. A key that is not here has its default."""
    texts: Mapping[Path, str] = field(default_factory=dict, compare=False, repr=False)
    """What each file held, so that an error that is found later can name the line."""

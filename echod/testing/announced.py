"""The listeners that a daemon announces, and their addresses for a socket."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from echod.transports.registry import EVERY_FORM


@dataclass(frozen=True)
class Listener:
    """One address that the daemon serves."""

    service: str  #: the name of its service
    kind: str
    url: str  #: with the actual port
    names: tuple[str, ...] = ()  #: of its certificate
    sha256: str = ""  #: the fingerprint of its certificate
    ca: str = ""  #: the certificate to trust, as PEM, if echod made it

    @property
    def scheme(self) -> str:
        """The scheme of the URL."""
        return self.url.partition(":")[0]

    @property
    def is_path(self) -> bool:
        """Whether it is a Unix socket, which has a path and no host."""
        return EVERY_FORM[self.scheme].has_path

    @property
    def path(self) -> str:
        """The path of a Unix socket, or its abstract name after a NUL. Raises LookupError for another one."""
        if not self.is_path:
            raise LookupError(f"{self.url} is not a Unix socket; expected .address")
        path = unquote(self.url.partition("://")[2], errors="surrogateescape")
        return "\0" + path[1:] if path.startswith("@") else path

    @property
    def address(self) -> tuple[str, int]:
        """Host and port; for every interface, the loopback address. Raises LookupError for a Unix socket."""
        if self.is_path:
            raise LookupError(f"{self.url} has no host and port; expected .path")
        return inet_of(self.url)


LONGEST: Final = 60  #: bytes of the folder of temporary files: the path of a Unix socket has at most 107 (unix(7))


class Served:
    """A daemon with its listeners. `dir` is its private directory, for its configuration, sockets and files."""

    def __init__(self) -> None:
        where = tempfile.gettempdir()
        if len(os.fsencode(where)) > LONGEST:
            where = "/tmp"
        self.dir = Path(tempfile.mkdtemp(prefix="echod-", dir=where)).resolve()
        self._remove_dir = weakref.finalize(self, shutil.rmtree, self.dir, ignore_errors=True)
        self.listeners: tuple[Listener, ...] = ()  #: without the admin interface

    def listener(self, service: str | None = None, scheme: str | None = None) -> Listener:
        """The first listener, of this service and this scheme if they are given. Raises LookupError."""
        for one in self.listeners:
            if service in (None, one.service) and scheme in (None, one.scheme):
                return one
        served = ", ".join(f"{one.service}={one.url}" for one in self.listeners) or "nothing"
        raise LookupError(f"no listener for service {service!r} and scheme {scheme!r}; served are {served}")

    def url(self, service: str | None = None, scheme: str | None = None) -> str:
        """Its URL, with the actual port. Raises LookupError."""
        return self.listener(service, scheme).url

    def address_of(self, service: str | None = None, scheme: str | None = None) -> tuple[str, int]:
        """Its host and port. Raises LookupError."""
        return self.listener(service, scheme).address

    def path_of(self, service: str | None = None, scheme: str | None = None) -> str:
        """The path of its Unix socket. Raises LookupError."""
        return self.listener(service, scheme).path

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the first listener. Raises LookupError if that is a Unix socket."""
        return self.address_of()

    @property
    def port(self) -> int:
        """The port of the first listener. Raises LookupError if that is a Unix socket."""
        return self.address[1]

    @property
    def path(self) -> str:
        """The path of the first listener. Raises LookupError if that is not a Unix socket."""
        return self.path_of()

    @property
    def ca_file(self) -> Path:
        """A file with the certificate that a TLS client has to trust, if echod made it. Raises LookupError."""
        found = next((one.ca for one in self.listeners if one.ca), None)
        if found is None:
            raise LookupError("no service has a self-signed certificate")
        file = self.dir / "ca.pem"
        file.write_text(found, "ascii")
        return file

    def _name(self, service: str | None) -> str:
        """The name of a service; of the first one if it is None."""
        return self.listener().service if service is None else service


def listeners_of(line: str) -> list[Listener]:
    """The listeners of an announcement (`echod --announce json`)."""
    return [listener_of(**one) for one in json.loads(line)["listeners"]]


def listener_of(names: list[str] | tuple[()] = (), **fields: str) -> Listener:
    """A listener from its fields in an announcement."""
    return Listener(names=tuple(names), **fields)


def inet_of(url: str) -> tuple[str, int]:
    """Host and port of a URL; for every interface, the loopback address. Raises ValueError if it has none."""
    parts = urlsplit(url)
    if parts.hostname is None or parts.port is None:
        raise ValueError(f"{url} has no host and port")
    return ("127.0.0.1" if parts.hostname == "*" else unquote(parts.hostname)), parts.port

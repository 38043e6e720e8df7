"""The listeners that a daemon announces, and their addresses for a socket."""

from __future__ import annotations

import json
from dataclasses import dataclass
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
        """The path of a Unix socket. Raises LookupError for another one."""
        if not self.is_path:
            raise LookupError(f"{self.url} is not a Unix socket; expected .address")
        return unquote(urlsplit(self.url).path)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port; for every interface, the loopback address. Raises LookupError for a Unix socket."""
        if self.is_path:
            raise LookupError(f"{self.url} has no host and port; expected .path")
        return inet_of(self.url)


def listeners_of(line: str) -> list[Listener]:
    """The listeners of an announcement (`echod --announce json`)."""
    return [_listener(**one) for one in json.loads(line)["listeners"]]


def _listener(names: list[str] | tuple[()] = (), **fields: str) -> Listener:
    return Listener(names=tuple(names), **fields)


def inet_of(url: str) -> tuple[str, int]:
    """Host and port of a URL; for every interface, the loopback address. Raises ValueError if it has none."""
    parts = urlsplit(url)
    if parts.hostname is None or parts.port is None:
        raise ValueError(f"{url} has no host and port")
    return ("127.0.0.1" if parts.hostname == "*" else unquote(parts.hostname)), parts.port

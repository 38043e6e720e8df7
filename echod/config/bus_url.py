"""The URL of the bus: `redis://[user:password@]host:port/db`, or `rediss://` for TLS."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from echod.escaping import escaped

EXAMPLE: Final = "redis://127.0.0.1:6379/0"
PORT: Final = 6379
SCHEMES: Final = {"redis": False, "rediss": True}  #: whether it uses TLS
DATABASES: Final = 16_383  #: the largest number that servers accept


@dataclass(frozen=True)
class BusUrl:
    """A parsed URL. Its text never has the password."""

    host: str
    port: int = PORT
    database: int = 0
    user: str = ""  #: "" for the server's default user
    password: str = field(default="", repr=False)
    tls: bool = False

    def __str__(self) -> str:
        login = f"{self.user}:***@" if self.password else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return escaped(f"{'rediss' if self.tls else 'redis'}://{login}{host}:{self.port}/{self.database}")


def bus_url(written: str) -> BusUrl:
    """Parse a URL. Raises ValueError; its text does not have the URL, which may have a password."""
    if not written.isascii() or not written.isprintable() or " " in written:
        raise ValueError(_wrong("it has a character that must be percent-encoded"))
    try:
        parts = urlsplit(written)
        port = PORT if parts.port is None else parts.port
    except ValueError:  # its text has a part of the URL
        raise ValueError(_wrong("the port or the host is wrong")) from None
    if parts.scheme not in SCHEMES:
        raise ValueError(_wrong("the scheme is wrong"))
    if not parts.hostname or port == 0:
        raise ValueError(_wrong("the host or the port is missing"))
    if parts.query or parts.fragment:
        raise ValueError(_wrong("it has a query or a fragment"))
    database = parts.path.removeprefix("/") or "0"
    if not (database.isdecimal() and len(database) <= 5 and int(database) <= DATABASES):
        raise ValueError(_wrong(f"the database is not a number up to {DATABASES}"))
    if parts.username and not parts.password:
        raise ValueError(_wrong("the user has no password"))
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return BusUrl(parts.hostname, port, int(database), user, password, SCHEMES[parts.scheme])


def _wrong(why: str) -> str:
    return f'must be a URL such as "{EXAMPLE}" or "rediss://user:password@host:6379/0"; {why}'

"""The options of an address, after its `?`: their values, and how they are written."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import quote


def _number(lowest: int, highest: int) -> Callable[[str], int | None]:
    def accept(value: str) -> int | None:
        if not re.fullmatch(r"[0-9]{1,10}", value) or not lowest <= int(value) <= highest:
            return None
        return int(value)

    return accept


def _dscp(value: str) -> int | None:
    """A number, or a name of RFC 2474 (CS), RFC 2597 (AF), RFC 3246 (EF) or RFC 8622 (LE)."""
    if match := re.fullmatch(r"cs([0-7])", value.lower()):
        return int(match[1]) * 8
    if match := re.fullmatch(r"af([1-4])([1-3])", value.lower()):
        return int(match[1]) * 8 + int(match[2]) * 2
    return {"ef": 46, "le": 1, "df": 0}.get(value.lower(), _number(0, 63)(value))


def _mode(value: str) -> int | None:
    return int(value, 8) if re.fullmatch(r"0?[0-7]{3}", value) else None


def _one_of(words: Mapping[str, str | bool]) -> Callable[[str], str | bool | None]:
    return words.get


def _matching(pattern: str) -> Callable[[str], str | None]:
    return lambda value: value if re.fullmatch(pattern, value) else None


class Source(NamedTuple):
    """The local end of a client's connections: a host or `*`, and the ports to try, 0 and 0 if the kernel chooses."""

    host: str
    lowest: int
    highest: int


_SOURCE: Final = re.compile(r"(\*|[0-9.]+|\[[0-9A-Za-z:.%_-]+\]|[0-9A-Fa-f:]+)(?::([0-9]{1,5})(?:-([0-9]{1,5}))?)?")


def source_of(text: str) -> Source | None:
    """The value of the option `source`, or None if it is not valid."""
    bare = text if text.count(":") < 2 or text.startswith("[") else f"[{text}]"  # an IPv6 address alone
    match = _SOURCE.fullmatch(bare)
    if match is None:
        return None
    host, lowest, highest = match[1].strip("[]"), int(match[2] or 0), int(match[3] or match[2] or 0)
    if host == "*" and not lowest:
        return None
    if match[2] and not 0 < lowest <= highest <= 65535:
        return None
    try:
        if host != "*":
            ipaddress.ip_address(host)
    except ValueError:
        return None
    return Source(host, lowest, highest)


def _source(value: str) -> str | None:
    return value if source_of(value) else None


YES_OR_NO: Final = {"yes": True, "no": False, "true": True, "false": False, "1": True, "0": False}

OPTIONS: Final[Mapping[str, tuple[Callable[[str], str | int | bool | None], str]]] = {
    "backlog": (_number(1, 65535), "a number from 1 to 65535"),
    "interface": (_matching(r"[^\s/\x00-\x1f\x7f]{1,15}"), "the name of an interface, such as eth0"),
    "dscp": (_dscp, "a number from 0 to 63, or a name such as ef, cs1, af41"),
    "df": (_one_of({"do": "do", "want": "want", "dont": "dont"}), "do, want or dont"),
    "ttl": (_number(1, 255), "a number from 1 to 255"),
    "freebind": (_one_of(YES_OR_NO), "yes or no"),
    "retry": (_matching(r"[1-9][0-9]{0,5}(ms|s|m|h)"), "a duration such as 5s"),
    "v6only": (_one_of(YES_OR_NO), "yes or no"),
    "proxy": (_one_of({"v1": "v1", "v2": "v2", "any": "any"}), "v1, v2 or any"),
    "mptcp": (_one_of(YES_OR_NO), "yes or no"),
    "fastopen": (_one_of(YES_OR_NO), "yes or no"),
    "source": (_source, "an address, a port or both, such as 192.0.2.1, *:5000 or [::1]:5000-5009"),
    "as": (_one_of({"tls": "tls", "ws": "ws", "wss": "wss"}), "tls, ws or wss"),
    "mode": (_mode, "three octal digits, such as 0660"),
    "user": (_matching(r"[^\s:/\x00-\x1f\x7f]{1,256}"), "a user's name or number"),
    "group": (_matching(r"[^\s:/\x00-\x1f\x7f]{1,256}"), "a group's name or number"),
}
CONNECTING: Final = frozenset({"source"})  #: options of addresses to connect to only
DIALLING: Final = frozenset({"interface", "dscp", "df", "ttl", "mptcp", "fastopen"}) | CONNECTING
"""Options that a client may use."""


_PLAIN: Final = "/:[]*"  # characters of values that are not quoted


def option_text(option: tuple[str, str | int | bool]) -> str:
    """One option as part of a URL."""
    name, value = option
    if name == "mode":
        return f"mode={value:04o}"
    if isinstance(value, bool):
        return f"{name}={'yes' if value else 'no'}"
    return f"{name}={quote(str(value), safe=_PLAIN)}"

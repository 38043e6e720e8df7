"""Parses and prints durations, sizes, rates and networks.

Pure. Every parser raises ValueError with one line that has the wrong text and the expected form.
"""

from __future__ import annotations

import ipaddress
import re
from decimal import Decimal
from typing import Final

from echod.escaping import escaped
from echod.gate.access import Network
from echod.gate.limits import UNLIMITED, Auto, Rate

LONGEST: Final = 24 * 86_400
"""Seconds: the maximum of a duration. epoll_wait(2) counts milliseconds in 31 bits, slightly more than 24 days; a
reactor fails with a longer timeout."""
LARGEST: Final = 2**40
"""Bytes: the maximum of a size, 1TiB. A larger buffer is certainly a typing error."""
FASTEST: Final = 10**9
"""The maximum of a rate, for each second: more than any network delivers."""
SHOWN: Final = 60  #: characters of a value that a message repeats

_MICROSECONDS: Final = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000, "us": 1}
_DURATION: Final = re.compile("".join(rf"(?:([0-9]{{1,9}}(?:\.[0-9]{{1,9}})?){unit})?" for unit in _MICROSECONDS))
_BYTES: Final = {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20, "KiB": 2**10}
_SIZE: Final = re.compile(rf"([0-9]{{1,15}})({'|'.join(_BYTES)})?")
_NUMBER: Final = r"[0-9]{1,10}(?:\.[0-9]{1,6})?"
_RATE: Final = re.compile(rf"({_NUMBER})(?:/({_NUMBER}))?")
_NETWORK: Final = re.compile(r"([0-9A-Fa-f:.]{2,45})(?:/([0-9]{1,3}))?")


def shown(text: str) -> str:
    """Configured text for an error message: quoted, escaped, and cut if it is long."""
    return f'"{escaped(text if len(text) <= SHOWN else text[:SHOWN] + "…")}"'


def duration(text: str) -> float:
    """Seconds from `250ms`, `5m`, `1m30s` or `0`. Units are d, h, m, s, ms and us, in this order. Raises ValueError."""
    match = _DURATION.fullmatch(text) if text else None
    if match is None:
        return 0.0 if text == "0" else _no_duration(text)
    numbers = zip(match.groups(), _MICROSECONDS.values(), strict=True)
    seconds = sum(Decimal(number) * unit for number, unit in numbers if number) / Decimal(1_000_000)
    if seconds > LONGEST:
        raise ValueError(f'{shown(text)} is too long; the maximum is "24d"')
    return float(seconds)


def _no_duration(text: str) -> float:
    tidy = re.sub(r"\s", "", text[:SHOWN]).lower()
    tidy = re.sub(r"(?:sec|min|hour|hr|day)[a-z]*", lambda word: word[0][0], tidy)
    if re.fullmatch(r"[0-9.]+", tidy):
        tidy += "s"
    right = f'"{tidy}"' if tidy and _DURATION.fullmatch(tidy) else 'one such as "250ms", "5m" or "1m30s"'
    raise ValueError(f"{shown(text)} is not a duration; expected {right}")


def duration_text(seconds: float) -> str:
    """The shortest text that `duration` parses as exactly these seconds."""
    left = round(seconds * 1_000_000)
    if left / 1_000_000 != seconds:
        return f"{Decimal(repr(seconds)):f}s"
    text = ""
    for unit, length in _MICROSECONDS.items():
        count, left = divmod(left, length)
        text += f"{count}{unit}" if count else ""
    return text or "0"


def size(text: str, largest: int = LARGEST) -> int:
    """Bytes from `1500`, `64KiB`, `1MiB` or `1GiB`, at most `largest`. Raises ValueError.

    `KB` is refused, because it can mean 1000 or 1024.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{shown(text)} is not a size; expected {_right_size(text)}")
    count = int(match[1]) * _BYTES.get(match[2], 1)
    if count > largest:
        raise ValueError(f'{shown(text)} is too large; the maximum is "{size_text(largest)}"')
    return count


def _right_size(text: str) -> str:
    match = re.fullmatch(r"\s*([0-9]{1,15})\s*([kmgt])(i?)b?\s*", text, re.IGNORECASE)
    if match is None:
        return 'a whole number such as "1500", "64KiB" or "1MiB"'
    unit = match[2].upper()
    decimal = "" if match[3] else f' or "{int(match[1]) * 1000 ** (1 + "KMGT".index(unit))}"'
    return f'"{match[1]}{unit}iB"{decimal}'


def size_text(count: int) -> str:
    """The text that `size` parses as `count` bytes, in the largest unit that divides them."""
    for unit, factor in _BYTES.items():
        if count and count % factor == 0:
            return f"{count // factor}{unit}"
    return str(count)


def rate(text: str) -> Rate | Auto:
    """A rate from `300` a second, or `300/900` with a burst; `0` means no limit, `auto` depends on the listener.

    The default burst is twice the rate, but at least 1, because a smaller burst lets nothing pass. Raises ValueError.
    """
    if text == "auto":
        return "auto"
    match = _RATE.fullmatch(text)
    if match is None:
        right = '"300" (a second), "300/900" (with its burst), "0" (no limit) or "auto"'
        raise ValueError(f"{shown(text)} is not a rate; expected {right}")
    per_second = float(match[1])
    burst = max(1.0, 2 * per_second) if match[2] is None else float(match[2])
    if max(per_second, burst) > 2 * FASTEST:
        raise ValueError(f'{shown(text)} is too fast; expected "0" for no limit')
    if per_second == 0:
        if match[2] is not None:
            raise ValueError(f'{shown(text)} lets nothing pass after the burst; expected "0" for no limit')
        return UNLIMITED
    if burst < 1:
        raise ValueError(f'{shown(text)} lets nothing pass; expected a burst of 1 or more, such as "{match[1]}/1"')
    return Rate(per_second, burst)


def rate_text(value: Rate | Auto) -> str:
    """The text that `rate` parses as this value, including its burst."""
    if value == "auto":
        return value
    return "0" if value.unlimited else f"{number_text(value.per_second)}/{number_text(value.burst)}"


def number_text(number: float, decimals: int = 6) -> str:
    """A number with at most so many decimals, never with an exponent: `1000000`, `0.00005`."""
    return f"{number:.{decimals}f}".rstrip("0").rstrip(".")


def network(text: str) -> Network:
    """A network in CIDR; an address without a prefix is a network of one host. Raises ValueError."""
    match = _NETWORK.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        whole = ipaddress.ip_network(text, strict=False)
        host = ipaddress.ip_address(match[1])
    except ValueError:
        raise ValueError(f'{shown(text)} is not a network; expected one such as "192.0.2.0/24"{_hint(text)}') from None
    if host != whole.network_address:
        raise ValueError(
            f'{shown(text)} is a host in a network; expected "{whole}" for the network or "{host}" for the host'
        )
    return whole


def _hint(text: str) -> str:
    if "%" in text:
        return "; a network has no scope: leave out the % and the text after it"
    if text.lower() in ("*", "all", "any"):
        return '; all clients are "0.0.0.0/0" and "::/0"'
    if "://" in text:
        return "; a network is not a URL: leave out the scheme and the port"
    return ' or "2001:db8::/32"'

"""The words that values are written in: durations, sizes, rates and networks. Text in, value out, and back.

Pure. Every parser raises ValueError with one line that shows what was written and says what would be right.
"""

from __future__ import annotations

import ipaddress
import re
from decimal import Decimal
from typing import Final

from echod.gate.access import Network
from echod.gate.limits import UNLIMITED, Auto, Rate
from echod.text import escaped

LONGEST: Final = 24 * 86_400
"""Seconds. epoll_wait(2) counts milliseconds in 31 bits, a little more than 24 days; a reactor that is told to
wait longer fails."""
LARGEST: Final = 2**40
"""Bytes: 1TiB. More than that, for one connection or for all, is a slip of the pen."""
FASTEST: Final = 10**9
"""A second: more than any wire brings."""
SHOWN: Final = 60  #: characters of a value that a message repeats

_MICROSECONDS: Final = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000, "us": 1}
_DURATION: Final = re.compile("".join(rf"(?:([0-9]{{1,9}}(?:\.[0-9]{{1,9}})?){unit})?" for unit in _MICROSECONDS))
_BYTES: Final = {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20, "KiB": 2**10}
_SIZE: Final = re.compile(rf"([0-9]{{1,15}})({'|'.join(_BYTES)})?")
_NUMBER: Final = r"[0-9]{1,10}(?:\.[0-9]{1,6})?"
_RATE: Final = re.compile(rf"({_NUMBER})(?:/({_NUMBER}))?")
_NETWORK: Final = re.compile(r"([0-9A-Fa-f:.]{2,45})(?:/([0-9]{1,3}))?")


def shown(text: str) -> str:
    """What somebody wrote, for a message: quoted, safe to print, and cut where it is long."""
    return f'"{escaped(text if len(text) <= SHOWN else text[:SHOWN] + "…")}"'


def duration(text: str) -> float:
    """Seconds from `250ms`, `5m`, `1m30s` or `0`; the units are d, h, m, s, ms, us, in this order."""
    match = _DURATION.fullmatch(text) if text else None
    if match is None:
        return 0.0 if text == "0" else _no_duration(text)
    numbers = zip(match.groups(), _MICROSECONDS.values(), strict=True)
    seconds = sum(Decimal(number) * unit for number, unit in numbers if number) / Decimal(1_000_000)
    if seconds > LONGEST:
        raise ValueError(f'{shown(text)} is too long; the longest is "24d"')
    return float(seconds)


def _no_duration(text: str) -> float:
    tidy = re.sub(r"\s", "", text[:SHOWN]).lower()
    tidy = re.sub(r"(?:sec|min|hour|hr|day)[a-z]*", lambda word: word[0][0], tidy)
    if re.fullmatch(r"[0-9.]+", tidy):
        tidy += "s"
    right = f'"{tidy}"' if tidy and _DURATION.fullmatch(tidy) else 'one such as "250ms", "5m" or "1m30s"'
    raise ValueError(f"{shown(text)} is not a duration; write {right}")


def duration_text(seconds: float) -> str:
    """The text that `duration` reads as exactly these seconds, the shortest that a person would write."""
    left = round(seconds * 1_000_000)
    if left / 1_000_000 != seconds:
        return f"{Decimal(repr(seconds)):f}s"
    text = ""
    for unit, length in _MICROSECONDS.items():
        count, left = divmod(left, length)
        text += f"{count}{unit}" if count else ""
    return text or "0"


def size(text: str, largest: int = LARGEST) -> int:
    """Bytes from `1500`, `64KiB`, `1MiB`, `1GiB`, `largest` at most. `KB` is refused: to some it is 1000, to others
    1024."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{shown(text)} is not a size; write {_right_size(text)}")
    count = int(match[1]) * _BYTES.get(match[2], 1)
    if count > largest:
        raise ValueError(f'{shown(text)} is too large; the largest is "{size_text(largest)}"')
    return count


def _right_size(text: str) -> str:
    match = re.fullmatch(r"\s*([0-9]{1,15})\s*([kmgt])(i?)b?\s*", text, re.IGNORECASE)
    if match is None:
        return 'a whole number such as "1500", "64KiB" or "1MiB"'
    unit = match[2].upper()
    decimal = "" if match[3] else f' or "{int(match[1]) * 1000 ** (1 + "KMGT".index(unit))}"'
    return f'"{match[1]}{unit}iB"{decimal}'


def size_text(count: int) -> str:
    """The text that `size` reads as so many bytes, in the largest unit that divides them."""
    for unit, factor in _BYTES.items():
        if count and count % factor == 0:
            return f"{count // factor}{unit}"
    return str(count)


def rate(text: str) -> Rate | Auto:
    """A rate from `300` or, with its burst, `300/900`; `0` is no limit, `auto` depends on the listener.

    Without a burst it is twice the rate, and never less than 1, for below that nothing would ever pass.
    """
    if text == "auto":
        return "auto"
    match = _RATE.fullmatch(text)
    if match is None:
        right = '"300" (a second), "300/900" (with its burst), "0" (no limit) or "auto"'
        raise ValueError(f"{shown(text)} is not a rate; write {right}")
    per_second = float(match[1])
    burst = max(1.0, 2 * per_second) if match[2] is None else float(match[2])
    if max(per_second, burst) > 2 * FASTEST:
        raise ValueError(f'{shown(text)} is too fast; write "0" for no limit')
    if per_second == 0:
        if match[2] is not None:
            raise ValueError(f'{shown(text)} lets nothing pass in the long run; write "0" for no limit')
        return UNLIMITED
    if burst < 1:
        raise ValueError(f'{shown(text)} would let nothing pass; write a burst of 1 or more: "{match[1]}/1"')
    return Rate(per_second, burst)


def rate_text(value: Rate | Auto) -> str:
    """The text that `rate` reads as this, its burst included."""
    if value == "auto":
        return value
    return "0" if value.unlimited else f"{_plain(value.per_second)}/{_plain(value.burst)}"


def _plain(number: float) -> str:
    return f"{number:.6f}".rstrip("0").rstrip(".")


def network(text: str) -> Network:
    """A network in CIDR; an address alone is the network of that one host."""
    match = _NETWORK.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        whole = ipaddress.ip_network(text, strict=False)
        host = ipaddress.ip_address(match[1])
    except ValueError:
        raise ValueError(f'{shown(text)} is not a network; write one such as "192.0.2.0/24"{_hint(text)}') from None
    if host != whole.network_address:
        raise ValueError(
            f'{shown(text)} is a host in a network; write "{whole}" for the network or "{host}" for the host'
        )
    return whole


def _hint(text: str) -> str:
    if "%" in text:
        return "; a network has no scope: leave out everything from the % on"
    if "://" in text:
        return "; it is no address to listen on: leave out the scheme and the port"
    return ' or "2001:db8::/32"'

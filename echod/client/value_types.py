"""The types of values on the command line of echoctl. Each raises ArgumentTypeError for a wrong value."""

from __future__ import annotations

import argparse
import ipaddress
import math
import re
from collections.abc import Callable
from typing import Final

from echod.address import Address, AddressError, parse
from echod.address_options import OPTIONS
from echod.client.argparse_errors import NOT_AVAILABLE
from echod.config.units import duration, shown, size
from echod.config.value_types import host_name
from echod.escaping import from_system
from echod.event_catalogue import matching
from echod.faults.keys import KEYS
from echod.faults.parsing import right_key
from echod.runtime_dir import expanded
from echod.shape import Shape

MOST_SIZES: Final = 1024
MOST_FLOWS: Final = 256
MOST_PROBES: Final = 2**32 - 1  #: the largest number of eight hexadecimal digits
MOST_LISTED: Final = 10_000  #: connections that the daemon lists at most
LESSONS: Final = 10  #: of the course
MOST_PORT: Final = 65_535
LONGEST_OBSERVATION: Final = 60.0  #: seconds
SHORTEST_INTERVAL: Final = 0.00001  #: seconds: a probe takes a client that long


def service_url(text: str) -> Address:
    """The address of a service."""
    try:
        address = parse(expanded(from_system(text)), client=True)
    except AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if address.is_passed:
        raise argparse.ArgumentTypeError(f"{address.label} is only for listening; expected the address of a service")
    if address.is_opaque:
        from echod.transports.twisted_endpoint_strings import unknown  # slow to import, as all of Twisted

        if (reason := unknown(address.path, client=True)) is not None:
            raise argparse.ArgumentTypeError(f"{address.label}: {reason}")
    if not address.form.available:
        raise argparse.ArgumentTypeError(f"{address.label}: {address.scheme} is {NOT_AVAILABLE}")
    return address


def admin_url(text: str) -> Address:
    """The address of an admin interface."""
    address = service_url(text)
    if not address.form.is_bare:
        raise argparse.ArgumentTypeError(f"{address.label}: an admin interface listens on unix:// or tcp:// only")
    return address


def exporter_address(text: str) -> Address:
    """The address at which metrics are served."""
    try:
        address = parse(text)
    except AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if address.is_opaque or address.has_path or not address.form.is_bare or address.shape is not Shape.STREAM:
        expected = "expected an address for the metrics, such as tcp://127.0.0.1:10091; write --serve after the URLs"
        raise argparse.ArgumentTypeError(f"{address.label} is not tcp://; {expected}")
    if address.last_port or "proxy" in address.options:
        what = "a range of ports" if address.last_port else "PROXY headers"
        raise argparse.ArgumentTypeError(f"{address.label}: metrics are served without {what}; expected one address")
    if not is_ip_address(address.host):
        raise argparse.ArgumentTypeError(f"{address.label} has a name; expected an IP address, or * for all of them")
    return address


def host_of_request(text: str) -> str:
    """A name that the Host header of a request may have."""
    try:
        return host_name(from_system(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def is_ip_address(host: str) -> bool:
    """Whether a host of a URL is a number, or `*`; an IPv6 address may have a scope."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "*"
    return True


def _duration(text: str) -> float:
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def interval(text: str) -> float:
    """Seconds between two probes."""
    seconds = _seconds(text)
    if seconds < SHORTEST_INTERVAL:
        raise argparse.ArgumentTypeError(f"{shown(text)} is too short; the minimum is 10us")
    return seconds


def observation(text: str) -> float:
    """Seconds of an observation, up to a minute; 0 is none."""
    seconds = 0.0 if text == "0" else _seconds(text)
    if seconds > LONGEST_OBSERVATION:
        raise argparse.ArgumentTypeError(f"{shown(text)} is too long; the maximum is {LONGEST_OBSERVATION:g}s")
    return seconds


def listed_connections(text: str) -> int:
    """The number of connections to list."""
    number = int(text) if re.fullmatch("[0-9]{1,5}", text) else 0
    if not 1 <= number <= MOST_LISTED:
        raise argparse.ArgumentTypeError(f"{shown(text)} must be a number from 1 to {MOST_LISTED}")
    return number


def color_option(command: argparse.ArgumentParser) -> None:
    """Add `--color`."""
    command.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="color problems (default: auto: on a terminal, unless $NO_COLOR is set)",
    )


def traffic_class(text: str) -> int:
    """A DSCP, from its name or from the byte of the IP header as in ping(8), such as 0xb8 or 184."""
    accept, _ = OPTIONS["dscp"]
    if not re.fullmatch(r"0[xX][0-9A-Fa-f]{1,2}|[0-9]{1,3}", text):
        named = accept(text)
        if named is not None:
            return int(named)
    elif (number := int(text, 0 if text[:2].lower() == "0x" else 10)) <= 0xFF and not number % 4:
        return number // 4
    right = "a name such as ef, or a byte whose two lowest bits (ECN) are 0, such as 0xb8"
    raise argparse.ArgumentTypeError(f"{shown(text)} is not a traffic class; expected {right}")


def address_option(name: str) -> Callable[[str], str | int | bool]:
    """The type of an option of the command line that is one of the address."""

    def accept(text: str) -> str | int | bool:
        parse_value, right = OPTIONS[name]
        value = parse_value(text)
        if value is None:
            raise argparse.ArgumentTypeError(f"{shown(text)} must be {right}")
        return value

    return accept


def threshold(text: str) -> tuple[float, float]:
    """Seconds and a loss in percent from `100ms,20%`; only one of them leaves the other unlimited."""
    times = [_seconds(part) for part in text.split(",") if not part.endswith("%")]
    losses = [_loss(part) for part in text.split(",") if part.endswith("%")]
    if max(len(times), len(losses)) > 1:
        raise argparse.ArgumentTypeError(f"{shown(text)} must be a time, a loss or both, such as 100ms,20%")
    return (*times, math.inf)[0], (*losses, 100.0)[0]


def _loss(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,4})?%", text) or float(text[:-1]) > 100:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a loss; expected one from 0% to 100%, such as 20%")
    return float(text[:-1])


def size_range(text: str) -> tuple[int, ...]:
    """Sizes from `64-1472` or, with a step, `64-1472/64`."""
    match = re.fullmatch(r"([0-9A-Za-z]+)-([0-9A-Za-z]+)(?:/([0-9A-Za-z]+))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a range of sizes; expected one such as 64-1472/64")
    lowest, highest, step = probe_size(match[1]), probe_size(match[2]), probe_size(match[3] or "1")
    sizes = tuple(range(lowest, highest + 1, step)) if step else ()
    if not sizes or len(sizes) > MOST_SIZES:
        right = f"expected up to {MOST_SIZES} sizes in ascending order"
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a range of sizes; {right}")
    return sizes


def flow_count(text: str) -> int:
    """A number of flows."""
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= MOST_FLOWS:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a whole number from 1 to {MOST_FLOWS}")
    return int(text)


def patience(text: str) -> float:
    """Seconds to wait, above 0."""
    seconds = _seconds(text)
    if not seconds:
        raise argparse.ArgumentTypeError(f"{shown(text)} is too short; expected a time above 0, such as 500ms")
    return seconds


def age(text: str) -> float:
    """Seconds before now."""
    return _seconds(text)


def event_name(text: str) -> str:
    """The name of an event, or a pattern of names."""
    if not matching([text]):
        right = "expected a name such as daemon.reloaded, or a pattern such as 'certificate.*'"
        raise argparse.ArgumentTypeError(f"{shown(text)} matches no event; {right}")
    return text


def _seconds(text: str) -> float:
    """Seconds from a duration, or from a plain number of seconds as in ping(8)."""
    plain = re.fullmatch(r"([0-9]*)(\.[0-9]+)?", text) if text else None
    return _duration(f"{plain[1] or '0'}{plain[2] or ''}s" if plain else text)


def file_name(text: str) -> str:
    """The name of a file."""
    if not text:
        raise argparse.ArgumentTypeError("the file name is empty")
    return text


def picture(text: str) -> str:
    """The name of a file for a plot, or `-` for the terminal."""
    if text != "-" and not file_name(text).endswith((".svg", ".png", ".html")):
        expected = "a name such as times.svg, times.png or times.html, or - for the terminal"
        raise argparse.ArgumentTypeError(f"{shown(text)} does not end with .svg, .png or .html; expected {expected}")
    return text


def probe_size(text: str) -> int:
    """Bytes of a probe."""
    try:
        return size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def probe_count(text: str) -> int:
    """A number of probes."""
    if not re.fullmatch(r"[0-9]{1,10}", text) or not 1 <= int(text) <= MOST_PROBES:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a whole number from 1 to {MOST_PROBES}")
    return int(text)


def lesson_number(text: str) -> int:
    """Accept the number of a lesson of the course."""
    number = int(text) if re.fullmatch("[0-9]{1,5}", text) else 0
    if not 1 <= number <= LESSONS:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a lesson; expected a number from 1 to {LESSONS}")
    return number


def port_number(text: str) -> int:
    """Accept the number of a port."""
    number = int(text) if re.fullmatch("[0-9]{1,5}", text) else 0
    if not 1 <= number <= MOST_PORT:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a port; expected a number from 1 to {MOST_PORT}")
    return number


def service_name(text: str) -> str:
    """The name of a service of the daemon."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", text):
        raise argparse.ArgumentTypeError(f"{shown(text)} is not the name of a service")
    return text


def fault_value(text: str) -> tuple[str, str]:
    """A key of a fault, and the text of its value; an empty text ends the fault."""
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{shown(text)} has no value; expected KEY=VALUE, such as delay=200ms")
    if key not in KEYS:
        raise argparse.ArgumentTypeError(f"{shown(key)} is not a fault; {right_key(key)}")
    return key, from_system(value)

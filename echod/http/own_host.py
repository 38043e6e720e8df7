"""Which requests over TCP come from no foreign web page. Pure.

A web page may use a name that its owner then points to this host (DNS rebinding). The browser treats responses to that
name as the page's own, so that the page could read everything. The Host header of such a request has that name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from echod.escaping import clipped
from echod.http.messages import Answer, Request, error_answer


def refusal_of_page(request: Request, names: Collection[str], setting: str) -> Answer | None:
    """The response that refuses a request of a foreign page, or None.

    `names` are the names that Host may have besides IP addresses and localhost, in lower case. `setting` is where a
    user can add one.
    """
    host = request.headers.get("host", "")
    if not is_own_host(host, names):
        expected = f"use an IP address, localhost, or a name in {setting}"
        return error_answer(421, f"Host {clipped(host)} is not allowed: {expected}")
    # A page of another site may send requests by a browser: its Origin then differs from the Host.
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != host:
        return error_answer(403, "a page of another site may not read this")
    return None


def is_own_host(host: str, names: Collection[str]) -> bool:
    """Whether a Host header is allowed: absent, an IP address, localhost, or one of `names`."""
    name, colon, port = host.rpartition(":")
    if not colon or (port and not port.isdecimal()) or name.endswith(":"):  # an IPv6 address without brackets
        name = host
    if not host or _is_address(name.removeprefix("[").removesuffix("]")):
        return True
    name = name.lower().removesuffix(".")
    return name == "localhost" or name in names


def _is_address(text: str) -> bool:
    """Whether a text is an IP address, IPv6 with or without a zone."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True

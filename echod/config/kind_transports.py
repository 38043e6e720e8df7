"""The rules that decide which kind is served over which address: by the shape of its transport, and by its layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from echod.address import Address
from echod.model import Service
from echod.shape import Shape
from echod.transports.multicast import is_group
from echod.transports.registry import OTHER_FORMS, SCHEMES, Scheme

CARRIES: Final[Mapping[Shape, str]] = {
    Shape.STREAM: "streams",
    Shape.MESSAGE: "messages",
    Shape.DATAGRAM: "datagrams",
    Shape.REQUEST: "requests",
}
"""The words for the data of each shape."""


def refusal(kind: type[Service], shape: Shape, proxy: str | None = None) -> str:
    """Why a kind is not served over transports of a shape; "" if it is. `proxy` are the versions of PROXY headers."""
    if shape is Shape.REQUEST and not kind.requests:
        return "http:// is for bin and revocation: use tcp:// or ws://"
    if kind.requests and not (kind.streams or kind.datagrams or shape is Shape.REQUEST):
        return f"{kind.kind} is served over HTTP only: use http://"
    if not kind.is_served_over(shape):
        if not kind.streams:
            return f"{kind.kind} is served over datagrams only: use udp://"
        if shape is Shape.MESSAGE and kind.datagrams:
            return f"{kind.kind} is served over streams and datagrams only: use tcp://, unix:// or udp://"
        return f"{kind.kind} is served over streams only: use tcp:// or unix://"
    if shape is Shape.DATAGRAM and proxy is not None:
        if proxy != "v2":
            return f"?proxy={proxy}: datagrams have version 2 only; write ?proxy=v2"
        if kind.conversational:
            return f"{kind.kind} sends without a request, and a proxy returns only replies; leave out ?proxy="
    return ""


def refusal_of(kind: type[Service], address: Address) -> str:
    """Why a kind is not served at an address; "" if it is. A passed socket is checked when it is known."""
    proxy = address.options.get("proxy")
    if address.is_passed:
        return ""
    if why := refusal(kind, address.shape, None if proxy is None else str(proxy)):
        return why
    members = kind.conversational and address.shape is Shape.DATAGRAM and is_group(address.host)
    return f"{kind.kind} has members; a multicast address cannot have them" if members else ""


def matrix(kind: type[Service]) -> dict[str, str]:
    """Every kind of address, with and without PROXY headers, and why the kind is not served over it, or ""."""
    cells: dict[str, str] = {}
    for name, scheme in (*SCHEMES.items(), ("endpoint", OTHER_FORMS["endpoint"])):
        cells[name] = _cell(kind, name, scheme, None)
        cells[f"{name}?proxy"] = _cell(kind, name, scheme, "v2")
    return cells


def _cell(kind: type[Service], name: str, scheme: Scheme, proxy: str | None) -> str:
    if not scheme.available:
        return f"{name} is not available in this version"
    if proxy is not None and "proxy" not in scheme.options:
        return f"{name} has no option proxy: PROXY headers name IP addresses" if name in SCHEMES else _NO_OPTIONS
    return refusal(kind, scheme.shape, proxy)


_NO_OPTIONS: Final = "an endpoint string has the options of Twisted only: use tcp:// or tls://"

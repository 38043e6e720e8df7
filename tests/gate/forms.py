"""One host in every notation of its address, and the decision for each: test 38 of docs/PROMISES.md."""

from __future__ import annotations

import ipaddress
from typing import Final

from echod.gate.access import Access, Network, packed_address
from echod.gate.connections import ConnectionGate
from echod.gate.datagrams import DatagramGate
from echod.gate.limits import Limits
from echod.gate.refusal import Refusal

PORT: Final = 40_000
LOOPBACK: Final = "127.0.0.0/8 ::1/128"

TABLE: Final[dict[tuple[str, str, str], Refusal | None]] = {
    # The host itself, and as a dual-stack socket reports it
    ("127.0.0.1", LOOPBACK, ""): None,
    ("::ffff:127.0.0.1", LOOPBACK, ""): None,
    ("::1", LOOPBACK, ""): None,
    ("192.0.2.1", LOOPBACK, ""): Refusal.DENIED,
    ("::ffff:192.0.2.1", LOOPBACK, ""): Refusal.DENIED,
    ("192.0.2.66", "192.0.2.0/24", "192.0.2.66"): Refusal.DENIED,
    ("::ffff:192.0.2.66", "192.0.2.0/24", "192.0.2.66"): Refusal.DENIED,
    ("::ffff:192.0.2.66", "192.0.2.0/24 ::/0", "192.0.2.66"): Refusal.DENIED,
    ("192.0.2.66", "192.0.2.0/24", "::ffff:192.0.2.66"): Refusal.DENIED,
    # IPv6 for all hosts does not allow IPv4
    ("192.0.2.1", "::/0", ""): Refusal.DENIED,
    ("::ffff:192.0.2.1", "::/0", ""): Refusal.DENIED,
    # An IPv4 host of this machine or of a private network embedded in IPv6 is forged
    ("::127.0.0.1", LOOPBACK + " ::/0 0.0.0.0/0", ""): Refusal.SOURCE_ADDRESS,
    ("::10.0.0.1", "10.0.0.0/8", ""): Refusal.SOURCE_ADDRESS,
    ("64:ff9b::127.0.0.1", LOOPBACK + " ::/0 0.0.0.0/0", ""): Refusal.SOURCE_ADDRESS,
    ("64:ff9b::192.168.0.1", "192.168.0.0/16", ""): Refusal.SOURCE_ADDRESS,
    ("64:ff9b::169.254.169.254", "0.0.0.0/0", ""): Refusal.SOURCE_ADDRESS,
    # A public one has the decision of the embedded host
    ("8.8.8.8", "8.8.8.0/24", ""): None,
    ("64:ff9b::8.8.8.8", "8.8.8.0/24", ""): None,
    ("64:ff9b::8.8.8.8", "64:ff9b::808:800/120", ""): None,
    ("::8.8.8.8", "8.8.8.0/24", ""): None,
    ("64:ff9b::8.8.8.8", "0.0.0.0/0", "8.8.8.8"): Refusal.DENIED,
    ("64:ff9b::8.8.8.8", "::/0", ""): Refusal.DENIED,
    # A scope names the link, not the host
    ("fe80::1%1", "fe80::/10", ""): None,
    ("fe80::1%1", "fe80::/10", "fe80::1"): Refusal.DENIED,
    ("fe80::1%1", LOOPBACK, ""): Refusal.DENIED,
}
"""The host, the allowed and the denied networks, and the decision of both gates."""

MANY: Final = 10_000


def networks(text: str) -> list[Network]:
    """Networks that are written with spaces between them."""
    return [ipaddress.ip_network(each) for each in text.split()]


def verdicts(host: str, allow: str, deny: str = "") -> set[Refusal | None]:
    """The decision of both gates for a host: one word, if they agree."""
    access = Access(networks(allow), networks(deny))
    streams = ConnectionGate(access, Limits(), lambda: 0.0)
    datagrams = DatagramGate(access, Limits(), lambda: 0.0)
    packed = packed_address(host)
    return {streams.admit(packed, loopback=False), datagrams.admit(packed, PORT, b"?", loopback=False)}


def many_networks() -> tuple[list[str], list[str]]:
    """MANY networks of 256 hosts, adjacent except for gaps, and the denied half of each."""
    inside = [f"10.{number >> 7}.{(number & 127) << 1}.0" for number in range(MANY)]
    return [f"{host}/24" for host in inside], [f"{host[:-1]}128/25" for host in inside[::2]]

"""Caches the gate's decisions for the sources of one socket, by the socket addresses that the kernel writes.

Rules without state (ports, addresses, lists) are checked once for each source and cached until `forget`. Rules with
state (rates, repetition) are checked each time: for a whole run of datagrams if they do not depend on the content.
"""

from __future__ import annotations

from typing import Final

from echod.fastpath.sockaddr import host_and_port, is_mapped
from echod.gate.access import canonical
from echod.gate.refusal import Refusal
from echod.transports.datagram import ServiceDatagrams

REMEMBERED: Final = 4096  #: maximum number of cached sources

CachedDecision = bool | Refusal
"""True: admitted, and counted by the gate. A Refusal: refused, and recorded by the gate. False: not decided here."""


class GateCache:
    """The gate's decisions for the sources of one socket. `six`: names are `struct sockaddr_in6`. `never_mapped`: an
    IPv4-mapped source is forged. `passed` has the names that no rule refuses and no rate limits.
    """

    def __init__(self, protocol: ServiceDatagrams, *, six: bool, never_mapped: bool) -> None:
        self.passed: set[bytes] = set()
        self._gate = protocol.gate
        self._loopback = protocol.loopback
        self._six = six
        self._never_mapped = never_mapped
        self._known: dict[bytes, tuple[bytes, int, Refusal | None]] = {}  # key of the host, port, refusal

    def forget(self) -> None:
        """Clear the cache: access lists, or our own ports or addresses, have changed."""
        self.passed.clear()
        self._known.clear()

    def on_run(self, name: bytes, count: int, size: int) -> CachedDecision:
        """Decide on `count` datagrams of one source, of `size` bytes in all. After False, call `on_one` for each."""
        if name in self.passed:
            return True
        gate = self._gate
        try:
            key, port, refusal = self._known[name]
        except KeyError:
            host, port, scope = host_and_port(name, self._six)
            if gate is None or scope:  # a reply to a link-local peer must use the same link
                return False
            key = canonical(host)
            refusal = gate.forbidden(host, key, port)
            if self._never_mapped and is_mapped(host):
                refusal = Refusal.SOURCE_ADDRESS
            if len(self._known) >= REMEMBERED:
                self.forget()
            self._known[name] = key, port, refusal
            if refusal is None and gate.limits.datagrams(self._loopback).unlimited:
                self.passed.add(name)
        assert gate is not None
        if refusal is not None:
            gate.forbade(refusal, count)
            return refusal
        return gate.admit_run(key, port, count, size, loopback=self._loopback)

    def on_one(self, name: bytes, datagram: bytes) -> CachedDecision:
        """Decide on one datagram after `on_run` has returned False."""
        host, port, scope = host_and_port(name, self._six)
        if self._gate is None or scope:
            return False
        return self._gate.admit(host, port, datagram, loopback=self._loopback) or True

"""What the gate says to the sources of one socket, by the names that the kernel writes.

What forbids a source without memory (ports, addresses, lists) is asked once and remembered until `forget`; what has
memory (rates, repetition) is asked each time, for a run of datagrams at once where it is known before they are seen.
"""

from __future__ import annotations

from typing import Final

from echod.fastpath.sockaddr import host_and_port, is_mapped
from echod.gate.access import canonical
from echod.gate.refusal import Refusal
from echod.transports.datagram import ServiceDatagrams

REMEMBERED: Final = 4096  #: sources at once

Verdict = bool | Refusal
"""True: to be answered, and counted at the gate. A Refusal: not answered, and noted there. False: not known here."""


class Verdicts:
    """The verdicts on one socket's sources; `six` says how names are written, `never_mapped` that none that shows an
    IPv4 host is honest. `passed` are the names that no rule refuses and no rate counts.
    """

    def __init__(self, protocol: ServiceDatagrams, *, six: bool, never_mapped: bool) -> None:
        self.passed: set[bytes] = set()
        self._gate = protocol.gate
        self._loopback = protocol.loopback
        self._six = six
        self._never_mapped = never_mapped
        self._known: dict[bytes, tuple[bytes, int, Refusal | None]] = {}  # the host's key, the port, why it is refused

    def forget(self) -> None:
        """The lists, or the ports and addresses that are ours, have changed."""
        self.passed.clear()
        self._known.clear()

    def on_run(self, name: bytes, count: int, octets: int) -> Verdict:
        """On `count` datagrams of one source, `octets` in all. False may become clear once they are seen."""
        if name in self.passed:
            return True
        gate = self._gate
        try:
            key, port, refusal = self._known[name]
        except KeyError:
            host, port, scope = host_and_port(name, self._six)
            if gate is None or scope:  # a link-local peer's answer must leave by the link that it came by
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
        return gate.admit_run(key, port, count, octets, loopback=self._loopback)

    def on_one(self, name: bytes, datagram: bytes) -> Verdict:
        """On one datagram, where `on_run` has said False."""
        host, port, scope = host_and_port(name, self._six)
        if self._gate is None or scope:
            return False
        return self._gate.admit(host, port, datagram, loopback=self._loopback) or True

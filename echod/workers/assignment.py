"""The assignment of a worker by the parent: a configuration, and the descriptors of the sockets to serve.

The parent pickles it, so that the worker serves exactly what was checked. Keys of certificates are part of it: a worker
may not be permitted to read their files.
"""

from __future__ import annotations

import pickle
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from echod.address import Address
from echod.config.settings import Admin, Configuration
from echod.daemon.bind import TRANSPORTS, BoundSocket, ListenSpec, SharedSockets
from echod.transports.socket_filter import detach
from echod.transports.url_path_port import SharedSocket


@dataclass(frozen=True)
class Passed:
    """A bound socket of one address. `descriptor` is an index: addresses that share a socket have the same."""

    spec: ListenSpec
    address: Address
    descriptor: int


@dataclass(frozen=True)
class Assignment:
    """A configuration, and its sockets: all of them at the start of a worker, the new ones at a reload."""

    configuration: Configuration
    passed: tuple[Passed, ...]
    authority: bytes = b""  #: the test authority of the parent in PEM, if a service answers for it


def packed(
    configuration: Configuration, sockets: Iterable[tuple[BoundSocket, socket.socket]]
) -> tuple[bytes, list[int]]:
    """An assignment as bytes, and its descriptors. Each address comes with the socket that the worker gets for it."""
    descriptors: dict[int, int] = {}
    passed = tuple(
        Passed(bound.spec, bound.address, descriptors.setdefault(opened.fileno(), len(descriptors)))
        for bound, opened in sockets
    )
    for_worker = replace(configuration, admin=Admin(), origins={}, texts={})
    authority = b""
    if any(service.kind.kind == "revocation" for service in configuration.services):
        from echod.tls.certificates import test_authority  # only here: `cryptography` takes 10 MB

        made = test_authority()
        authority = made.certificate_pem + made.key_pem
    return pickle.dumps(Assignment(for_worker, passed, authority)), list(descriptors)


class PassedSockets:
    """The sockets that the parent has passed to this worker: in place of binding them."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._passed: dict[tuple[str, Address, int], list[Passed]] = {}

    def unpack(self, data: bytes, descriptors: Iterable[int]) -> Assignment:
        """Read an assignment from the parent; its sockets are those of the next `bind`."""
        assignment: Assignment = pickle.loads(data)
        if assignment.authority:
            from echod.tls.certificates import adopt_test_authority

            adopt_test_authority(assignment.authority)
        self._sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        self._passed = {}
        for one in assignment.passed:
            self._passed.setdefault(_identity(one.spec), []).append(one)
        return assignment

    def bind(
        self, specs: Iterable[ListenSpec], _absent: dict[ListenSpec, str], beside: Iterable[BoundSocket]
    ) -> list[BoundSocket]:
        """As `daemon.bind.Bind`. An address without a socket is not served by this worker."""
        shared = SharedSockets(beside)
        bound: list[BoundSocket] = []
        unused = dict(enumerate(self._sockets))
        for spec in specs:
            if found := list(shared.find(spec)):
                bound += found
                continue
            for passed in self._passed.get(_identity(spec), ()):
                unused.pop(passed.descriptor, None)
                one = BoundSocket(spec.service, passed.address, self._opened(passed), spec)
                shared.add(one)
                bound.append(one)
        for opened in unused.values():  # of a path on a socket that this worker has already
            opened.close()
        self._sockets, self._passed = [], {}
        return bound

    def _opened(self, passed: Passed) -> Any:
        opened = self._sockets[passed.descriptor]
        opened.setblocking(False)
        if not passed.address.shape.has_connections:
            with suppress(OSError):  # no filter is attached
                detach(opened)  # that of a worker that was killed during a flood
            TRANSPORTS[passed.address.scheme].prepare(opened)
        return SharedSocket(opened) if passed.address.form.has_url_path else opened


def _identity(spec: ListenSpec) -> tuple[str, Address, int]:
    """An address as both processes know it: `spec.key` is the same for `tcp://` and `tls://` with port 0."""
    return spec.service.name, spec.address, spec.turn

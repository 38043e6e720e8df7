"""The sockets that the parent holds for its workers, and which worker gets which.

* A listening socket is shared by all workers: if one ends or hangs, another accepts.
* A UDP address has a socket for each worker (SO_REUSEPORT). The kernel assigns each flow to one of them, so that its
  datagrams stay in order. The parent keeps them open: the queue of a worker that ended waits for its replacement.
* Every other datagram socket belongs to one worker: Unix sockets cannot be grouped, and a datagram to a multicast group
  would be answered by each socket. Also a UDP socket of another user, such as one from a socket unit of systemd.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator

from echod.config.errors import LocatedError, element, joined
from echod.config.line_numbers import located
from echod.config.settings import Configuration
from echod.daemon.bind import BoundSocket
from echod.escaping import system_error
from echod.transports.multicast import is_group
from echod.transports.reuseport_group import gather, spread
from echod.transports.udp import UDP
from echod.transports.url_path_port import SharedSocket


def unshareable(configuration: Configuration) -> list[str]:
    """An error for each part of the configuration that workers cannot share.

    Twisted itself listens on endpoint strings. Recorded messages belong to one process.
    """
    errors: list[LocatedError] = []

    def add_error(key: str, index: int | None, text: str) -> None:
        (file, *_) = configuration.origins[key]
        errors.append(LocatedError(file, key if index is None else element(key, index), text))

    for service in configuration.services:
        path = joined("services", service.name)
        for index, address in enumerate(service.listen):
            if address.is_opaque:
                text = "workers cannot share an endpoint string; expected an address such as tcp://*:7, or workers = 1"
                add_error(f"{path}.listen", index, f"{address.label}: {text}")
        if service.record is not None:
            text = "each worker would keep its own messages; expected no record, or workers = 1 in [daemon]"
            add_error(f"{path}.record", None, text)
    return [str(error) for error in located(errors, configuration.texts)]


class HeldSockets:
    """The sockets of `count` workers, which are numbered from 0."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._groups: dict[socket.socket, list[socket.socket]] = {}  # of UDP: by the first, one for each worker
        self._alone: dict[socket.socket, int] = {}  # the worker of a socket that only one serves

    def add(self, bound: Iterable[BoundSocket]) -> Iterator[str]:
        """Hold these sockets; yields a warning for each that only one worker can serve for lack of permission."""
        self._forget_closed()
        for one in bound:
            opened = self.opened(one)
            if one.transport.shape.has_connections or opened in self._groups or opened in self._alone:
                continue
            if not isinstance(one.transport, UDP) or is_group(one.address.host):
                self._alone[opened] = len(self._alone) % self._count
                continue
            group = [opened]
            try:
                for _ in range(1, self._count):
                    group.append(one.transport.bind_beside(opened, one.address))
            except OSError as error:
                for other in group[1:]:
                    other.close()
                self._alone[opened] = len(self._alone) % self._count
                yield f"{one.service.name}  {one.label}: one worker serves this socket: {system_error(error)}"
            else:
                spread(opened)  # the last daemon has gathered them, and left this socket in the descriptor store
                self._groups[opened] = group

    def of_worker(self, number: int, bound: Iterable[BoundSocket]) -> Iterator[tuple[BoundSocket, socket.socket]]:
        """Each of these addresses that a worker serves, with its socket."""
        for one in bound:
            opened = self.opened(one)
            if opened in self._groups:
                yield one, self._groups[opened][number]
            elif self._alone.get(opened, number) == number:
                yield one, opened

    def gather(self) -> None:
        """The workers will end: new datagrams wait in the first socket of each UDP address.

        That socket may be in the descriptor store, for the next daemon. The others are closed.
        """
        for group in self._groups.values():
            if len(group) > 1:
                gather(group[1])  # the first one may be closed here already

    def close(self) -> None:
        """Close the additional sockets of UDP, and those of addresses that are closed."""
        for group in self._groups.values():
            for other in group[1:]:
                other.close()
        self._groups.clear()
        self._alone.clear()

    @staticmethod
    def opened(bound: BoundSocket) -> socket.socket:
        """The socket of an address."""
        opened = bound.socket.socket if isinstance(bound.socket, SharedSocket) else bound.socket
        assert isinstance(opened, socket.socket)  # endpoint strings are refused, see `tap`
        return opened

    def _forget_closed(self) -> None:
        for first in [one for one in self._groups if one.fileno() < 0]:
            for other in self._groups.pop(first)[1:]:
                other.close()
        for one in [one for one in self._alone if one.fileno() < 0]:
            del self._alone[one]

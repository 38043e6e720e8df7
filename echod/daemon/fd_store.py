"""Listening sockets that outlive the process: systemd's descriptor store (sd_notify(3), FDSTORE=1).

After a start, echod hands each socket that it bound to the service manager, under a name made of its address. At the
next start it takes the socket back by that name instead of binding again, so no client is refused during a restart. A
socket that systemd passed from a socket unit is kept by that unit already.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterable, MutableMapping
from dataclasses import replace
from hashlib import sha256
from typing import Final
from urllib.parse import quote

from echod.address import Address
from echod.daemon.sd_notify import Notify
from echod.transports import unix_paths
from echod.transports.inherited_sockets import Passed

CHANGEABLE: Final = frozenset({"as", "backlog", "dscp", "ttl", "proxy"})
"""Options of an address that can be set on an open socket, or that are not of the socket."""
PREFIX: Final = "echod-"  #: the start of every name that echod gives
PROBE: Final = f"{PREFIX}probe"
LONGEST: Final = 160  #: bytes of a readable name; longer ones are hashed, since systemd takes at most 255
VARIABLE: Final = "FDSTORE"  #: set by systemd 254 and later if it offers a store
ANSWERED: Final = 1.0  #: seconds to wait for the manager when testing whether it keeps descriptors
FORGOTTEN: Final = 5.0  #: seconds to wait until the manager has closed sockets that block new addresses


class DescriptorStore:
    """The sockets that the manager keeps, and those that it `passed` at this start.

    New sockets are handed over from `begin` on. After `end`, a socket that is closed stays in the store.
    """

    def __init__(self, passed: Passed, notify: Notify, environ: MutableMapping[str, str]) -> None:
        self.passed = passed
        self._notify = notify
        self._offered: bool | None = notify.there if environ.pop(VARIABLE, None) is not None else None
        self._new: list[tuple[str, socket.socket]] = []
        self._begun = False
        self._ended = False
        self._restored: set[str] = set()

    def forget_others(self, addresses: Iterable[Address]) -> None:
        """Drop every stored socket that none of these addresses uses: it could block binding another."""
        wanted = {name_of(address) for address in addresses}
        others = [name for name in self.passed.names if name.startswith(PREFIX) and name not in wanted]
        for name in others:
            self.passed.drop(name)
            self._remove(name)
        if others:
            self._notify.barrier(FORGOTTEN)

    def take(self, address: Address) -> list[socket.socket]:
        """The stored sockets of this address, ready to be served; an empty list if the store has none."""
        name = name_of(address)
        return self.passed.take(name) if name in self.passed.names else []

    def keep(self, address: Address, bound: socket.socket, *, new: bool) -> str | None:
        """Keep a socket of this address in the store; a new one is handed over. Returns its name there, or None."""
        name = name_of(address)
        if name is None:
            return None
        if not new:
            self._restored.add(name)
        elif self._begun:
            self._hand_over(name, bound)
        else:
            self._new.append((name, bound))
        return name

    def begin(self) -> None:
        """The start succeeded: hand over the bound sockets, if the manager offers a store."""
        self._begun = True
        for name, bound in self._new:
            self._hand_over(name, bound)
        self._new.clear()

    def end(self) -> None:
        """The daemon is stopping: sockets that are closed from now on stay in the store for the next start."""
        self._ended = True

    def closing(self, name: str) -> bool:
        """Whether the manager keeps the socket of this name, which is being closed. If not, it is asked to drop it."""
        if not self._begun:
            return name in self._restored
        if self._ended:
            return name in self._restored or self._is_offered()
        self._restored.discard(name)
        self._remove(name)
        return False

    def _hand_over(self, name: str, bound: socket.socket) -> None:
        if self._is_offered():
            # without FDPOLL=0 the manager drops a socket that has a pending error
            self._notify.send("FDSTORE=1", f"FDNAME={name}", "FDPOLL=0", descriptors=[bound.fileno()])

    def _remove(self, name: str) -> None:
        self._notify.send("FDSTOREREMOVE=1", f"FDNAME={name}")

    def _is_offered(self) -> bool:
        """Whether the manager keeps descriptors. Without the variable, one is sent to see if the manager closes it."""
        if self._offered is None:
            self._offered = self._notify.there and self._try()
        return self._offered

    def _try(self) -> bool:
        try:
            ours, theirs = os.pipe()
        except OSError:  # no descriptor is left for the test
            return False
        try:
            self._notify.send("FDSTORE=1", f"FDNAME={PROBE}", descriptors=[theirs])
        finally:
            os.close(theirs)
        try:
            answered = self._notify.barrier(ANSWERED)
            looking = select.poll()
            looking.register(ours, 0)  # POLLHUP is always reported
            return answered and not looking.poll(0)
        finally:
            self._remove(PROBE)
            os.close(ours)


def name_of(address: Address) -> str | None:
    """The name of a socket in the store, in characters that systemd permits; None if the address does not identify it.

    Options that cannot be set on an open socket are part of the name: if they change, the socket has to be bound
    again. The identity of a path is also part of it: if the path was removed or replaced, clients cannot reach the
    socket any more.
    """
    if address.is_passed or address.is_opaque or (not address.has_path and not address.port):
        return None
    if address.form.has_url_path:  # one socket serves all paths
        address = replace(address, path="")
    fixed = {name: value for name, value in address.options.items() if name not in CHANGEABLE}
    text = quote(str(replace(address, options=fixed)), safe="/")
    if len(text) > LONGEST:
        text = sha256(text.encode()).hexdigest()
    if address.has_path and not address.path.startswith("@"):
        device, inode = unix_paths.identity(address.system_path) or (0, 0)
        text += f".{device:x}.{inode:x}"
    return PREFIX + text

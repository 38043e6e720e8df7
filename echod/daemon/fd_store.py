"""Listening sockets that outlive the process: systemd's descriptor store (sd_notify(3), FDSTORE=1).

A socket that we bound is handed to the manager under a name made of its address, and taken back by that name at the
next start instead of being bound anew: over a restart no client is refused. What systemd passed from a socket unit
is kept by that unit already.
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

CHANGEABLE: Final = frozenset({"backlog", "dscp"})  #: options of an address that an open socket takes
PREFIX: Final = "echod-"  #: of every name that is ours
PROBE: Final = f"{PREFIX}probe"
LONGEST: Final = 160  #: octets of a name that can be read; systemd takes 255 in all
VARIABLE: Final = "FDSTORE"  #: systemd sets it where it offers a store, from version 254 on
ANSWERED: Final = 1.0  #: seconds that the manager has to say whether it keeps anything
FORGOTTEN: Final = 5.0  #: seconds that it has to let go of what stands in our way


class Store:
    """What the manager keeps for us, and what it `passed` at this start.

    Until `begin` nothing new is handed over; after `end`, what is closed stays where it is.
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
        """Let go of every stored socket that none of these addresses wants: it would be in the way of others."""
        wanted = {name_of(address) for address in addresses}
        others = [name for name in self.passed.names if name.startswith(PREFIX) and name not in wanted]
        for name in others:
            self.passed.drop(name)
            self._remove(name)
        if others:
            self._notify.barrier(FORGOTTEN)

    def take(self, address: Address) -> list[socket.socket]:
        """The sockets of before for this address, ready to be served; none where there are none."""
        name = name_of(address)
        return self.passed.take(name) if name in self.passed.names else []

    def keep(self, address: Address, bound: socket.socket, *, new: bool) -> str | None:
        """Have the manager keep a socket of this address: a new one is handed over. The name that it has there."""
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
        """The start succeeded: hand over what was bound, if the manager keeps such things."""
        self._begun = True
        for name, bound in self._new:
            self._hand_over(name, bound)
        self._new.clear()

    def end(self) -> None:
        """The daemon stops: from now on what is closed was not taken out of service, only left to the next start."""
        self._ended = True

    def closing(self, name: str) -> bool:
        """A socket of this name is closed here: whether it lives on with the manager, who else is told to drop it."""
        if not self._begun:
            return name in self._restored
        if self._ended:
            return name in self._restored or self._is_offered()
        self._restored.discard(name)
        self._remove(name)
        return False

    def _hand_over(self, name: str, bound: socket.socket) -> None:
        if self._is_offered():
            # without FDPOLL=0 the manager drops a socket that has an error to tell
            self._notify.send("FDSTORE=1", f"FDNAME={name}", "FDPOLL=0", descriptors=[bound.fileno()])

    def _remove(self, name: str) -> None:
        self._notify.send("FDSTOREREMOVE=1", f"FDNAME={name}")

    def _is_offered(self) -> bool:
        """Whether the manager keeps descriptors. One that does not say is tried: it closes what it does not keep."""
        if self._offered is None:
            self._offered = self._notify.there and self._try()
        return self._offered

    def _try(self) -> bool:
        try:
            ours, theirs = os.pipe()
        except OSError:  # none is left to ask with
            return False
        try:
            self._notify.send("FDSTORE=1", f"FDNAME={PROBE}", descriptors=[theirs])
        finally:
            os.close(theirs)
        try:
            answered = self._notify.barrier(ANSWERED)
            looking = select.poll()
            looking.register(ours, 0)  # POLLHUP is always told
            return answered and not looking.poll(0)
        finally:
            self._remove(PROBE)
            os.close(ours)


def name_of(address: Address) -> str | None:
    """The name of a socket in the store, in characters that systemd takes; None for what is no place of its own.

    The options that an open socket cannot take are part of it: with others it has to be bound anew. So is the identity
    of a path: where somebody else's file is there by now, or none, the socket behind it can be reached no more.
    """
    if address.is_passed or address.is_opaque or (not address.has_path and not address.port):
        return None
    fixed = {name: value for name, value in address.options.items() if name not in CHANGEABLE}
    text = quote(str(replace(address, options=fixed)), safe="/")
    if len(text) > LONGEST:
        text = sha256(text.encode()).hexdigest()
    if address.has_path and not address.path.startswith("@"):
        device, inode = unix_paths.identity(address.system_path) or (0, 0)
        text += f".{device:x}.{inode:x}"
    return PREFIX + text

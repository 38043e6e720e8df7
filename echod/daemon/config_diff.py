"""Compares a new configuration with the one in force: which sockets are kept, opened, handed over or closed."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from echod.address import Address
from echod.config.settings import Configuration, ServiceConfig
from echod.daemon.bind import BoundSocket, ListenSpec, Unsuited, adapt, grouped, passed_address, why_unsuited
from echod.daemon.fd_store import CHANGEABLE
from echod.daemon.listener import Listener
from echod.fastpath.loop import Loop
from echod.transports.url_path_port import SharedSocket


class ConfigurationRefused(Exception):
    """A configuration that cannot be served: `lines` say why, and `code` is the exit code of a start (sysexits(3))."""

    def __init__(self, code: int, lines: Iterable[str]) -> None:
        self.code = code
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


def at_the_next_start(begun_with: Configuration, configuration: Configuration) -> list[str]:
    """A line for each changed key that takes effect only at the next start."""
    before, now = begun_with.daemon, configuration.daemon
    values = (
        ("landlock", before.landlock != now.landlock, "true" if now.landlock else "false"),
        ("workers", before.workers != now.workers, str(now.workers)),
        ("plane", {before.plane, now.plane} == {"auto", "python"}, now.plane),  # "off" takes effect at once
    )
    lines = [f"daemon.{key}: {text} takes effect at the next start" for key, differs, text in values if differs]
    return lines + ["bus: the change takes effect at the next start"] * (begun_with.bus != configuration.bus)


def explained(lines: tuple[str, ...], *, confined: bool) -> tuple[str, ...]:
    """The errors of a configuration, with a hint if Landlock may be the cause."""
    if confined and any("(EACCES)" in line for line in lines):
        return (*lines, "landlock permits only the files and ports of the start: restart the daemon")
    return lines


class FixedOptions(Exception):
    """Options that cannot change while a socket is open; `errors` has a line for each."""

    def __init__(self, errors: Iterable[str]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(self.errors))


@dataclass
class Difference:
    """The difference between the running listeners and a new configuration."""

    new: list[ListenSpec] = field(default_factory=list)  #: addresses to bind
    going_on: list[tuple[Listener, ListenSpec]] = field(default_factory=list)  #: listeners that continue
    renewed: list[tuple[Listener, ListenSpec]] = field(default_factory=list)  #: a new listener takes the socket over
    gone: list[Listener] = field(default_factory=list)  #: listeners to close


def difference(listeners: Iterable[Listener], specs: Iterable[ListenSpec], plane: Loop | None) -> Difference:
    """Sort each listener and each address into a Difference. Raises FixedOptions."""
    there: dict[tuple[object, ...], list[Listener]] = {}
    for listener in listeners:
        there.setdefault(listener.bound.spec.key, []).append(listener)
    found = Difference()
    errors: list[str] = []
    for one in specs:
        ours = there.pop(one.key, None)
        if ours is None:
            found.new.append(one)
            continue
        errors += _unchangeable(ours[0].bound.spec.address, one.address)
        for listener in ours:
            same = listener.can_continue(one.service, plane) and _layers(listener.bound.spec.address) == _layers(
                one.address
            )
            (found.going_on if same else found.renewed).append((listener, one))
    found.gone = [listener for group in there.values() for listener in group]
    if errors:
        raise FixedOptions(errors)
    return found


def _layers(address: Address) -> tuple[object, ...]:
    """The parts of an address that determine its layers."""
    return address.scheme, address.options.get("as"), "proxy" in address.options


def _unchangeable(old: Address, new: Address) -> Iterable[str]:
    for name in sorted(old.options.keys() ^ new.options.keys() | old.options.keys() & new.options.keys()):
        if name not in CHANGEABLE and old.options.get(name) != new.options.get(name):
            yield f"{new.label}: {name} of an open address cannot change; restart, or leave the address out first"


def rebound(bound: BoundSocket, one: ListenSpec) -> BoundSocket:
    """The same socket for another configuration. Its options are not set yet: see `readapt`. Raises Unsuited."""
    opened = bound.socket.socket if isinstance(bound.socket, SharedSocket) else bound.socket
    if isinstance(opened, socket.socket) and one.address.is_passed:
        address = passed_address(opened, one.address)
        kept: Any = bound.socket
        if address.form.has_url_path is not isinstance(kept, SharedSocket):
            kept = opened if isinstance(kept, SharedSocket) else SharedSocket(opened)
        changed = replace(bound, service=one.service, address=address, spec=one, socket=kept)
        if unsuited_because := why_unsuited(changed):
            raise Unsuited([f"{one.address.label}: {unsuited_because}"])
        return changed
    address = replace(bound.address, scheme=one.address.scheme, options=one.address.options)
    return replace(bound, service=one.service, address=address, spec=one)


def readapt(bound: BoundSocket, one: ListenSpec) -> None:
    """Set the changed options of an open socket."""
    options = one.address.options
    opened = bound.socket.socket if isinstance(bound.socket, SharedSocket) else bound.socket
    if isinstance(opened, socket.socket) and options != bound.spec.address.options:
        adapt(opened, replace(bound.address, options=options))


def changed(listeners: Iterable[Listener], services: Iterable[ServiceConfig]) -> list[str]:
    """The names of the services that continue with another configuration."""
    ours = {listener.name: listener.running for listener in listeners}
    return [config.name for config in services if config.name in ours and not ours[config.name].is_like(config)]


def changes(
    found: Difference,
    opened: Iterable[BoundSocket],
    services: Iterable[str],
    before: Configuration,
    after: Configuration,
) -> Iterator[str]:
    """A line for each change: `-` was removed, `+` was added, `~` was changed."""
    yield from (f"- {name} {label}" for name, label in grouped(listener.bound for listener in found.gone))
    yield from (f"+ {name} {label}" for name, label in grouped(opened))
    for listener, spec in (*found.going_on, *found.renewed):
        if listener.name != spec.service.name:
            yield f"~ {spec.service.name} {listener.label}, of {listener.name} before"
        elif listener.bound.spec.address != spec.address:
            yield f"~ {listener.name} {spec.address}"
    yield from (f"~ {name}" for name in services)
    if replace(before.admin, listen=()) != replace(after.admin, listen=()):
        yield "~ [admin]"
    if before.daemon != after.daemon:
        yield "~ [daemon]"

"""Binds every socket of a configuration before anything is served: all of them, or none."""

from __future__ import annotations

import errno
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, cast

from echod import runtime_dir
from echod.address import BACKLOG, Address
from echod.config.address_listing import exposed
from echod.config.kind_transports import CARRIES, refusal_of
from echod.config.settings import ServiceConfig
from echod.daemon import address_holder
from echod.daemon.fd_store import DescriptorStore
from echod.escaping import system_error
from echod.faults.parsing import misfits
from echod.socket_names import Inet, inet_name, is_loopback
from echod.transports import inherited_sockets, twisted_endpoint_strings, unix_paths
from echod.transports.multicast import TTL, is_group
from echod.transports.sockets import mark
from echod.transports.tcp import accepts_fast_open
from echod.transports.transport import every_transport
from echod.transports.url_path_port import SharedSocket

TRANSPORTS: Final[Mapping[str, Any]] = every_transport()


ABSENT: Final = frozenset({errno.EADDRNOTAVAIL, errno.ENODEV})
"""Errors of an address or interface that does not exist yet. `retry` waits for it; every other error is final."""


@dataclass(frozen=True)
class ListenSpec:
    """One configured address. `turn` distinguishes those of a service that have the same `place`, with port 0."""

    service: ServiceConfig
    address: Address  #: with one port, also if a range is configured
    turn: int
    is_of_range: bool = False

    @property
    def key(self) -> tuple[object, ...]:
        """The key that identifies the same address after a reload; its options are not part of it."""
        whose = (self.service.name, self.turn) if self.address.any_port else ()
        return (*place(self.address), *whose)


def place(address: Address) -> tuple[object, ...]:
    """The socket that an address needs: schemes of one transport differ in their layers only."""
    return (address.form.module or address.scheme, address.host, address.port, address.path)


@dataclass(frozen=True)
class BoundSocket:
    """One bound socket of one address. If port 0 was configured, `address` has the port that the kernel chose."""

    service: ServiceConfig
    address: Address  #: for `systemd:NAME`, the address of the socket that was passed
    socket: socket.socket | twisted_endpoint_strings.Listening | SharedSocket
    spec: ListenSpec
    path: unix_paths.OwnPath | None = None  #: the path to remove with the socket, if echod created it
    closing: Callable[[], bool] = lambda: False  #: called at the close; True if the manager keeps socket and path

    @property
    def transport(self) -> Any:
        """The transport of the socket."""
        return TRANSPORTS[self.address.scheme]

    @property
    def label(self) -> str:
        """The address as logs show it; for an endpoint string, also the TCP address that it listens on."""
        host, port = self.socket.getsockname()[:2] if self.address.is_opaque else ("", 0)
        return f"{self.address.label} (tcp://{Inet(host, port)})" if port else self.address.label

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        if self.address.is_opaque:
            return is_loopback(str(self.socket.getsockname()[0]))
        return self.address.loopback

    def close(self) -> None:
        """Remove its path if echod created it and the manager does not keep the socket; then close it.

        In this order: until the socket is closed, the kernel gives its inode to no other file.
        """
        if not self.closing() and self.path is not None:
            self.path.remove()
        self.socket.close()


Bind = Callable[[Sequence[ListenSpec], dict[ListenSpec, str], Iterable[BoundSocket]], list[BoundSocket]]
"""Opens the sockets of addresses, as `bind_all` with a reactor and a store."""


class Unbindable(Exception):
    """Some sockets could not be opened. `errors` has a line for each; no socket stays open."""

    def __init__(self, errors: Iterable[str]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(self.errors))


class Unsuited(Unbindable):
    """A socket that systemd passed has a type that its service cannot be served on."""


def specs_of(services: Iterable[ServiceConfig]) -> list[ListenSpec]:
    """Every address of these services."""
    found: list[ListenSpec] = []
    for service in services:
        turns: Counter[tuple[object, ...]] = Counter()
        for address in service.listen:
            for one in address.each:
                found.append(ListenSpec(service, one, turns[place(one)], bool(address.last_port)))
                turns[place(one)] += 1
    return found


def grouped(bound: Iterable[BoundSocket]) -> Iterator[tuple[str, str]]:
    """The service's name and the label of each socket, with `?proxy=` if its clients must send PROXY headers.

    Consecutive ports of a range are one label.
    """
    run: list[BoundSocket] = []
    for one in bound:
        if run and not _continues(run[-1], one):
            yield _label_of(run)
            run.clear()
        run.append(one)
    if run:
        yield _label_of(run)


def _continues(before: BoundSocket, one: BoundSocket) -> bool:
    """Whether a socket has the next port of the same range."""
    of_range = before.spec.is_of_range and one.spec.is_of_range and before.service.name == one.service.name
    return of_range and replace(before.address, port=before.address.port + 1) == one.address


def _label_of(run: Sequence[BoundSocket]) -> tuple[str, str]:
    first, last = run[0], run[-1]
    label = first.label if first is last else replace(first.address, last_port=last.address.port).label
    proxy = first.address.options.get("proxy")
    return first.service.name, label if proxy is None else f"{label}?proxy={proxy}"


def bind_all(
    reactor: Any,
    specs: Sequence[ListenSpec],
    absent: dict[ListenSpec, str] | None = None,
    beside: Iterable[BoundSocket] = (),
    *,
    store: DescriptorStore,
) -> list[BoundSocket]:
    """Bind every address, or take its sockets from the `store`. Raises Unbindable with all errors at once.

    Addresses that differ in their paths only share a socket, with each other and with those `beside` them. If this
    machine does not have an address with `retry`, it is added to `absent`, if given, with the reason.
    """
    bound: list[BoundSocket] = []
    shared = SharedSockets(beside)
    errors: list[str] = []
    taken: list[Address] = []
    unsuited: list[str] = []
    store.forget_others(spec.address for spec in specs)
    for spec in specs:
        address = spec.address
        try:
            for one in _open(reactor, spec, store, shared):
                bound.append(one)
                if address.is_passed and (unsuited_because := why_unsuited(one)):
                    unsuited.append(f"{address.label}: {unsuited_because}")
        except OSError as error:
            if absent is not None and "retry" in address.options and error.errno in ABSENT:
                absent[spec] = reason(error, address)
            elif error.errno == errno.EADDRINUSE:
                taken.append(address)
            else:
                errors.append(f"{address.label}: {reason(error, address)}")
    errors += address_holder.messages(taken)
    if errors or unsuited:
        for one in bound:
            one.close()
        raise Unbindable(errors + unsuited) if errors else Unsuited(unsuited)
    return bound


class SharedSockets:
    """The bound sockets that several addresses can share, because these differ in their paths only."""

    def __init__(self, bound: Iterable[BoundSocket]) -> None:
        self._sockets: dict[tuple[object, ...], list[tuple[BoundSocket, SharedSocket]]] = {}
        for one in bound:
            self.add(one)

    def add(self, one: BoundSocket) -> None:
        """Remember a socket, if it can be shared."""
        if isinstance(one.socket, SharedSocket) and (key := self._key(one.spec.address)):
            there = self._sockets.setdefault(key, [])
            if all(shared is not one.socket for _, shared in there):
                there.append((one, one.socket))

    def find(self, spec: ListenSpec) -> Iterator[BoundSocket]:
        """The sockets of another address with the same host and port, for one more user."""
        address = spec.address
        for one, shared in self._sockets.get(self._key(address), ()):
            where = replace(one.address, scheme=address.scheme, path=address.path, options=address.options)
            yield BoundSocket(spec.service, where, shared.share(), spec)

    @staticmethod
    def _key(address: Address) -> tuple[object, ...]:
        shares = address.form.has_url_path and not address.any_port
        return (address.host, address.port, address.options.get("interface")) if shares else ()


def _open(reactor: Any, spec: ListenSpec, store: DescriptorStore, shared: SharedSockets) -> Iterator[BoundSocket]:
    service, address = spec.service, spec.address
    if found := list(shared.find(spec)):
        yield from found
        return
    if address.is_passed:
        for adopted in store.passed.take(address.path):
            where = passed_address(adopted, address)
            yield BoundSocket(service, where, SharedSocket(adopted) if where.form.has_url_path else adopted, spec)
        return
    kept = store.take(address)
    if address.has_path and not address.path.startswith("@"):
        runtime_dir.prepare(os.path.dirname(address.system_path), os.environ)
    for opened in kept:
        TRANSPORTS[address.scheme].prepare(opened)  # another version of the daemon may have opened it
        adapt(opened, address)
    for opened in kept or TRANSPORTS[address.scheme].bind(reactor, address):
        name = store.keep(address, opened, new=not kept)
        closing = partial(store.closing, name) if name else lambda: False
        if address.form.has_url_path:
            one = BoundSocket(service, _as_bound(address, opened), SharedSocket(opened, closing), spec)
            shared.add(one)
            yield one
            continue
        path = unix_paths.OwnPath(address.system_path) if address.has_path else None
        yield BoundSocket(service, _as_bound(address, opened), opened, spec, path, closing)


def adapt(opened: socket.socket, address: Address) -> None:
    """Set those options of an address that an open socket can change. Raises OSError."""
    if opened.family in (socket.AF_INET, socket.AF_INET6):
        # The kernel refuses some of these options on sockets of Multipath TCP, which keep their defaults.
        defaults = {} if address.options.get("mptcp") else {"dscp": 0, "ttl": TTL if is_group(address.host) else -1}
        given = {**defaults, **address.options}
        mark(opened, replace(address, options={name: given[name] for name in ("dscp", "df", "ttl") if name in given}))
    if opened.type is not socket.SOCK_DGRAM:
        opened.listen(int(address.options.get("backlog", BACKLOG)))


def _as_bound(address: Address, opened: socket.socket) -> Address:
    if address.has_path or address.is_opaque:
        return address
    host, port = inet_name(opened.getsockname())
    return replace(address, host=address.host if address.host == "*" else host, port=port)


def passed_address(adopted: socket.socket, spec: Address) -> Address:
    """The address of a passed socket, with the layers that `systemd:NAME` puts on it: `as` and `proxy`."""
    address = inherited_sockets.address_of(adopted)
    options = {name: value for name, value in spec.options.items() if name != "as"}
    return replace(address, scheme=str(spec.options.get("as", address.scheme)), options=options)


def why_unsuited(bound: BoundSocket) -> str:
    """Why a service cannot be served on a passed socket, with the layers of its address; "" if it can."""
    kind, address, spec = bound.service.kind, bound.address, bound.spec.address
    opened = bound.socket.socket if isinstance(bound.socket, SharedSocket) else bound.socket
    own = inherited_sockets.address_of(cast(socket.socket, opened))
    if "as" in spec.options and own.form.module != address.form.module:
        return f"{own.label} cannot be served as {address.scheme}; expected a TCP socket"
    if "proxy" in spec.options and "proxy" not in own.form.options:
        return f"{own.label} has no PROXY headers; expected a TCP or UDP socket"
    if not kind.is_served_over(address.shape):
        return f"{address.label} carries {CARRIES[address.shape]}, and {kind.kind} is not served over them"
    return refusal_of(kind, address)


def reason(error: OSError, address: Address) -> str:
    """Why an address cannot be opened, as text for a message."""
    if isinstance(error, PermissionError) and 0 < address.port < 1024:
        return f"{system_error(error)}: a port below 1024 needs CAP_NET_BIND_SERVICE"
    return system_error(error)


def start_warnings(bound: Iterable[BoundSocket]) -> list[str]:
    """The warnings about opened addresses.

    They are reachable from the network while only loopback is allowed, the kernel ignores an option, or a fault does
    not exist on any of the sockets that a service was passed.
    """
    found: list[str] = []
    bound = list(bound)
    services = {one.service.name: one.service for one in bound}
    for name, label in grouped(one for one in bound if not one.loopback):
        found += exposed(services[name], label, False)
    if not accepts_fast_open():
        for name, label in grouped(one for one in bound if one.address.options.get("fastopen")):
            found.append(f"{name}  {label}: fastopen has no effect: net.ipv4.tcp_fastopen must include 2")
    for name, config in services.items():
        if config.faults is not None:
            forms = [one.address.served_form for one in bound if one.service.name == name]
            found += [f"{name}  faults.{key} {text}" for key, text in misfits(config.faults, forms)]
    return found

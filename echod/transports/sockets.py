"""Open, configure and bind Internet sockets. If a step fails, the socket is closed.

`hosts_of` blocks until the name server answers or times out. The other functions query no name server: their callers
have numeric addresses.
"""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from echod.address import Address
from echod.address_options import option_text, source_of
from echod.gate.total_buffer import KERNEL_BUFFER
from echod.socket_names import scoped
from echod.transports.multicast import TTL, is_group, join, limit_ttl, prepare_sender

KEEPALIVE: Final = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 4}
"""Seconds without data before the first keepalive probe, seconds between probes, and the number of probes. A peer that
disappears while the connection is idle is detected after two minutes, and not after Linux's default of two hours. With
TCP_USER_TIMEOUT, Linux ignores the number and sends probes until that time is over (tcp(7))."""
IP_FREEBIND: Final = 15  # ip(7)
IPV6_FREEBIND: Final = 78  # <linux/in6.h>
IP_MTU_DISCOVER: Final = 10  # ip(7)
IPV6_MTU_DISCOVER: Final = 23  # ipv6(7)
PMTUDISC: Final = {"dont": 0, "want": 1, "do": 2}  # <linux/in.h>; ipv6(7) has the same numbers
IPV6_TCLASS: Final = 67  # ipv6(7); the socket module lacks it on some builds
IP_BIND_ADDRESS_NO_PORT: Final = 24  # ip(7)
IPPROTO_MPTCP: Final = 262  # <linux/in.h>


def inet_sockets(address: Address, kind: socket.SocketKind, *, share: bool = False) -> Iterator[socket.socket]:
    """Yield bound, non-blocking sockets for a numeric host; `*` is one dual-stack socket.

    `kind` is SOCK_STREAM or SOCK_DGRAM; a stream socket does not listen yet. With `share`, other sockets of this user
    with SO_REUSEPORT may have the same address (socket(7)). Raises OSError.
    """
    for family, sockaddr in _places(address, kind):
        opened = open_socket(address, family, kind)
        try:
            _set_options(opened, address)
            if share:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            opened.bind(sockaddr)
            if is_group(address.host):
                join(opened, address)
            opened.setblocking(False)
        except BaseException:
            opened.close()
            raise
        yield opened


def open_socket(address: Address, family: int, kind: socket.SocketKind) -> socket.socket:
    """A new socket, of Multipath TCP if the address has `mptcp`. Raises OSError."""
    if not address.options.get("mptcp"):
        return socket.socket(family, kind)
    with refusing(address, "mptcp"):
        return socket.socket(family, kind, IPPROTO_MPTCP)


def is_name(address: Address) -> bool:
    """Whether the host of an address is a name, and not a number."""
    if address.is_opaque or address.is_passed or address.has_path or address.host == "*":
        return False
    try:
        ipaddress.ip_address(address.host.partition("%")[0])
    except ValueError:
        return True
    return False


def hosts_of(name: str) -> list[str]:
    """The addresses of a host name, in the resolver's order. Blocks. Raises OSError."""
    found = socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    numbers = ((str(entry[0]).partition("%")[0], entry[3] if len(entry) == 4 else 0) for *_, entry in found)
    return list(dict.fromkeys(scoped(host, index) if index else host for host, index in numbers))


def _places(address: Address, kind: socket.SocketKind) -> list[tuple[socket.AddressFamily, Any]]:
    if address.host == "*":
        if _has_ipv6():
            return [(socket.AF_INET6, ("::", address.port))]
        return [(socket.AF_INET, ("0.0.0.0", address.port))]
    check_zone(address.host)
    numbers = socket.AI_PASSIVE | socket.AI_NUMERICHOST
    found = socket.getaddrinfo(address.host, address.port, type=kind, flags=numbers)
    return list(dict.fromkeys((family, sockaddr) for family, _, _, _, sockaddr in found))


def check_zone(host: str) -> None:
    """Raises OSError (ENODEV) if the zone of an IPv6 address names an interface that does not exist."""
    _, percent, zone = host.partition("%")
    if percent and not zone.isdecimal():
        with _named(zone):
            socket.if_nametoindex(zone)


@contextmanager
def _named(interface: str) -> Iterator[None]:
    """Name the interface in the error if it does not exist."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.ENXIO, None):  # if_nametoindex(3) leaves no number before Python 3.13
            raise OSError(errno.ENODEV, f"interface {interface} does not exist") from error
        raise


@contextmanager
def refusing(address: Address, name: str) -> Iterator[None]:
    """Name the option and its value in the error, if the kernel refuses it."""
    try:
        yield
    except OSError as error:
        text = option_text((name, address.options[name]))
        raise OSError(error.errno, f"{text}: {os.strerror(error.errno or 0).lower()}") from error


def _has_ipv6() -> bool:
    if not socket.has_ipv6:
        return False
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def _set_options(opened: socket.socket, address: Address) -> None:
    options = address.options
    if opened.type is socket.SOCK_STREAM:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a restart need not wait for TIME_WAIT
    if opened.family == socket.AF_INET6:
        alone = bool(options.get("v6only", address.host != "*"))
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, alone)
    if options.get("freebind"):  # an address that this machine does not have, or not yet (ip(7))
        if opened.family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        opened.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    if is_group(address.host):  # other programs may receive from the group at this port too
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        limit_ttl(opened, TTL)
    mark(opened, address)


def accept(listening: socket.socket) -> tuple[socket.socket, Any]:
    """Accept a connection, even if a seccomp filter refuses accept4(2) with EPERM. Raises OSError.

    Python falls back to accept(2) only after ENOSYS.
    """
    try:
        return listening.accept()
    except PermissionError:  # or accept4(2) refused one connection: then this accepts the next
        library = ctypes.CDLL(None, use_errno=True)
        descriptor = library.accept(listening.fileno(), None, None)
        if descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number)) from None
    os.set_inheritable(descriptor, False)
    accepted = socket.socket(fileno=descriptor)
    try:
        return accepted, accepted.getpeername()
    except OSError as error:  # the peer has just reset it
        accepted.close()
        raise ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED)) from error


def clamp(transport: Any) -> None:
    """Bound the kernel's buffers of a stuck TCP connection: it holds less, and accepts less from its peer.

    After a size is set, Linux no longer tunes it (tcp(7)). So this is done only for connections that are stuck.
    """
    opened = getattr(transport, "socket", None)
    if opened is not None and opened.family != socket.AF_UNIX:  # the kernel does not grow the buffer of a Unix socket
        with suppress(OSError):  # the connection has just ended
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BUFFER)


def keep_urgent_inline(opened: socket.socket) -> None:
    """Deliver urgent bytes (MSG_OOB) within the stream. Raises OSError.

    Without the option the kernel removes each urgent byte from the stream, and no reader receives it (tcp(7)).
    TCP connections inherit it from their listener; Unix connections do not.
    """
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)


def mark(opened: socket.socket, address: Address) -> None:
    """Set `interface`, `dscp`, `df` and `ttl` on a listening or connecting socket. Raises OSError."""
    options = address.options
    if interface := options.get("interface"):
        with _named(str(interface)), refusing(address, "interface"):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, str(interface).encode() + b"\0")
    if (dscp := options.get("dscp")) is not None:
        with refusing(address, "dscp"):
            _set_of_ip(opened, IPV6_TCLASS, socket.IP_TOS, int(dscp) << 2)
    if (df := options.get("df")) is not None:
        with refusing(address, "df"):
            _set_of_ip(opened, IPV6_MTU_DISCOVER, IP_MTU_DISCOVER, PMTUDISC[str(df)])
    if (ttl := options.get("ttl")) is not None:
        with refusing(address, "ttl"):
            _set_of_ip(opened, socket.IPV6_UNICAST_HOPS, socket.IP_TTL, int(ttl))


def _set_of_ip(opened: socket.socket, six: int, four: int, value: int) -> None:
    """Set an option of IPv6 and the same one of IPv4, as far as the socket carries them. Raises OSError."""
    if opened.family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, six, value)
    if carries_ipv4(opened):
        opened.setsockopt(socket.IPPROTO_IP, four, value)


def prepare_client(opened: socket.socket, address: Address) -> None:
    """Set the options of an address on a socket before it connects, and bind it to `source`. Raises OSError.

    If `source` has several ports, the first free one is used.
    """
    mark(opened, address)
    if is_group(address.host) and opened.type is socket.SOCK_DGRAM:
        prepare_sender(opened, address)
    source = source_of(str(address.options.get("source", "")))
    if source is None:
        return
    host = source.host if source.host != "*" else "::" if opened.family == socket.AF_INET6 else "0.0.0.0"
    if (":" in host) != (opened.family == socket.AF_INET6):
        raise OSError(errno.EAFNOSUPPORT, f"source={source.host} is an address of the other IP version")
    check_zone(host)
    if opened.type is socket.SOCK_STREAM and source.lowest:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # its last connection may be in TIME_WAIT
    elif opened.type is socket.SOCK_STREAM:
        opened.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)  # connect(2) chooses the port
    with refusing(address, "source"):
        for port in range(source.lowest, source.highest + 1):
            (*_, name), *_ = socket.getaddrinfo(host, port, type=opened.type, flags=socket.AI_NUMERICHOST)
            try:
                opened.bind(name)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or port == source.highest:
                    raise
            else:
                return


def carries_ipv4(opened: socket.socket) -> bool:
    """Whether a socket sends and receives IPv4: of that family, or of both (IPV6_V6ONLY)."""
    return opened.family == socket.AF_INET or not opened.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def keep_alive(opened: socket.socket) -> None:
    """Detect a peer of TCP that has disappeared, as KEEPALIVE describes. Raises OSError."""
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        with suppress(OSError):  # a Multipath TCP socket has only some of them
            opened.setsockopt(socket.IPPROTO_TCP, option, value)

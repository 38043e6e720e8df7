"""Checks of the configured addresses: can each be bound on this machine, and if not, what prevents it?"""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Iterator

from echod.address import Address
from echod.client.doctor.machine_facts import (
    CAP_NET_BIND_SERVICE,
    BoundInet,
    Finding,
    Holder,
    Machine,
    Severity,
)
from echod.config.files import SYSTEM
from echod.config.settings import Configuration
from echod.escaping import counted, escaped, system_error
from echod.shape import Shape

WILDCARDS = ("0.0.0.0", "::")


def inet_addresses(configuration: Configuration) -> Iterator[tuple[str, Address]]:
    """Each configured address with a port of its own, after its service's name."""
    listening = [(service.name, service.listen) for service in configuration.services]
    for name, addresses in (*listening, ("admin", configuration.admin.listen)):
        for address in addresses:
            if not (address.is_opaque or address.is_passed or address.has_path or address.any_port):
                yield from ((name, one) for one in address.each)


def unix_addresses(configuration: Configuration) -> Iterator[Address]:
    """Each configured Unix socket with a path in the file system."""
    listening = [service.listen for service in configuration.services]
    for addresses in (*listening, configuration.admin.listen):
        yield from (one for one in addresses if one.has_path and not one.path.startswith("@"))


def is_datagram(address: Address) -> bool:
    """Whether the sockets of an address are UDP sockets."""
    return address.shape is Shape.DATAGRAM


def ports(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """Ports that another process uses: one finding for all that one process has."""
    taken: dict[tuple[Severity, str, str], list[str]] = {}
    seen = set()
    for _, address in inet_addresses(configuration):
        key = (is_datagram(address), address.host, address.port)
        if key in seen or address.label in machine.served:  # WebSocket services may share one
            continue
        seen.add(key)
        holding = [one for one in machine.sockets if _conflicts(one, address, machine)]
        holders = [holder for one in holding for holder in one.holders]
        if not holding or machine.daemon_pids & {holder.pid for holder in holders}:
            continue
        unknown = machine.denied or not configuration.admin.listen  # the daemon may run, and cannot be asked
        ours = unknown and all(one.is_echod or one.pid == 1 for one in holders)
        taken.setdefault(("notice" if ours else "error", *_taken(address, holders)), []).append(address.label)
    for (severity, found, command), labels in taken.items():
        others = f" and {counted(len(labels) - 1, 'other', 'others')}" if len(labels) > 1 else ""
        what = f"{labels[0]}{others}: {'in use' if severity == 'notice' else 'taken'}"
        yield Finding(severity, "ports", what, found, "a free port", command if severity == "error" else "")


def _conflicts(one: BoundInet, address: Address, machine: Machine) -> bool:
    """Whether a socket prevents the bind of an address. If this user may not bind the port, by its host alone."""
    if (one.datagram, one.port) != (is_datagram(address), address.port):
        return False
    error = machine.bind_errors.get(address.label)
    same = address.host == "*" or one.host in (address.host, *WILDCARDS)
    return same and error in (errno.EADDRINUSE, errno.EACCES)


def _taken(address: Address, holders: list[Holder]) -> tuple[str, str]:
    """By which process a port is taken, and the command that frees it."""
    if not holders:
        return "a process of another user: run echoctl doctor as root to see it", ""
    first = min(holders, key=lambda one: -one.pid)
    found = f"process {first.pid} ({escaped(first.command) or 'without a command line'})"
    if first.unit:
        return f"{found}, of {escaped(first.unit)}", f"systemctl stop {shlex.quote(first.unit)}"
    if first.pid == 1:
        units = f"systemctl list-sockets --plain --no-legend | awk '$1 ~ /:{address.port}$/ {{ print $2 }}'"
        return f"{found}: a socket unit", f"systemctl stop $({units})"
    return found, f"kill {first.pid}"


def hosts(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """Addresses and interfaces that this machine does not have, and IPv6 that is disabled."""
    seen = set()
    for _, address in inet_addresses(configuration):
        error = machine.bind_errors.get(address.label, 0)
        interface = str(address.options.get("interface", ""))
        if interface and interface not in machine.interfaces and interface not in seen:
            seen.add(interface)
            known = ", ".join(sorted(machine.interfaces))
            yield Finding("error", "hosts", f"{address}: the interface does not exist", interface, f"one of {known}")
        if address.host in seen or {"retry", "freebind"} & address.options.keys():
            continue
        if ":" in address.host and _has_no_ipv6(error, machine):
            seen.add(address.host)
            scopes = ("all", "lo") if address.loopback else ("all", "default")
            keys = " ".join(f"net.ipv6.conf.{scope}.disable_ipv6=0" for scope in scopes)
            yield Finding(
                "error", "hosts", f"{address.label}: IPv6 is disabled", "disabled", "enabled", f"sysctl -w {keys}"
            )
        elif error == errno.EADDRNOTAVAIL:
            seen.add(address.host)
            bits = 128 if ":" in address.host else 32
            command = f"ip address add {address.host.partition('%')[0]}/{bits} dev lo"
            what = f"{address.label}: this machine does not have the address"
            needed = "an address of an interface, or ?retry=5s if it appears later"
            yield Finding("error", "hosts", what, address.host, needed, command)
        elif error not in (0, errno.EADDRINUSE, errno.EACCES):
            seen.add(address.host)
            reason = system_error(OSError(error, os.strerror(error)))
            yield Finding("error", "hosts", f"{address.label} cannot be bound", reason, "an address that can be bound")


def _has_no_ipv6(error: int, machine: Machine) -> bool:
    return error == errno.EAFNOSUPPORT or (
        error == errno.EADDRNOTAVAIL and machine.sysctl("net.ipv6.conf.lo.disable_ipv6") != 0
    )


def low_ports(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """Ports that need a capability."""
    first = machine.sysctl("net.ipv4.ip_unprivileged_port_start")
    if machine.process.capabilities & CAP_NET_BIND_SERVICE or first is None or machine.denied:
        return
    low = [one for _, one in inet_addresses(configuration) if one.port < first and one.label not in machine.served]
    if not low:
        return
    least = min(one.port for one in low)
    packaged = configuration.sources[:1] == (SYSTEM,)
    yield Finding(
        "error",
        "low-ports",
        f"{low[0].label}: ports below {first} need CAP_NET_BIND_SERVICE, and process {machine.process.pid} lacks it",
        f"net.ipv4.ip_unprivileged_port_start = {first}",
        f"at most {least}, or the capability (AmbientCapabilities= in a unit)",
        "systemctl start echod" if packaged else f"sysctl -w net.ipv4.ip_unprivileged_port_start={least}",
    )


def ephemeral_ports(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """Ports that the kernel may give to outgoing connections while the daemon does not run."""
    key = "net.ipv4.ip_local_port_range"
    first, last = machine.sysctl(key), machine.sysctl(key, 1)
    if first is None or last is None:
        return
    reserved = machine.sysctls.get("net.ipv4.ip_local_reserved_ports", "").strip()
    at_risk = {one.port for _, one in inet_addresses(configuration) if first <= one.port <= last}
    if unreserved := sorted(port for port in at_risk if not _in_ranges(port, reserved)):
        ports = ",".join(map(str, unreserved))
        yield Finding(
            "warning",
            "ephemeral-ports",
            f"the kernel may give port {ports} to an outgoing connection before echod starts",
            f"{key} = {first} {last}",
            "the ports in net.ipv4.ip_local_reserved_ports",
            f"sysctl -w net.ipv4.ip_local_reserved_ports={','.join(filter(None, (reserved, ports)))}",
        )


def _in_ranges(port: int, ranges: str) -> bool:
    """Whether a port is in a list such as `8080,9000-9010`."""
    for part in filter(None, ranges.split(",")):
        first, _, last = part.partition("-")
        if int(first) <= port <= int(last or first):
            return True
    return False


def unix_folders(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """Folders of Unix sockets."""
    done = set()
    for address in unix_addresses(configuration):
        folder = os.path.dirname(address.path)
        facts = machine.folders.get(address.path)
        if facts is None or facts.is_made:
            continue
        if facts.blocked_by:
            quoted = shlex.quote(address.path)
            command = f"mv {quoted} {quoted}.old"
            what = f"{address.label}: the path is not a socket"
            yield Finding("error", "unix-folders", what, facts.blocked_by, "a free path", command)
        if folder in done:
            continue
        done.add(folder)
        quoted = shlex.quote(folder)
        if not facts.exists:
            command = f"install -d -m 755 {quoted}"
            what = f"{address.label}: the folder does not exist"
            yield Finding("error", "unix-folders", what, "no folder", escaped(folder), command)
        elif facts.exposed:
            what = f"{address.label}: other users may replace sockets in the folder"
            command = f"chmod go-w {quoted}"
            yield Finding("warning", "unix-folders", what, "writable by others", "by its owner only", command)
        elif not (facts.writable or machine.process.is_daemon or machine.denied):
            what = f"{address.label}: this user may not create files in the folder"
            found, command = f"user {machine.process.user}", f"chown {machine.process.user} {quoted}"
            yield Finding("error", "unix-folders", what, found, "the folder's owner, or root", command)


def dual_stack(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """Addresses with `*` on a machine without IPv6."""
    every = [one for _, one in inet_addresses(configuration) if one.host == "*"]
    if every and machine.sysctl("net.ipv6.conf.all.disable_ipv6") != 0:
        what = f"{every[0].label} is served over IPv4 only"
        command = "sysctl -w net.ipv6.conf.all.disable_ipv6=0"
        yield Finding("notice", "dual-stack", what, "IPv6 is disabled", "IPv6 for clients that use it", command)

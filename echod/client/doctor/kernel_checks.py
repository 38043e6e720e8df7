"""Checks of the kernel's settings, of the packets that it dropped, of its features, and of the clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from echod.address import BACKLOG
from echod.client.doctor.address_checks import inet_addresses, is_datagram, unix_addresses
from echod.client.doctor.machine_facts import Finding, Machine, Severity
from echod.config.settings import Configuration
from echod.escaping import counted, escaped
from echod.gate.refusal import Refusal

UDP_BUFFER: Final = 8 * 1024 * 1024
"""Bytes of the receive buffer that echod requests for a UDP socket (`echod/transports/udp_options.py`)."""
PER_CONNECTION: Final = 16_384  #: bytes of kernel memory of a connection, as in the comment of systemd/echod.service
PAGE: Final = 4096
NEARLY: Final = 0.9  #: of a table's size: from there on a burst fills it
NETDEV_BACKLOG: Final = 10_000  #: packets; ten times the kernel's default


class DropCounter(NamedTuple):
    """A counter of dropped packets: what it means, and the sysctl that gives more room."""

    means: str
    key: str
    enough: int  #: the value of the sysctl above which raising it does not help


DROPS: Final[Mapping[str, DropCounter]] = {
    "TcpExt.ListenOverflows": DropCounter(
        "connections found a listen queue full and were dropped", "net.core.somaxconn", 65_535
    ),
    "softnet.dropped": DropCounter(
        "packets found the queue of a CPU full", "net.core.netdev_max_backlog", NETDEV_BACKLOG
    ),
    "conntrack.drop": DropCounter(
        "packets were dropped by connection tracking", "net.netfilter.nf_conntrack_max", 1 << 20
    ),
}


def dropped(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """Packets that the kernel drops now. Drops before the observation are only a notice: they may be weeks old."""
    for name, counter in DROPS.items():
        rose, total = machine.rose.get(name, 0), machine.counters.get(name, 0)
        if rose:
            now = machine.sysctl(counter.key)
            higher = now is not None and now < counter.enough
            found = f"{name} rose by {rose} in {machine.seconds:g} s" + (f"; {counter.key} = {now}" if higher else "")
            command = f"sysctl -w {counter.key}={counter.enough}" if higher else ""
            severity: Severity = "warning" if machine.process.is_daemon else "notice"
            yield Finding(severity, "dropped", counter.means, found, "0", command)
        elif total:
            yield Finding("notice", "dropped", counter.means, f"{name} = {total} since the machine started")
    ours = {one.port for _, one in inet_addresses(configuration)}
    for rule in machine.rules:
        if rule.packets and rule.ports & ours:
            ports = ", ".join(map(str, sorted(rule.ports & ours)))
            found = f"{rule.packets} packets, {rule.rose} of them in {machine.seconds:g} s"
            what = f"a rule of the packet filter drops packets to port {ports}"
            command = f"nft delete rule {rule.rule}"
            yield Finding("warning" if rule.rose else "notice", "dropped", what, found, "0", command)
        elif rule.rose:
            found = f"{rule.rose} in {machine.seconds:g} s"
            yield Finding("notice", "dropped", f"the packet filter drops packets: {escaped(rule.rule)}", found)


def own_drops(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """Datagrams that the kernel drops at sockets of the daemon. Its filter against floods counts here too."""
    ours = {one.port for _, one in inet_addresses(configuration) if is_datagram(one)}
    limit = machine.sysctl("net.core.rmem_max")
    for one in machine.sockets:
        if not (one.datagram and one.drops and one.port in ours):
            continue
        if not one.rose and sum(_filtered(one.port, machine.status).values()) >= one.drops:
            continue  # the filter has dropped them, in a flood that is over
        if machine.daemon_pids & {holder.pid for holder in one.holders} and not _is_filtered(one.port, machine):
            small = limit is not None and limit < UDP_BUFFER
            what = f"the kernel drops datagrams at udp port {one.port}: the receive buffer is full"
            found = f"{counted(one.drops, 'datagram', 'datagrams')}, {one.rose} of them in {machine.seconds:g} s"
            found += f"; net.core.rmem_max = {limit}" if small else ""
            command = f"sysctl -w net.core.rmem_max={UDP_BUFFER}" if small else ""
            needed = f"net.core.rmem_max = {UDP_BUFFER}, and a restart" if small else "0"
            yield Finding("warning" if one.rose else "notice", "dropped", what, found, needed, command)


def _is_filtered(port: int, machine: Machine) -> bool:
    """Whether the daemon's filter against floods drops datagrams at a port now: `refusals` reports those."""
    before, after = (_filtered(port, status) for status in (machine.status, machine.later))
    return any(count > before.get(address, count) for address, count in after.items())


def _filtered(port: int, status: Mapping[str, Any] | None) -> dict[str, int]:
    """How many datagrams the kernel has dropped in floods, by the addresses of a port."""
    return {
        one["address"]: one["refused"].get(Refusal.KERNEL, 0)
        for service in (status or {"services": ()})["services"]
        for one in service["listeners"]
        if one["address"].endswith(f":{port}")
    }


def backlog(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """Listen queues that the kernel shortens."""
    limit = machine.sysctl("net.core.somaxconn")
    streams = [one for _, one in inet_addresses(configuration) if not is_datagram(one)]
    streams += [one for one in unix_addresses(configuration) if not is_datagram(one)]
    wanted = max((int(one.options.get("backlog", BACKLOG)) for one in streams), default=0)
    if limit is not None and limit < wanted:
        what = "the kernel shortens the listen queues: a burst of connections waits for retransmitted SYNs"
        command = f"sysctl -w net.core.somaxconn={wanted}"
        yield Finding("warning", "backlog", what, f"net.core.somaxconn = {limit}", str(wanted), command)


def kernel_memory(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """Kernel memory, and tracked connections, for the connections that the configuration asks for."""
    wanted = written_connections(configuration)
    pressure, most = machine.sysctl("net.ipv4.tcp_mem", 1), machine.sysctl("net.ipv4.tcp_mem", 2)
    needed = -(-wanted * PER_CONNECTION // PAGE)
    if pressure is not None and most is not None and needed > pressure:
        what = f"{wanted} connections, each with 16 KiB in the kernel's buffers, need more memory than TCP may use"
        values = f"{needed * 3 // 4} {needed} {max(most, needed * 3 // 2)}"
        command = f'sysctl -w net.ipv4.tcp_mem="{values}"'
        yield Finding("warning", "kernel-memory", what, f"{pressure} pages", f"{needed} pages", command)
    table, used = machine.sysctl("net.netfilter.nf_conntrack_max"), machine.counters.get("conntrack.count", 0)
    if not table:
        return
    if used >= NEARLY * table or wanted > table:
        what = "the table of tracked connections is too small: new connections are dropped when it is full"
        right = max(2 * table, 2 * wanted)
        command = f"sysctl -w net.netfilter.nf_conntrack_max={right}"
        yield Finding("warning", "kernel-memory", what, f"{used} of {table} used", str(right), command)


def written_connections(configuration: Configuration) -> int:
    """The sum of `connections` of the services that set it: a default is a limit, and not a requirement."""
    return sum(one.limits.connections for one in configuration.services if "connections" in one.written_limits)


FEATURES: Final[Mapping[str, tuple[Severity, str]]] = {
    "epoll": ("error", "the kernel has no epoll, which echod needs"),
    "pidfd": ("error", "the kernel has no pidfd_open, which workers need"),
    "landlock": ("error", "the kernel has no Landlock, and landlock = true is configured"),
    "UDP_SEGMENT": ("notice", "the kernel cannot split datagrams (UDP_SEGMENT): the fast path sends each by itself"),
    "cffi": ("notice", "this Python has no cffi: echod serves without its fast path"),
}
"""The features by the name in `Machine.missing`."""


def features(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """Features of kernel and Python that the configuration uses."""
    daemon = configuration.daemon
    udp = any(is_datagram(one) for _, one in inet_addresses(configuration))
    used = {
        "epoll": True,
        "pidfd": daemon.workers != 1,
        "landlock": daemon.landlock,
        "UDP_SEGMENT": udp and daemon.plane == "auto",
        "cffi": daemon.plane == "auto",
    }
    commands = {
        "landlock": "grep -o 'lsm=[^ ]*' /proc/cmdline; cat /sys/kernel/security/lsm",
        "cffi": "pip install cffi",
    }
    for name, (severity, what) in FEATURES.items():
        if name in machine.missing and used[name]:
            yield Finding(severity, "features", what, "missing", name, commands.get(name, ""))


def clock(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """A clock that nothing synchronizes, if clients on other machines use its time."""
    if machine.clock.synchronized:
        return
    users = [
        service.name
        for service in configuration.services
        if service.kind.kind in ("reflector", "time", "daytime")
        and any(not (one.loopback or one.is_passed or one.is_opaque) for one in service.listen)
    ]
    severity: Severity = "warning" if users else "notice"
    what = "the clock of this machine is not synchronized"
    if users:
        what += f": {', '.join(users)} sends its time to other machines"
    found = f"an error of up to {machine.clock.error:g} s"
    yield Finding(severity, "clock", what, found, "synchronized (NTP)", "timedatectl set-ntp true")

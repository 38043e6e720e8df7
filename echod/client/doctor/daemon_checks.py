"""Checks of the running daemon: its admin interface, its last reload, its log, its certificates, its refusals."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final

from echod.client.doctor.certificate_renewal import renewal
from echod.client.doctor.drop_in import drop_in
from echod.client.doctor.machine_facts import Finding, Machine, Severity
from echod.config.errors import joined
from echod.config.settings import Configuration, ServiceConfig
from echod.config.units import rate_text
from echod.escaping import counted, escaped
from echod.gate.limits import Rate
from echod.gate.refusal import Refusal
from echod.tls.days_left import EXPIRING

KEY_OF: Final[Mapping[str, str]] = {
    Refusal.CONNECTIONS: "limits.connections",
    Refusal.PER_CLIENT: "limits.per-client",
    Refusal.NEW_PER_CLIENT: "limits.new-per-client",
    Refusal.RATE: "limits.rate",
    Refusal.BYTES: "limits.rate",
    Refusal.TOTAL: "limits.rate",
    Refusal.DENIED: "allow",
    Refusal.PROXY: "proxy-from",
    Refusal.SOURCE_PORT: "allow-source-ports",
    Refusal.LARGER: "larger-answers-to",
}
"""The key of a service that decides about refusals of a reason."""
FLOODS: Final = (Refusal.REPEAT, Refusal.KERNEL)
"""Refusals of a flood or a loop: a higher limit does not help. `kernel` counts what the filter against floods drops."""
NEARLY: Final = 0.9  #: of `connections`: from there on a burst reaches the limit


def admin(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """The admin interface."""
    if machine.status is not None:
        return
    if not configuration.admin.listen:
        what = "the admin interface is disabled: echoctl status, top and reload do not work"
        command = drop_in(configuration, "admin", '[admin]\nlisten = ["unix://%t/admin.sock"]\n')
        yield Finding("notice", "admin", what, "no [admin] listen", "an address", command)
    elif machine.no_daemon:
        what = "no daemon runs with this configuration, so the limits of this shell were checked"
        yield Finding("notice", "admin", what, escaped(machine.unanswered), "a running daemon")
    elif machine.denied:
        what = "this user may not ask the running daemon, so its limits and its state were not checked"
        yield Finding("notice", "admin", what, escaped(machine.unanswered), "a user that may: root, or as printed")
    else:
        what = "the admin interface cannot be used"
        yield Finding("error", "admin", what, escaped(machine.unanswered), "a daemon that answers this user")


def state(_: Configuration, machine: Machine) -> Iterator[Finding]:
    """Problems that the daemon itself reports."""
    status = machine.status
    if status is None:
        return
    if not status["ready"]:
        yield Finding("error", "state", "the daemon is not ready", "starting or stopping", "ready", "echoctl status")
    last = status["last_reload"]
    if last is not None and not last["reloaded"]:
        what = f"the last reload was refused: {escaped('; '.join(last['errors']))}"
        command = " ".join(["echoctl check", *map(shlex.quote, status.get("files", ())[:1])])
        yield Finding("warning", "state", what, "the old configuration", "a valid file", command)
    for one in status.get("awaited", ()):
        what = f"{escaped(one['address'])} of {escaped(one['service'])} is not served yet"
        yield Finding("warning", "state", what, escaped(one["error"]), "an address of an interface", "ip address")
    if lost := status["lines_lost"]:
        later = machine.later or status
        rose = later["lines_lost"] - lost
        what = "the daemon could not write its log: the disk is full, or the reader of the log is gone"
        found = f"{counted(lost + rose, 'line', 'lines')} lost, {rose} of them in the last {machine.seconds:g} s"
        command = f"df -h $(readlink /proc/{status['pid']}/fd/2)"
        yield Finding("warning" if rose else "notice", "state", what, found, "0", command)
    if bugs := status["internal_errors"]:
        what = "the daemon had unhandled exceptions: please report the traceback in its log"
        yield Finding("warning", "state", what, str(bugs), "0")


def refusals(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """Connections and datagrams that the daemon refuses now, with the key of the configuration that decides."""
    if machine.status is None or machine.later is None:
        return
    before = {(name, address, why): count for name, address, why, count in _refused(machine.status)}
    by_name = {service.name: service for service in configuration.services}
    for name, address, why, count in _refused(machine.later):
        rose = count - before.get((name, address, why), 0)
        if rose <= 0:
            continue
        if why in FLOODS:
            yield _flood(name, address, why, rose, machine.seconds)
            continue
        key = KEY_OF.get(why, "")
        found = f"{rose} in {machine.seconds:g} s"
        what = f"{escaped(name)} {escaped(address)} refuses clients: {escaped(why)} (docs/SECURITY.md)"
        if key.startswith("limits.") and name in by_name:
            field = key.removeprefix("limits.")
            now, twice = _limit(by_name[name], address, field)
            needed = f"{joined('services', name)}.{key} above {now}, if you know these clients"
            command = _raising(configuration, name, field, twice)
            yield Finding("warning", "refusals", what, found, needed, command)
        else:
            keys = f"{key} or deny" if why == Refusal.DENIED and name in by_name and by_name[name].deny else key
            needed = f"a change of {joined('services', name)}.{keys}, if you know these clients" if keys else ""
            yield Finding("notice", "refusals", what, found, needed)


def _flood(name: str, address: str, why: str, rose: int, seconds: float) -> Finding:
    """The finding about a flood, with the command that lists its sources."""
    how = "the same datagrams repeatedly" if why == Refusal.REPEAT else "more datagrams than it looks at"
    what = f"{escaped(name)} {escaped(address)} gets a flood or a loop: {how}"
    needed = "a packet filter for the sources that you do not know: nft add rule … ip saddr ADDRESS drop"
    port = address.rpartition(":")[2]
    command = ""
    if port.isdecimal():
        captured = f"timeout 10 tcpdump -nn -i any -c 1000 udp dst port {port} 2>/dev/null"
        command = f"{captured} | grep -oE 'IP6? [^ ]+' | sort | uniq -c | sort -rn | head"
    return Finding("warning", "refusals", what, f"{rose} in {seconds:g} s", needed, command)


def used_limits(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """Services whose open connections are near their limit."""
    limits = {service.name: service.limits.connections for service in configuration.services}
    for service in () if machine.status is None else machine.status["services"]:
        name, limit = service["name"], limits.get(service["name"], 0)
        count = sum(one["open"] for one in service["listeners"])
        if limit and count >= NEARLY * limit:
            nearly = "as" if count >= limit else "nearly as"
            what = f"{escaped(name)} has {nearly} many connections as its limit allows"
            needed = f"{joined('services', name)}.limits.connections above {limit}, if you know these clients"
            command = _raising(configuration, name, "connections", str(2 * limit))
            yield Finding("warning", "refusals", what, f"{count} of {limit}", needed, command)


def _limit(service: ServiceConfig, address: str, field: str) -> tuple[str, str]:
    """The value in force of a limit, and twice that value, as TOML."""
    loopback = any(one.loopback for one in service.listen if one.label == address)
    limits = service.limits
    if field in ("connections", "per-client"):
        number = limits.connections if field == "connections" else limits.per_client
        return str(number), str(2 * number)
    rate = limits.datagrams(loopback) if field == "rate" else limits.new_connections(loopback)
    return rate_text(rate), f'"{rate_text(Rate(2 * rate.per_second, 2 * rate.burst))}"'


def _raising(configuration: Configuration, name: str, field: str, value: str) -> str:
    """The command that sets a limit of a service in a drop-in of the configuration, and reloads the daemon."""
    table = joined("services", name)
    return drop_in(configuration, f"{name}-{field}", f"[{table}.limits]\n{field} = {value}\n", " && echoctl reload")


def _refused(status: Mapping[str, Any]) -> Iterator[tuple[str, str, str, int]]:
    for service in status["services"]:
        for one in service["listeners"]:
            for why, count in one["refused"].items():
                yield service["name"], one["address"], why, count


def certificates(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """Certificates of the configuration that expire, or that the daemon has not loaded yet."""
    services = () if machine.status is None else machine.status["services"]
    running = {one["sha256"] for service in services for one in service.get("certificates", ())}
    seen = set()
    for service in configuration.services:
        contexts = service.tls.contexts if service.tls is not None else None
        for one in () if contexts is None else contexts.certificates:
            if one.issuer or one.made or one.facts.fingerprint in seen:  # wrong on purpose, or made at each start
                continue
            seen.add(one.facts.fingerprint)
            left = one.facts.days_left(machine.now)
            what = f"{escaped(one.source)} of {escaped(service.name)}"
            if left < EXPIRING:
                expires = f"{one.facts.until:%Y-%m-%d %H:%M} UTC"
                what += f" expired at {expires}" if left < 0 else f" expires at {expires}"
                key = None if service.tls is None or service.tls.key is None else str(service.tls.key)
                command = renewal(one.source, key, self_signed=one.facts.subject == one.facts.issuer)
                severity: Severity = "error" if left < 0 else "warning"
                found = "expired" if left < 0 else f"{counted(left, 'day', 'days')} left"
                yield Finding(severity, "certificates", what, found, f"at least {EXPIRING} days", command)
            elif running and one.facts.fingerprint not in running:
                what += " was renewed, and the daemon does not use it yet"
                yield Finding("warning", "certificates", what, "the old one in use", "a reload", "echoctl reload")

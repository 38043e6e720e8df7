"""Runs every check: each is a function of the configuration and the facts of the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from echod.client.doctor import address_checks, daemon_checks, kernel_checks, resource_checks
from echod.client.doctor.machine_facts import Finding, Machine
from echod.config.settings import Configuration

Check = Callable[[Configuration, Machine], Iterator[Finding]]

CHECKS: Final[tuple[Check, ...]] = (
    address_checks.ports,
    address_checks.hosts,
    address_checks.low_ports,
    address_checks.ephemeral_ports,
    address_checks.unix_folders,
    address_checks.dual_stack,
    resource_checks.descriptors,
    resource_checks.memory,
    resource_checks.cpus,
    resource_checks.disks,
    kernel_checks.backlog,
    kernel_checks.kernel_memory,
    kernel_checks.dropped,
    kernel_checks.own_drops,
    kernel_checks.features,
    kernel_checks.clock,
    daemon_checks.admin,
    daemon_checks.state,
    daemon_checks.refusals,
    daemon_checks.used_limits,
    daemon_checks.certificates,
)
SEVERITIES: Final = ("error", "warning", "notice")


def findings(configuration: Configuration, machine: Machine) -> list[Finding]:
    """Every finding, the most severe first."""
    found = [one for check in CHECKS for one in check(configuration, machine)]
    return sorted(found, key=lambda one: SEVERITIES.index(one.severity))

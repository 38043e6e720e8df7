"""Checks of descriptors, memory, CPUs and disk space against the configured limits."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Final

from echod.client.doctor.drop_in import drop_in
from echod.client.doctor.kernel_checks import written_connections
from echod.client.doctor.machine_facts import FileSystem, Finding, Machine
from echod.config.errors import ConfigurationError
from echod.config.fd_budget import fit
from echod.config.settings import Configuration
from echod.escaping import escaped

MIB: Final = 1024 * 1024
BASE: Final = 64 * MIB  #: memory of Python and echod, as in the comment of systemd/echod.service
PER_CONNECTION: Final = 24_576  #: bytes of a connection, of which 16 KiB are the kernel's
LEAST_FREE: Final = 64 * MIB  #: of a file system: less is filled by a log in minutes
LEAST_SHARE: Final = 0.01
SMALLER_BUFFER: Final = '[defaults.limits]\ntotal-buffer = "32MiB"\n'
SPARE: Final = 1024  #: descriptors beyond those of the connections


def descriptors(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """The limit of open files."""
    process = machine.process
    if not process.open_files or machine.denied:
        return
    wanted = written_connections(configuration) + SPARE
    pid = str(process.pid) if process.is_daemon else "$$"
    command = f"prlimit --pid {pid} --nofile={wanted}:{wanted}"
    whose = f"process {process.pid} (echod)" if process.is_daemon else "this shell"
    found = f"{process.open_files} for {whose}"
    try:
        _, reduced = fit(configuration, process.open_files)
    except ConfigurationError as error:
        what = f"the limit of open files is too low: {escaped(str(error.errors[0]))}"
        yield Finding("error", "descriptors", what, found, str(wanted), command)
        return
    if wanted - SPARE and wanted > process.open_files:
        what = "the limit of open files is lower than the connections of all services together"
        yield Finding("warning", "descriptors", what, found, str(wanted), command)
    elif reduced:
        yield Finding("notice", "descriptors", reduced[0], found, "a higher hard limit, if you need more connections")


def memory(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """The memory of the cgroup, or of the machine."""
    process = machine.process
    buffers = max((one.limits.total_buffer for one in configuration.services), default=0)
    needed = BASE + buffers + written_connections(configuration) * PER_CONNECTION
    if process.memory is not None and process.memory < needed:
        what = "the cgroup allows less memory than total-buffer and the configured connections can use"
        if process.unit:
            command = f"systemctl set-property {shlex.quote(process.unit)} MemoryMax={needed}"
        else:
            command = f"echo {needed} > {shlex.quote(process.cgroup)}"
        yield Finding("warning", "memory", what, _mib(process.memory), _mib(needed), command)
    elif machine.memory and machine.memory < needed:
        what = "this machine has less memory than total-buffer and the configured connections can use"
        yield Finding(
            "warning",
            "memory",
            what,
            _mib(machine.memory),
            _mib(needed),
            drop_in(configuration, "memory", SMALLER_BUFFER),
        )


def cpus(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """More workers than CPUs."""
    workers = configuration.daemon.workers
    if isinstance(workers, int) and workers > machine.process.cpus:
        what = "more workers are configured than CPUs can be used: they take turns"
        needed = f'workers = {machine.process.cpus}, or "auto"'
        yield Finding("warning", "cpus", what, f"{machine.process.cpus} CPUs, {workers} workers", needed)


def disks(_: Configuration, machine: Machine) -> Iterator[Finding]:
    """File systems that are full, or nearly."""
    for one in machine.file_systems:
        if one.free == 0:
            what = f"the file system of {escaped(one.path)} ({one.purpose}) is full"
            yield Finding("error", "disks", what, "0 bytes free", _mib(LEAST_FREE), _making_room(one))
        elif one.free < min(LEAST_FREE, LEAST_SHARE * one.total):
            what = f"the file system of {escaped(one.path)} ({one.purpose}) is nearly full"
            yield Finding("warning", "disks", what, f"{_mib(one.free)} free", _mib(LEAST_FREE), _making_room(one))


def _making_room(one: FileSystem) -> str:
    """The command that makes room: the journal can be shortened; other files the administrator has to choose."""
    if one.purpose == "the journal":
        return "journalctl --vacuum-size=100M"
    return f"du -xah $(df --output=target {shlex.quote(one.path)} | tail -n 1) 2>/dev/null | sort -h | tail -n 20"


def _mib(count: int) -> str:
    return f"{count / MIB:.0f} MiB"

"""A machine with a real systemd: this machine's files under an overlay, so none of them is changed.

    with Box() as box:
        box.run("systemctl", "start", "x")

It is systemd-nspawn(1) with a private network that has only loopback. Only the services that a machine needs are
started in it. The clock, the kernel and the programs are shared. Making one needs root; otherwise `Lacking` is raised.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, Final, Self

from tests.daemon import SECONDS, eventually

CLONE_NEWNET: Final = 0x40000000  # <linux/sched.h>
POWER_OFF: Final = signal.SIGRTMIN + 4  # systemd(1)
PROGRAMS: Final = ("systemd-nspawn", "nsenter", "mount", "umount")
TARGET: Final = """[Unit]
Description=As much of a machine as a service needs
Requires=basic.target
After=basic.target
AllowIsolate=yes
"""
NOT_HERE: Final = ("timers.target", "paths.target", "console-getty.service", "systemd-logind.service")
"""Units that would act by themselves."""
ENVIRONMENT: Final = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "SYSTEMD_PAGER": "",
    "SYSTEMD_COLORS": "0",
    "DEBIAN_FRONTEND": "noninteractive",
}


class Lacking(Exception):
    """This machine or this user cannot make one; the text names what is missing."""


class Box:
    """The machine, from `with` to the end of the block."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        if os.geteuid():
            raise Lacking("booting a machine needs root")
        missing = [name for name in PROGRAMS if shutil.which(name, path=ENVIRONMENT["PATH"]) is None]
        if missing or not Path("/usr/lib/systemd/systemd").exists():
            raise Lacking(f"{', '.join(missing) or 'systemd'} is not installed; tests/system_wide/prepare installs it")
        self._name = f"echod-box-{token_hex(4)}"  # a host name: letters, digits and hyphens
        self._directory = Path(tempfile.gettempdir(), self._name)
        self._directory.mkdir(0o700)
        try:
            self._mount()
            self._boot()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.leader, POWER_OFF)
        try:
            self._nspawn.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        self._remove()

    @property
    def root(self) -> Path:
        """Its root folder, as it is seen from outside."""
        return Path(f"/proc/{self.leader}/root")

    def path(self, inside: str) -> Path:
        """The path of one of its files, from outside."""
        return self.root / inside.lstrip("/")

    def put(self, inside: str, text: str) -> None:
        """Write a file in it."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def command(self, *words: str | Path) -> list[str]:
        """The command that runs these words in it, with all of its namespaces and without this environment."""
        environment = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        return [
            *("nsenter", "--target", str(self.leader), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"),
            *(f"--root=/proc/{self.leader}/root", "--", "/usr/bin/env", "--chdir=/", "--ignore-environment"),
            *environment,
            *map(str, words),
        ]

    def run(self, *words: str | Path, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command in it to its end; standard error goes to standard output, as on a terminal."""
        return subprocess.run(
            self.command(*words),
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            start_new_session=True,
        )

    def said(self, *words: str | Path, seconds: float = 60.0) -> str:
        """The output of a command that must succeed, without the last line end."""
        ended = self.run(*words, seconds=seconds)
        assert ended.returncode == 0, f"{' '.join(map(str, words))}: {ended.returncode}\n{ended.stdout}"
        return ended.stdout.rstrip("\n")

    def show(self, unit: str, *names: str) -> str:
        """Properties of a unit at one moment, in this order, from `systemctl show`, separated by spaces."""
        said = self.said("systemctl", "show", unit, f"--property={','.join(names)}")
        values = dict(line.split("=", 1) for line in said.splitlines())
        return " ".join(values[name] for name in names)

    def journal(self, unit: str) -> str:
        """All log lines of a unit so far."""
        self.said("journalctl", "--sync")  # the journal reads what was written before
        return self.said("journalctl", "--unit", unit, "--output", "cat", "--no-pager")

    @contextmanager
    def network(self) -> Iterator[None]:
        """Sockets that this thread opens within the block belong to its network."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        there = os.open(f"/proc/{self.leader}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._enter(there)
            yield
        finally:
            self._enter(before)
            os.close(there)
            os.close(before)

    def in_network(self, what: Callable[[], None]) -> threading.Thread:
        """Start a thread that runs this function in its network."""

        def run() -> None:
            with self.network():
                what()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def console(self) -> str:
        """Its boot messages, for error reports."""
        return (self._directory / "console.log").read_text("utf-8", "replace")

    def _enter(self, descriptor: int) -> None:
        if self._libc.setns(descriptor, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")

    def _mount(self) -> None:
        layers = self._directory / "layers"
        layers.mkdir()
        _do("mount", "-t", "tmpfs", "-o", "size=2g", self._name, layers)
        system = layers / "upper" / "etc" / "systemd" / "system"
        for path in (system, layers / "work", layers / "root"):
            path.mkdir(parents=True)
        (system / "box.target").write_text(TARGET)
        for name in NOT_HERE:
            (system / name).symlink_to("/dev/null")
        (system.parents[1] / "fstab").write_text("")  # the disks of this machine are not available in it
        below = f"lowerdir=/,upperdir={layers / 'upper'},workdir={layers / 'work'}"
        try:
            _do("mount", "-t", "overlay", "-o", below, self._name, layers / "root")
        except subprocess.CalledProcessError as error:
            raise Lacking(f"an overlay over / cannot be mounted: {error.stderr.strip()}") from None
        # In a container this file may forbid starting services: here it must allow it.
        (layers / "root" / "usr" / "sbin" / "policy-rc.d").unlink(missing_ok=True)
        # An installation must not wait for the index of the manual pages.
        (layers / "root" / "var" / "lib" / "man-db" / "auto-update").unlink(missing_ok=True)

    def _groups(self) -> list[Path]:
        """Make control groups for it; otherwise its systemd would use those of this machine."""
        tops = (Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup/unified"))
        return [top / self._name for top in tops if top.is_dir()]

    def _boot(self) -> None:
        groups = self._groups()
        for group in groups:
            group.mkdir()
        words = [
            *("systemd-nspawn", "--quiet", f"--directory={self._directory}/layers/root", f"--machine={self._name}"),
            *("--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=off", "--timezone=off"),
            *("--console=pipe", "--kill-signal=SIGRTMIN+3", "--private-network", "--tmpfs=/root"),
            "--system-call-filter=bpf",  # without it its systemd silently cannot filter addresses
            *("--boot", "systemd.unit=box.target"),
        ]
        join = "".join(f"echo $$ >{group}/cgroup.procs; " for group in groups)
        with (self._directory / "console.log").open("wb") as console:
            self._nspawn = subprocess.Popen(
                ["sh", "-c", f'{join}exec "$@"', "sh", *words],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                start_new_session=True,
            )
        assert eventually(self._booted, 3 * SECONDS), f"it did not boot:\n{self.console()}"

    def _booted(self) -> bool:
        assert self._nspawn.poll() is None, f"it did not boot:\n{self.console()}"
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        for child in children:
            with suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                    self.leader = int(child)
                    return self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")
        return False

    def _remove(self) -> None:
        for path in (self._directory / "layers" / "root", self._directory / "layers"):
            with suppress(subprocess.CalledProcessError):
                _do("umount", "--lazy", path)
        for group in self._groups():
            for path in sorted(group.rglob("*"), reverse=True) if group.exists() else []:
                if path.is_dir():
                    with suppress(OSError):
                        path.rmdir()
            with suppress(OSError):
                group.rmdir()
        shutil.rmtree(self._directory, ignore_errors=True)


def _do(*words: Any) -> None:
    path = ENVIRONMENT["PATH"]
    subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True, env={"PATH": path})

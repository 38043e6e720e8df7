"""Paths of Unix sockets in a folder where another user may write: links that are swapped in, foreign files.

Every bind(2) is delayed, so that the state between it and the next call can be observed each time.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from tests.activation import PASS
from tests.chaos.lab import LOOPBACK, STOCK, Lab
from tests.chaos.network import Lacking, program
from tests.chaos.report import Figure, Scenario, Subject
from tests.daemon import ECHOD, SECONDS, environment, eventually, free_port

MODE: Final = 0o600
HELD: Final = 0.3  #: seconds that each bind takes
VICTIM: Final = 0o640
OTHERS_GROUP: Final = 65_534
PRECIOUS: Final = "precious"


class Room(NamedTuple):
    """The folders of one case: `path` is the served path, in its own folder; `own` is for all other files."""

    path: Path
    own: Path

    @property
    def victim(self) -> Path:
        """A file that does not belong to the server."""
        return self.own / "victim"

    @property
    def log(self) -> Path:
        """The server's output."""
        return self.own / "log"


Serve = Callable[[Room, str], list[str]]
"""The command that serves a path with MODE. The part after a `?` has further options, which only echod has."""


class Server(NamedTuple):
    """A server of paths. `adopt` is the command that takes a listening socket by its descriptor, if it can."""

    subject: Subject
    serve: Serve
    adopt: Callable[[Room, int], list[str]] | None


class CaseResult(NamedTuple):
    """Whether a case went well, and its description."""

    well: bool
    said: str


# servers


def echod(subject: Subject) -> Server:
    """Ours."""

    def command(room: Room, listen: str) -> list[str]:
        plane = "auto" if subject is Subject.ECHOD else "off"
        file = room.own / "echod.toml"
        file.write_text(f'[daemon]\nplane = "{plane}"\n[services.echo]\nlisten = {json.dumps([listen])}\n')
        return [*ECHOD, "--config", str(file)]

    def serve(room: Room, more: str) -> list[str]:
        return command(room, f"unix://{room.path}?mode={MODE:04o}{more}")

    def adopt(room: Room, descriptor: int) -> list[str]:
        own = command(room, "systemd:echo")
        return [sys.executable, "-S", "-c", PASS, "1", str(descriptor), "echo", *own]

    return Server(subject, serve, adopt)


def stock() -> Server:
    """Twisted's listenUNIX and adoptStreamPort."""

    def words(*more: str) -> list[str]:
        return [sys.executable, "-W", "error", str(STOCK), LOOPBACK, str(free_port()), *more]

    return Server(
        Subject.STOCK,
        lambda room, _more: words("unix", str(room.path), f"{MODE:04o}"),
        lambda _room, descriptor: words("adopt", str(descriptor)),
    )


def socat() -> Server:
    """socat, with a pipe as its reply. Raises Lacking."""
    own = program("socat")
    return Server(
        Subject.SOCAT,
        lambda room, _more: [own, f"UNIX-LISTEN:{room.path},fork,mode={MODE:04o}", "PIPE"],
        None,  # before version 1.8
    )


def haproxy() -> Server:
    """HAProxy, which also makes its sockets beside their paths. Raises Lacking."""
    own = program("haproxy")

    def command(room: Room, bind: str) -> list[str]:
        file = room.own / "haproxy.cfg"
        times = "  timeout client 5s\n  timeout connect 5s\n  timeout server 5s\n"
        file.write_text(f"defaults\n  mode http\n{times}frontend f\n  bind {bind}\n  http-request return status 200\n")
        return [own, "-db", "-f", str(file)]

    return Server(
        Subject.HAPROXY,
        lambda room, _more: command(room, f"unix@{room.path} mode {MODE:o}"),
        lambda room, descriptor: command(room, f"fd@{descriptor}"),
    )


# how they run


@contextmanager
def room() -> Iterator[Room]:
    """Two new folders, and the target file in one of them."""
    with tempfile.TemporaryDirectory(prefix="paths-") as folder:
        found = Room(Path(folder, "served", "s"), Path(folder, "own"))
        found.path.parent.mkdir(mode=0o755)
        found.own.mkdir()
        _precious(found.victim)
        yield found


@contextmanager
def running(where: Room, words: Sequence[str], pass_fds: Sequence[int] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """A process and its children: terminated at the end of the block, and killed if that does not work."""
    with where.log.open("wb") as log:
        process = subprocess.Popen(
            words,
            cwd=where.own,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=pass_fds,
        )
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
        process.wait(SECONDS)


def held_up(words: Sequence[str]) -> list[str]:
    """The same command, whose binds take HELD. Raises Lacking."""
    tracer = [program("strace"), "-f", "-qq", "-o", "/dev/null", "-e", "trace=bind"]
    return [*tracer, "-e", f"inject=bind:delay_exit={HELD * 1e6:.0f}", *words]


def settled(where: Room, process: subprocess.Popen[bytes], seconds: float = SECONDS) -> bool:
    """Wait until the path accepts connections, or the process has exited; returns whether it serves."""
    eventually(lambda: process.poll() is not None or _connects(where.path), seconds)
    return process.poll() is None and _connects(where.path)


def _connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


class Watch(threading.Thread):
    """Polls a folder without a pause, and passes the path of each socket that appears to a function."""

    def __init__(self, folder: Path, see: Callable[[Path, os.stat_result], None]) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self._see = see
        self._over = threading.Event()

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.is_set():
            for path in self._folder.iterdir():
                with suppress(FileNotFoundError):
                    there = path.lstat()
                    if stat.S_ISSOCK(there.st_mode):
                        self._see(path, there)
            time.sleep(0.002)


def _precious(file: Path) -> None:
    file.write_text(PRECIOUS)
    file.chmod(VICTIM)


def _untouched(file: Path) -> bool:
    """Whether the file is unchanged."""
    try:
        there = file.lstat()
        same = stat.S_ISREG(there.st_mode) and stat.S_IMODE(there.st_mode) == VICTIM and file.read_text() == PRECIOUS
    except OSError:
        return False
    return same and (there.st_uid, there.st_gid) == (os.geteuid(), os.getegid())


# cases


def swapped(server: Server, more: str = "") -> CaseResult:
    """As soon as the socket appears, it is replaced by a link to the target file."""
    swaps: list[Path] = []

    def swap(where: Room, path: Path, _there: os.stat_result) -> None:
        if swaps:
            return
        swaps.append(path)
        path.unlink()
        for name in {path, where.path}:
            name.symlink_to(where.victim)

    with room() as where:
        with Watch(where.path.parent, partial(swap, where)), running(where, held_up(server.serve(where, more))) as one:
            assert eventually(lambda: bool(swaps) or one.poll() is not None)
            settled(where, one, 3 * HELD)
        well = bool(swaps) and _untouched(where.victim)
        changed = f"{stat.S_IMODE(where.victim.lstat().st_mode):04o}"
    said = "unchanged" if well else f"{changed} (was {VICTIM:04o})"
    return CaseResult(well, f"the target of a swapped link is {said}")


def swapped_with_a_group(server: Server) -> CaseResult:
    """The same for a socket that is given to a group, which needs a chown(2)."""
    return swapped(server, f"&group={OTHERS_GROUP}")


def first_moment(server: Server) -> CaseResult:
    """The modes that another user could see, from bind(2) on."""
    modes: dict[str, None] = {}

    def note(_path: Path, there: os.stat_result) -> None:
        modes[f"{stat.S_IMODE(there.st_mode):04o}"] = None

    with room() as where, Watch(where.path.parent, note), running(where, held_up(server.serve(where, ""))) as one:
        serves = settled(where, one) and eventually(lambda: bool(modes))
        time.sleep(0.05)
    said = f"mode {', then '.join(modes) or 'unknown'}"
    return CaseResult(serves and list(modes) == [f"{MODE:04o}"], said + (" from the start" * (len(modes) == 1)))


def stale(server: Server) -> CaseResult:
    """A socket that a dead process left at the path."""
    with room() as where:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(where.path))
        with running(where, server.serve(where, "")) as one:
            serves = settled(where, one, SECONDS if server.subject in (Subject.ECHOD, Subject.PLAIN) else 5)
    return CaseResult(serves, "a stale socket is replaced" if serves else "a stale socket prevents the start")


def foreign(server: Server) -> CaseResult:
    """A file at the path when the server starts."""
    with room() as where:
        _precious(where.path)
        with running(where, server.serve(where, "")) as one:
            ours = server.subject in (Subject.ECHOD, Subject.PLAIN)
            eventually(lambda: one.poll() is not None or not _untouched(where.path), SECONDS if ours else 5)
            code = one.poll()
            safe = _untouched(where.path)
        said = where.log.read_text(errors="replace")
    ends = {71: "exit with 71"}.get(code or 0, "exit" if code is not None else "continues")
    plain = code == 71 and said.count("\n") == 1
    return CaseResult(safe and plain, f"a foreign file is {'kept' if safe else 'REPLACED'}: {ends}")


def taken(server: Server) -> CaseResult:
    """A file that replaced the path while the server ran, at the stop."""
    with room() as where:
        with running(where, server.serve(where, "")) as one:
            serves = settled(where, one) and _answers(where.path, one)  # an earlier stop would not be orderly
            where.path.unlink(missing_ok=True)
            _precious(where.path)
        safe = serves and _untouched(where.path)
    return CaseResult(safe, f"a file that took the path is {'kept' if safe else 'REMOVED'} at the stop")


def adopted(server: Server) -> CaseResult:
    """A listening socket that another process opened, with its own mode and path."""
    assert server.adopt is not None
    with room() as where, socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(where.path))
        where.path.chmod(MODE)
        opened.listen()
        opened.setblocking(False)  # Twisted needs it
        before = where.path.lstat()
        descriptor = opened.fileno()
        with running(where, server.adopt(where, descriptor), [descriptor]) as one:
            answers = _answers(where.path, one)
            mode = stat.S_IMODE(where.path.lstat().st_mode)
        kept = where.path.exists() and where.path.lstat().st_ino == before.st_ino
    said = f"an adopted socket {'keeps' if kept else 'LOSES'} its path, mode {mode:04o}"
    return CaseResult(answers and kept and mode == MODE, said if answers else "an adopted socket is NOT SERVED")


def _answers(path: Path, process: subprocess.Popen[bytes]) -> bool:
    """Whether there is any reply: the socket listens already, so a connect alone proves nothing."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SECONDS)
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        try:
            return bool(client.recv(10)) and process.poll() is None
        except OSError:
            return False


CASES: Final = (swapped, swapped_with_a_group, first_moment, stale, foreign, taken, adopted)
TRACED: Final = (swapped, swapped_with_a_group, first_moment)  #: these need strace


def unix_paths(_field: Lab) -> Iterator[Figure]:
    for make in (partial(echod, Subject.ECHOD), partial(echod, Subject.PLAIN), stock, socat, haproxy):
        try:
            server = make()
        except Lacking:
            continue
        ours = server.subject in (Subject.ECHOD, Subject.PLAIN)
        cases = [one for one in CASES if ours or one is not swapped_with_a_group]
        found = {case.__name__: case(server) for case in cases if server.adopt or case is not adopted}
        said = dict.fromkeys(one.said for one in found.values())
        kept = all(one.well for one in found.values()) if ours else None
        yield Figure(server.subject, "; ".join(said), kept, {name: one.said for name, one in found.items()})


SCENARIOS = (
    Scenario(
        43,
        "Unix paths in a folder where another user may write",
        "no other file is changed, a stale socket is replaced, the mode is right from the start, and an adopted"
        " socket keeps mode and path",
        unix_paths,
    ),
)

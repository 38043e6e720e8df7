"""Time that does not pass as usual: a process that is stopped, a clock that steps."""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.chaos import probe
from tests.chaos.connect_burst import Crowd, Fate
from tests.chaos.lab import Lab, Place
from tests.chaos.network import Lacking
from tests.chaos.report import Figure, Scenario, Subject, many
from tests.daemon import ECHOD, SECONDS, eventually

OURS, PLAIN, STOCK, *_ = Subject
KIB, MIB = 1 << 10, 1 << 20

# 27

STOPPED: Final = 2.0  #: seconds
WAITING: Final = 200  #: clients that connect meanwhile, and datagrams
LARGE: Final = 8 * MIB
SERVICE = '[services.echo]\nlisten = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]\n'


def stopped(lab: Lab) -> Iterator[Figure]:
    for server in lab.each(OURS, PLAIN, STOCK, services=SERVICE):
        place = server.tcp["echo"]
        quiet = probe.stream(place, 1.0)
        with Transfer(place) as transfer:
            transfer.reading.clear()  # a client that is stopped: its kernel still acknowledges
            beside = probe.stream(place, STOPPED)
            transfer.reading.set()
            of_client = transfer.whole()
        with Transfer(place) as transfer, stopping(server.pid), Crowd(place, WAITING) as crowd:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                asking.connect(server.udp["echo"])
                for number in range(WAITING):
                    asking.send(b"%d" % number)
                time.sleep(STOPPED)
                os.kill(server.pid, signal.SIGCONT)
                fates = crowd.wait(SECONDS)
                answered = len({_heard(asking) for _ in range(WAITING)} - {None})
            of_server = transfer.whole()
        text = (
            f"client stopped: {_yes(of_client)}, another client's p99 {quiet.p99} ms before, {beside.p99} ms during it;"
        )
        text += f" server stopped: {_yes(of_server)}, {fates[Fate.SERVED]} of {WAITING} connects served, {answered} of"
        text += f" {WAITING} datagrams with a reply"
        kept = of_client and of_server and fates[Fate.SERVED] == answered == WAITING and not beside.lost
        values = {"client": of_client, "server": of_server, "fates": dict(fates), "datagrams": answered}
        values |= {"quiet": vars(quiet), "beside": vars(beside)}
        yield Figure(server.subject, text, kept if server.ours else None, values)


def _yes(whole: bool) -> str:
    return "every byte" if whole else "bytes lost"


def _heard(client: socket.socket) -> bytes | None:
    client.settimeout(SECONDS)
    try:
        return client.recv(100)
    except TimeoutError:
        return None


@contextmanager
def stopping(pid: int) -> Iterator[None]:
    """Stop a process until the end of the block, which begins when it has stopped."""
    os.kill(pid, signal.SIGSTOP)
    try:
        assert eventually(lambda: _has_stopped(pid))
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _has_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("T", "t")


class Transfer:
    """LARGE bytes there and back over one connection, in both directions at once; `reading` pauses the way back."""

    def __init__(self, place: Place) -> None:
        self.reading = threading.Event()
        self.reading.set()
        self._data = random.Random(27).randbytes(LARGE)
        self._came = bytearray()
        self._client = socket.create_connection(place, SECONDS)
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._send, self._receive)]

    def __enter__(self) -> Transfer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.reading.set()
        self._client.close()

    @property
    def came(self) -> int:
        """The number of bytes that came back."""
        return len(self._came)

    def whole(self) -> bool:
        """Wait for the end; returns whether everything came back."""
        for thread in self._threads:
            thread.join(SECONDS)
        return self._came == self._data

    def _send(self) -> None:
        for at in range(0, LARGE, 64 * KIB):
            self._client.sendall(self._data[at : at + 64 * KIB])
            if self.reading.is_set():
                time.sleep(0.005)

    def _receive(self) -> None:
        while len(self._came) < LARGE:
            self.reading.wait()
            if not (piece := self._client.recv(64 * KIB)):
                break
            self._came += piece


# 34

IDLE: Final = 2.0  #: seconds
LEEWAY: Final = 1.1  #: seconds after that: a sweep runs every half of it, and sees the last byte only when it runs
BURST: Final = 50
TIMED = f"""[services.echo]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
limits = {{ idle = "{IDLE:g}s", rate = "1/{BURST}" }}
"""
STEPS: Final[dict[str, tuple[str, ...]]] = {
    "no step": (),
    "-1 h": ("-3600s",),
    "+1 h": ("+3600s",),
    "back and forth": ("+0.1s", "-0.1s"),
}
NEVER: Final = 3 * IDLE


def clock_steps(lab: Lab) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="clock-") as folder:
        file = Path(folder, "offset")
        faked = clock_of(file)
        for subject in (OURS, PLAIN, STOCK):
            file.write_text("+0s")
            command = (*faked, *ECHOD) if subject is not STOCK else (*faked, sys.executable, "-W", "error")
            with lab.server(subject, TIMED, command=command, stock=("idle", f"{IDLE:g}")) as server:
                after = {name: _closed_after(server.tcp["echo"], file, offsets) for name, offsets in STEPS.items()}
                text = f"idle for {IDLE:g} s: closed after " + ", ".join(
                    f"{f'{seconds:.1f} s' if seconds < NEVER else f'more than {NEVER:g} s'} ({name})"
                    for name, seconds in after.items()
                )
                kept = all(IDLE - 0.1 <= seconds <= IDLE + LEEWAY for seconds in after.values())
                if server.ours:
                    more = _more_answers(server.udp["echo"], file)
                    text += f"; after a step of +1 h {many(more, 'reply')} more than the rate"
                    kept = kept and more <= 2
                yield Figure(subject, text, kept if server.ours else None, {"seconds": after})


def clock_of(file: Path) -> tuple[str, ...]:
    """The prefix of a command that shifts its wall clock by the contents of `file`. Raises Lacking."""
    words = ("env", f"LD_PRELOAD={_library()}", f"FAKETIME_TIMESTAMP_FILE={file}", "FAKETIME_NO_CACHE=1")
    return (*words, "FAKETIME_DONT_FAKE_MONOTONIC=1")


def _library() -> str:
    for folder in ("/usr/lib", "/usr/local/lib"):
        for found in Path(folder).glob("**/faketime/libfaketimeMT.so.1"):
            return str(found)
    raise Lacking("faketime is not installed")


def _closed_after(place: Place, file: Path, offsets: Sequence[str]) -> float:
    """Seconds until an idle connection is closed while the wall clock steps."""
    file.write_text("+0s")
    with socket.create_connection(place, SECONDS) as client:
        client.settimeout(NEVER)
        client.sendall(b"?")
        client.recv(1)
        began = time.monotonic()
        over = threading.Event()
        stepping = threading.Thread(target=_step, args=(file, offsets, over), daemon=True)
        stepping.start()
        try:
            client.recv(1)
        except (TimeoutError, ConnectionResetError):
            pass
        seconds = time.monotonic() - began
        over.set()
        stepping.join()
        return round(seconds, 2)


def _step(file: Path, offsets: Sequence[str], over: threading.Event) -> None:
    over.wait(IDLE / 4)
    for offset in offsets if len(offsets) < 2 else [*offsets] * 1_000:
        if over.is_set():
            break
        new = file.with_suffix(".new")
        new.write_text(offset)
        new.replace(file)
        over.wait(0.02)


def _more_answers(place: Place, file: Path) -> int:
    """Replies beyond the burst and one a second, to requests before and after a step of one hour."""
    file.write_text("+0s")
    answers, began = 0, time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(place)
        client.settimeout(0.3)
        for offset in ("+0s", "+3600s"):
            file.write_text(offset)
            for number in range(2 * BURST):
                client.send(b"%d%s" % (number, offset.encode()))
            try:
                while client.recv(100):
                    answers += 1
            except TimeoutError:
                pass
    return max(answers - BURST - int(time.monotonic() - began), 0)


SCENARIOS = (
    Scenario(
        27,
        "a client, then the server, is stopped for 2 s",
        "no byte is lost; clients that connect meanwhile are served; every datagram that fits the buffer has a reply",
        stopped,
    ),
    Scenario(
        34,
        "the wall clock steps by an hour, and back and forth",
        f"idle for {IDLE:g} s: closed after {IDLE - 0.1:g} to {IDLE + LEEWAY:g} s, and no rate allows more",
        clock_steps,
    ),
)

"""The measuring clients that are compared: how each is run, and what it has found."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from tests.daemon import Daemon, free_port

SECONDS: Final = 60.0  #: a client that takes longer has failed


@dataclass
class Found:
    """The report of a client. Times are nanoseconds by the number of the probe, from 0."""

    times: dict[int, int] = field(default_factory=dict)
    sent: int = 0
    lost: int = 0
    lost_ahead: int | None = None  #: None: the client does not tell directions
    lost_home: int | None = None
    ahead_ms: float | None = None  #: the median delay of each direction; None: the client does not measure it
    home_ms: float | None = None
    duplicated: int = 0
    reordered: int | None = None
    numbered: bool = True  #: whether the numbers are those of the packets, so that each time can be compared


class Client(Protocol):
    """A client, and the server that it needs."""

    name: str

    def missing(self) -> str:
        """The package that is not installed, or ""."""

    def server(self) -> Any:
        """A context manager: a running server, and its port."""

    def run(self, port: int, count: int, interval: float) -> Found:
        """Send probes to a port on loopback."""

    def number(self, head: bytes, *, reply: bool) -> int | None:
        """The number of the probe that a datagram belongs to, by its first 32 bytes; None if it belongs to none."""


class Echoctl:
    """`echoctl ping` with a stateful reflector."""

    name = "echoctl ping"

    def __init__(self, wait: float = 2) -> None:
        """`wait` are the seconds after which a probe without a reply is lost."""
        self._wait = wait

    def missing(self) -> str:
        return ""

    @contextmanager
    def server(self) -> Iterator[int]:
        with Daemon('[services.reflector]\nstateful = true\nlisten = ["udp://127.0.0.1:0"]') as daemon:
            yield daemon.inet("reflector", "udp")[1]

    def run(self, port: int, count: int, interval: float) -> Found:
        command = [sys.executable, "-m", "echod.client.main", "ping", "--json-lines", "-W", f"{self._wait}s"]
        words = ["-c", str(count), "-i", f"{interval:.6f}", f"udp://127.0.0.1:{port}"]
        ended = subprocess.run([*command, *words], capture_output=True, check=False, timeout=SECONDS)
        *probes, figures = map(json.loads, ended.stdout.splitlines())
        found = Found(sent=figures["sent"], lost=figures["lost"], duplicated=figures["duplicated"])
        found.reordered = figures["reordered"]
        if figures["forward"] is not None:
            found.lost_ahead, found.lost_home = figures["forward"]["lost"], figures["backward"]["lost"]
            found.ahead_ms, found.home_ms = figures["forward"]["median_ms"], figures["backward"]["median_ms"]
        for probe in probes:
            if probe["result"] in ("received", "reordered"):
                found.times[probe["seq"] - 1] = round(probe["rtt_ms"] * 1e6)
        return found

    def number(self, head: bytes, *, reply: bool) -> int | None:
        return int.from_bytes(head[24:28] if reply else head[:4], "big")


class Irtt:
    """irtt with its own server."""

    name = "irtt"

    def missing(self) -> str:
        return "" if shutil.which("irtt") else "irtt"

    @contextmanager
    def server(self) -> Iterator[int]:
        port = free_port()
        with _running(["irtt", "server", "-b", f"127.0.0.1:{port}", "-i", "0"]):
            yield port

    def run(self, port: int, count: int, interval: float) -> Found:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "irtt.json"
            words = ["-i", f"{interval * 1e3:g}ms", "-d", f"{count * interval * 1e3:g}ms", "--wait=2s", "-Q"]
            subprocess.run(
                ["irtt", "client", *words, "-o", str(file), f"127.0.0.1:{port}"],
                capture_output=True,
                check=False,
                timeout=SECONDS,
            )
            said = json.loads(file.read_text("utf-8"))
        stats = said["stats"]
        sent = stats["packets_sent"]
        losses = ("packet_loss_percent", "upstream_loss_percent", "downstream_loss_percent")
        lost, ahead, home = (round(sent * stats[name] / 100) for name in losses)
        if not 0 <= ahead <= sent or not 0 <= home <= sent:  # they wrap below 0 if there are more copies than losses
            ahead = home = -1
        found = Found(sent=sent, lost=lost, lost_ahead=ahead, lost_home=home, duplicated=stats["duplicates"])
        found.ahead_ms, found.home_ms = (stats[name]["median"] / 1e6 for name in ("send_delay", "receive_delay"))
        found.reordered = stats["late_packets"]
        for trip in said["round_trips"]:
            if trip["lost"] == "false":
                times = trip["timestamps"]["client"]
                found.times[trip["seqno"]] = times["receive"]["monotonic"] - times["send"]["monotonic"]
        return found

    def number(self, head: bytes, *, reply: bool) -> int | None:
        """Packets that open or close a connection have flag 1 or 4 (irtt's own protocol)."""
        return None if head[3] & 5 else int.from_bytes(head[12:16], "little")


class Sockperf:
    """sockperf under-load with its own server. It excludes the beginning and the end from its figures."""

    name = "sockperf"

    def missing(self) -> str:
        return "" if shutil.which("sockperf") else "sockperf"

    @contextmanager
    def server(self) -> Iterator[int]:
        port = free_port()
        with _running(["sockperf", "server", "-i", "127.0.0.1", "-p", str(port)]):
            yield port

    def run(self, port: int, count: int, interval: float) -> Found:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "log.csv"
            words = ["--mps", f"{1 / interval:.0f}", "-t", str(max(1, round(count * interval))), "-m", "64"]
            words += ["--reply-every", "1", "--full-log", str(file)]
            ended = subprocess.run(
                ["sockperf", "under-load", "-i", "127.0.0.1", "-p", str(port), *words],
                capture_output=True,
                text=True,
                check=False,
                timeout=SECONDS,
            )
            lines = file.read_text("utf-8").splitlines() if file.exists() else []
        found = Found(numbered=False)  # its log numbers only the messages that it counts
        if whole := re.search(r"Valid Duration\] .*SentMessages=(\d+); ReceivedMessages=(\d+)", ended.stdout):
            found.sent = int(whole[1])
        pattern = r"dropped messages = (\d+); # duplicated messages = (\d+); # out-of-order messages = (\d+)"
        if counts := re.search(pattern, ended.stdout):
            found.lost, found.duplicated, found.reordered = map(int, counts.groups())
        header = next((at for at, line in enumerate(lines) if line.startswith("packet,")), len(lines))
        for row in csv.reader(lines[header + 1 :]):
            if len(row) < 4 or not float(row[2]):  # a lost message
                continue
            found.times[int(row[0])] = round((float(row[2]) - float(row[1])) * 1e9)
        return found

    def number(self, head: bytes, *, reply: bool) -> int | None:
        return None if head[9] & 4 else int.from_bytes(head[:8], "big")


@contextmanager
def _running(command: list[str]) -> Iterator[None]:
    """A server that is ready after half a second, as these two do not say when."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        time.sleep(0.5)
        try:
            yield
        finally:
            process.terminate()


CLIENTS: Final[Mapping[str, Client]] = {client.name: client for client in (Echoctl(), Irtt(), Sockperf())}

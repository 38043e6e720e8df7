"""The cost of measuring: `python -m bench.accuracy.cost`.

It prints what `echoctl ping` adds to the round-trip time of a minimal client in C, both at a C server, and the
processor time of echod for each packet that a reflector returns.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.accuracy.clients import SECONDS
from bench.build import build_peer
from bench.machine import describe
from bench.signals import terminated_with_children
from echod.measurement.stamp import Request, Unauthenticated
from echod.measurement.stamp_tlvs import direct_measurement
from tests.daemon import Daemon, free_port

HERE: Final = Path(__file__).parent
PROBES: Final = 1000
PAUSE: Final = 2000  #: microseconds between two probes
PACKETS: Final = 50_000
IN_FLIGHT: Final = 32
BARE: Final = Unauthenticated().request(Request(0, 1, 0x8001, 7))
WITH_TLV: Final = BARE + direct_measurement(1)  #: as ping sends them
SERVICES: Final = ("echo", "reflector", "stateful")
CONFIG: Final = """
[daemon]
plane = "{plane}"
[services.echo]
listen = ["udp://127.0.0.1:0"]
[services.reflector]
listen = ["udp://127.0.0.1:0"]
[services.stateful]
kind = "reflector"
stateful = true
listen = ["udp://127.0.0.1:0"]
"""


@contextmanager
def c_server(folder: Path) -> Iterator[int]:
    """A server in C that returns datagrams; its port."""
    port = free_port()
    command = [str(build_peer(HERE.parent / "peers/c_udp.c", folder)), "127.0.0.1", str(port), "recvfrom"]
    with subprocess.Popen(command) as process:
        time.sleep(0.3)
        try:
            yield port
        finally:
            process.terminate()


def overhead(folder: Path) -> None:
    """Print the round-trip times of both clients at the same server."""
    client = build_peer(HERE / "ping_pong.c", folder)
    with c_server(folder) as port:
        ended = subprocess.run(
            [str(client), str(port), str(PROBES), str(PAUSE)],
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS,
        )
        p50, p99 = map(float, ended.stdout.split())
        words = ["ping", "--json", "-c", str(PROBES), "-i", f"{PAUSE}us", f"udp://127.0.0.1:{port}"]
        ended = subprocess.run(
            [sys.executable, "-m", "echod.client.main", *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS,
        )
        found = json.loads(ended.stdout)
    print(f"a C client: RTT p50 {p50:.1f} us, p99 {p99:.1f} us")
    print(f"echoctl ping: RTT p50 {found['p50_ms'] * 1000:.1f} us, p99 {found['p99_ms'] * 1000:.1f} us")


def processor_time(pid: int) -> float:
    """Seconds of processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def reflected(port: int, pid: int, packet: bytes) -> float:
    """The microseconds of processor time for each of PACKETS packets, IN_FLIGHT at a time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", port))
        before = processor_time(pid)
        for _ in range(PACKETS // IN_FLIGHT):
            for _ in range(IN_FLIGHT):
                client.send(packet)
            for _ in range(IN_FLIGHT):
                client.recv(2000)
        return (processor_time(pid) - before) / (PACKETS // IN_FLIGHT * IN_FLIGHT) * 1e6


def main(words: Sequence[str] | None = None) -> int:
    """Print both."""
    argparse.ArgumentParser(prog="python -m bench.accuracy.cost", description=__doc__).parse_args(words)
    print(", ".join(f"{name}: {value}" for name, value in describe().items()))
    with tempfile.TemporaryDirectory() as folder:
        overhead(Path(folder))
    for plane in ("auto", "off"):
        with Daemon(CONFIG.replace("{plane}", plane)) as daemon:
            for service, packet in ((name, each) for name in SERVICES for each in (BARE, WITH_TLV)):
                cost = reflected(daemon.inet(service, "udp")[1], daemon.process.pid, packet)
                print(
                    f"plane {plane}, {service}, {len(packet)} bytes: {cost:.1f} us of processor time a packet,"
                    f" {cost / 10:.2f} processors for 100,000 packets a second"
                )
    return 0


if __name__ == "__main__":
    with terminated_with_children():
        sys.exit(main())

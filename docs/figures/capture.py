"""Captures connections of examples/lessons/ for the figures: `python -m docs.figures.capture` saves data/*.json.

It runs the programs of lesson 3 in a network namespace of its own, so that other traffic is not captured. As an
ordinary user this needs user namespaces (unshare(1)).
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

TOP: Final = Path(__file__).parents[2]
DATA: Final = Path(__file__).with_name("data")
LESSONS: Final = TOP / "examples" / "lessons"
SECONDS: Final = 0.5  #: a connection has ended if no packet came for this time
FLAGS: Final = {2: "SYN", 1: "FIN", 4: "RST", 8: "PSH", 16: "ACK"}  #: RFC 9293 section 3.1
EVERY_PROTOCOL: Final = 3  #: ETH_P_ALL of packet(7)
Segment = dict[str, Any]


def segment(packet: bytes, server: int) -> Segment | None:
    """The TCP segment of an IPv4 packet from or to the port of the server; None for another packet (RFC 791, 9293)."""
    start = (packet[0] & 15) * 4
    if packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_TCP:
        return None
    source, target, sequence, acknowledged, offset, flags = struct.unpack_from("!HHIIBB", packet, start)
    if server not in (source, target):
        return None
    (length,) = struct.unpack_from("!H", packet, 2)
    return {
        "sender": "server" if source == server else "client",
        "flags": [name for bit, name in FLAGS.items() if flags & bit],
        "sequence": sequence,
        "acknowledged": acknowledged,
        "data": packet[start + (offset >> 4) * 4 : length].decode("ascii"),
    }


def numbered(segments: list[Segment]) -> list[Segment]:
    """The same with relative numbers, as tcpdump and Wireshark show them: each end begins at 0."""
    begin = {one["sender"]: one["sequence"] for one in reversed(segments) if "SYN" in one["flags"]}
    for one in segments:
        other = "client" if one["sender"] == "server" else "server"
        one["sequence"] = (one["sequence"] - begin[one["sender"]]) % 2**32
        if "ACK" in one["flags"]:
            one["acknowledged"] = (one["acknowledged"] - begin[other]) % 2**32
        else:
            del one["acknowledged"]
    return segments


def received(capture: socket.socket, server: int) -> Iterator[Segment]:
    """The segments from and to a port, until no packet has come for SECONDS."""
    while select.select([capture], [], [], SECONDS)[0]:
        packet, address = capture.recvfrom(65_536)
        if address[2] != socket.PACKET_OUTGOING and (found := segment(packet, server)):
            yield found  # loopback shows each packet twice, as sent and as received


def captured(server: int, start: list[str], client: list[str]) -> list[Segment]:
    """The segments of a run: `start` is the server, which prints a line when it is ready."""
    environ = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(TOP)}
    running = subprocess.Popen([sys.executable, *start], stderr=subprocess.PIPE, text=True, env=environ, cwd=LESSONS)
    assert running.stderr is not None
    while "waiting" not in (line := running.stderr.readline()) and " ready: " not in line:
        if not line:
            raise RuntimeError(f"{' '.join(start)} has exited")
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(EVERY_PROTOCOL)) as capture:
        subprocess.run([sys.executable, *client], env=environ, cwd=LESSONS, capture_output=True, check=False)
        segments = numbered(list(received(capture, server)))
    running.terminate()
    running.wait()
    return segments


def main() -> None:
    """Capture in a namespace of its own, and write the files."""
    if "--inside" not in sys.argv:
        inside = [sys.executable, "-m", "docs.figures.capture", "--inside"]
        os.execvp("unshare", ["unshare", "--user", "--map-root-user", "--net", *inside])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    client = (LESSONS / "receipt_client.py").read_text("utf-8")
    slow = client.replace("client.close()", f"__import__('time').sleep({SECONDS / 2})\nclient.close()")
    assert slow != client  # a client that closes at once acknowledges the FIN and sends its own in one segment
    runs = {
        "connection": captured(9003, ["restartable_server.py", "9003"], ["-c", slow, "9003", "parcel"]),
        "reset": captured(10015, ["-m", "echod", "--listen", "bin=tcp://127.0.0.1:10015"], ["reset.py", "10015"]),
    }
    for name, segments in runs.items():
        (DATA / f"{name}.json").write_text("[\n" + ",\n".join(json.dumps(one) for one in segments) + "\n]\n")
        print(f"{name}: {len(segments)} segments")


if __name__ == "__main__":
    main()

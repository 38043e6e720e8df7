"""STAMP, TWAMP Light, TR-143 and sockperf with the programs of others: scapy, tshark, openssl, irtt and sockperf."""

import hashlib
import hmac
import json
import re
import socket
import struct
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.accuracy.__main__ import PATHS, Truth, path
from bench.accuracy.clients import Echoctl
from echod.measurement.stamp import Authenticated, Request, Unauthenticated
from echod.measurement.stamp_tlvs import class_of_service, direct_measurement, tlv
from echod.measurement.timestamps import ntp
from tests.daemon import SECONDS, Daemon, run
from tests.system_wide.others import tool
from tests.system_wide.python_programs import python_with

pytestmark = pytest.mark.needs_tools

KEY = b"sixteen or more bytes"
CONFIG = """
[services.reflector]
listen = ["udp://127.0.0.1:0"]
[services.stateful]
kind = "reflector"
stateful = true
listen = ["udp://127.0.0.1:0"]
[services.authenticated]
kind = "reflector"
key = "{dir}/stamp.key"
listen = ["udp://127.0.0.1:0"]
[services.sockperf]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(CONFIG, files={"stamp.key": KEY}) as daemon:
        yield daemon
        daemon.check()


def ask(place: tuple[str, int], data: bytes) -> bytes:
    """The reply to one datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(SECONDS)
        client.connect(place)
        client.send(data)
        return client.recv(65_536)


@pytest.fixture(scope="module")
def scapy() -> Path:
    """A Python with scapy."""
    return python_with("scapy", "2.8.0")


def dissected(python: Path, layer: str, data: bytes) -> dict[str, Any]:
    """The fields of a packet as scapy sees them."""
    script = f"""
    import json, sys
    from scapy.contrib.stamp import {layer}
    packet = {layer}(bytes.fromhex(sys.argv[1]))
    assert bytes(packet) == bytes.fromhex(sys.argv[1])
    tlvs = [(int(one.type), int(one.len), str(one.flags)) for one in getattr(packet, "tlv_objects", [])]
    print(json.dumps({{
        "seq": packet.seq, "ssid": packet.ssid, "ts": float(packet.ts), "rx": float(getattr(packet, "ts_rx", 0)),
        "sent_seq": getattr(packet, "seq_sender", None), "sent": float(getattr(packet, "ts_sender", 0)),
        "ttl": getattr(packet, "ttl_sender", None), "tlvs": tlvs,
        "S": packet.err_estimate.S, "Z": packet.err_estimate.Z, "scale": packet.err_estimate.scale,
        "multiplier": packet.err_estimate.multiplier,
    }}))
    """
    ended = run(str(python), "-c", textwrap.dedent(script), data.hex())
    assert ended.returncode == 0, ended.stderr.decode()
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_scapy_sees_our_packets_as_we_do(daemon, scapy):
    request = Unauthenticated().request(Request(5, ntp(1_800_000_000 * 10**9), 0x8A03, 0xABCD))
    request += tlv(1, b"padding") + class_of_service(0) + direct_measurement(6)
    seen = dissected(scapy, "STAMPSessionSenderTestUnauthenticated", request)
    assert (seen["seq"], seen["ssid"], seen["ts"]) == (5, 0xABCD, 1_800_000_000 + 2_208_988_800)
    assert [seen[name] for name in ("S", "Z", "scale", "multiplier")] == [1, 0, 10, 3]
    data = ask(daemon.inet("stateful", "udp"), request)
    seen = dissected(scapy, "STAMPSessionReflectorTestUnauthenticated", data)
    assert (seen["seq"], seen["ssid"], seen["sent_seq"], seen["ttl"]) == (0, 0xABCD, 5, 64)
    assert seen["sent"] == 1_800_000_000 + 2_208_988_800
    assert [kind for kind, _, _ in seen["tlvs"]] == [1, 4, 5]


def test_a_session_sender_of_scapy_gets_a_reply(daemon, scapy):
    script = """
    import socket, sys
    from scapy.contrib.stamp import *
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(60)
    client.connect(("127.0.0.1", int(sys.argv[1])))
    client.send(bytes(STAMPSessionSenderTestUnauthenticated(seq=9, ssid=7)))
    print(STAMPSessionReflectorTestUnauthenticated(client.recv(2000)).seq_sender)
    """
    port = str(daemon.inet("reflector", "udp")[1])
    ended = run(str(scapy), "-c", textwrap.dedent(script), port)
    assert ended.stdout == b"9\n", ended.stderr.decode()


def test_openssl_computes_the_same_hmac(daemon):
    data = ask(daemon.inet("authenticated", "udp"), Authenticated(KEY).request(Request(0, 1, 0x8001, 2)))
    words = ["dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{KEY.hex()}"]
    ended = subprocess.run([tool("openssl"), *words], input=data[:96], capture_output=True, check=True, timeout=60)
    assert data[96:].hex() == ended.stdout.decode().split()[-1][:32]
    assert data[96:] == hmac.new(KEY, data[:96], hashlib.sha256).digest()[:16]


def test_tshark_dissects_replies_as_twamp(daemon, tmp_path):
    request = Unauthenticated().request(Request(5, ntp(1_800_000_000 * 10**9), 0x8A03))
    data = ask(daemon.inet("reflector", "udp"), request)
    capture = tmp_path / "reply.pcap"
    ip = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 28 + len(data), 1, 0, 64, 17, 0, bytes([127, 0, 0, 1]), bytes([127, 0, 0, 1])
    )
    frame = ip + struct.pack("!HHHH", 862, 40_000, 8 + len(data), 0) + data
    capture.write_bytes(
        struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 101)
        + struct.pack("<IIII", 1, 0, len(frame), len(frame))
        + frame
    )
    words = ("-r", str(capture), "-d", "udp.port==862,twamp.test", "-T", "json")
    ended = run(tool("tshark"), *words)
    said = ended.stdout.decode()
    assert ended.returncode == 0, ended.stderr.decode()
    assert re.search(r'"twamp\.test\.seq_number": "5"', said)
    assert re.search(r'"twamp\.test\.sender_seq_number": "5"', said)
    assert re.search(r'"twamp\.test\.sender_ttl": "64"', said)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_sockperf_plays_ping_pong_with_the_kind_sockperf(daemon, transport):
    port = str(daemon.inet("sockperf", transport)[1])
    for way in (["ping-pong"], ["under-load", "--mps", "200", "--reply-every", "2"]):
        way += ["--tcp"] if transport == "tcp" else []
        # It counts no message of the first and last half second. In three further ones some have a reply.
        ended = run(tool("sockperf"), *way, "-i", "127.0.0.1", "-p", port, "-t", "4", "-m", "64")
        said = ended.stdout.decode()
        assert ended.returncode == 0, said
        assert "# dropped messages = 0; # duplicated messages = 0; # out-of-order messages = 0" in said


@pytest.mark.parametrize("name", ["loss 5% forward", "loss 5% backward", "loss 3% and 6%", "duplicates 5% each way"])
def test_losses_by_direction_and_duplicates_are_those_of_the_path(name):
    """`python -m bench.accuracy` prints the same for all clients, with the errors of times."""
    assert name in PATHS
    client = Echoctl(wait=20)
    with client.server() as port:
        with path(port, name, seed=7) as (front, records):
            found = client.run(front, 200, 0.005)
        truth = Truth(client, records)
    # The direction of a loss after the last reply is not known.
    last = max(found.times, default=0)
    assert found.lost == 200 - len(found.times)
    if last == 199:
        assert (found.lost_ahead, found.lost_home) == (truth.lost_ahead, truth.lost_home)

"""The same requests to echod and to three superservers, and the reason for every reply that differs.

A table has the behaviour of each server if they differ, and the comment above it quotes the RFC.
"""

import re
import socket
import struct
import time
from collections import Counter
from itertools import pairwise

import pytest

from echod.services.chargen import RING
from tests.system_wide.others import is_since
from tests.system_wide.superservers import (
    ADDRESSES,
    DEFAULTS,
    RFC864,
    asked,
    connected,
    heard,
)

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tools]

TO_1970 = 2_208_988_800
SIZES = (0, 1, 512, 1472, 8193, 65507)


@pytest.fixture
def host(server):
    return ADDRESSES[server]


# Echo, RFC 862


# "Once a connection is established any data received is sent back", and all four servers do so to the end.
@pytest.mark.parametrize("size", SIZES)
def test_echo_over_tcp_after_the_half_close(host, size):
    question = RING * (size // 95) + RING[: size % 95]
    with connected(host, "echo") as client:
        client.sendall(question)
        client.shutdown(socket.SHUT_WR)
        assert heard(client) == question


# "When a datagram is received, the data from it is sent back in an answering datagram": all of it. RFC 768 allows
# 65,507 bytes over IPv4. The other servers read into a fixed buffer and silently lose the rest.
WHOLE = {"echod": 65_507, "openbsd-inetd": 4_096, "inetutils-inetd": 8_192, "xinetd": 2_048}


@pytest.mark.parametrize("size", [*SIZES, 2048, 2049, 4096, 4097, 8192])
def test_echo_over_udp(server, host, size):
    question = RING * (size // 95) + RING[: size % 95]
    assert asked(host, "echo", question) == [question[: WHOLE[server]]]


# RFC 862 does not mention loops; CERT CA-1996-01 and CVE-2024-2169 do. A datagram from the port of chargen was sent
# by chargen, or is spoofed, and each reply causes the next request. None of Debian's three servers checks the port.
LOOPS = {"echod": False, "openbsd-inetd": True, "inetutils-inetd": True, "xinetd": True}


@pytest.mark.parametrize("port", [7, 19, 53, 1023])
def test_echo_of_a_datagram_from_a_port_that_replies(server, host, port):
    answers = asked(host, "echo", b"loop", port=port, answers=int(LOOPS[server]))
    assert answers == [b"loop"] * LOOPS[server]


# RFC 862 excludes no source address. openbsd-inetd does not reply to 127.0.0.0/8 over UDP.
def test_echo_over_udp_on_loopback(servers):
    if "openbsd-inetd" not in servers:
        pytest.skip("openbsd-inetd is not installed; tests/system_wide/prepare unpacks it")
    assert asked("127.0.0.1", "echo", b"hello", client="127.0.0.1", answers=0) == []


# Discard, RFC 863


# "Any data received is thrown away. No response is sent. This continues until the calling user terminates the
# connection", and all four close after the client.
@pytest.mark.parametrize("size", SIZES)
def test_discard_over_tcp(host, size):
    with connected(host, "discard") as client:
        client.sendall(bytes(size))
        client.shutdown(socket.SHUT_WR)
        assert heard(client) == b""


# "No response is sent", and an ICMP error would be a response: it would raise ConnectionRefusedError here.
@pytest.mark.parametrize("size", SIZES)
def test_discard_over_udp(host, size):
    assert asked(host, "discard", bytes(size), answers=0) == []


# Daytime, RFC 867


# "There is no specific syntax for the daytime. […] The daytime should be just one line." echod uses the first syntax
# that the RFC calls popular, xinetd the second (with a year of four digits), and the inetds the format of ctime(3).
LINE = {
    "echod": rb"[A-Z][a-z]+day, [A-Z][a-z]+ \d{1,2}, \d{4} \d\d:\d\d:\d\d-UTC\r\n",
    "openbsd-inetd": rb"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\r\n",
    "inetutils-inetd": rb"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\r\n",
    "xinetd": rb"\d\d [A-Z]{3} \d{4} \d\d:\d\d:\d\d [A-Z]+\r\n",
}


def test_daytime_over_tcp(server, host):
    with connected(host, "daytime") as client:
        assert re.fullmatch(LINE[server], heard(client))


# "An answering datagram is sent containing the current date and time […] (the data in the received datagram is
# ignored)", including its length.
@pytest.mark.parametrize("size", SIZES)
def test_daytime_over_udp(server, host, size):
    (line,) = asked(host, "daytime", bytes(size))
    assert re.fullmatch(LINE[server], line)


# Unless `larger-answers-to` has the client's network, echod sends no reply that is larger than the request. The RFC
# of 1983 has no such rule: its reply of 40 bytes to an empty datagram would be an amplification for spoofed sources.
@pytest.mark.parametrize(("size", "answers"), [(0, 0), (1, 0), (37, 0), (48, 1), (512, 1)])
def test_daytime_over_udp_with_echods_defaults(servers, size, answers):
    lines = asked(DEFAULTS, "daytime", bytes(size), answers=answers)
    assert [bool(re.fullmatch(LINE["echod"], line)) for line in lines] == [True] * answers


# Time, RFC 868

# "Send the time as a 32 bit binary number": four bytes. inetutils-inetd sends a `long` of its machine, eight bytes on
# most of them, and the time is right only for a client that reads four bytes.
TIME_SIZES = {"echod": 4, "openbsd-inetd": 4, "inetutils-inetd": struct.calcsize("l"), "xinetd": 4}


def seconds(data):
    (since_1900,) = struct.unpack_from("!I", data)
    return since_1900 - TO_1970


def test_time_over_tcp(server, host):
    began = time.time()
    with connected(host, "time") as client:
        data = heard(client)
    assert len(data) == TIME_SIZES[server]
    assert is_since(seconds(data), began)


# "Send an empty datagram", says the RFC to clients; some send one byte or more, and all get the same reply.
@pytest.mark.parametrize("size", SIZES)
def test_time_over_udp(server, host, size):
    began = time.time()
    (data,) = asked(host, "time", bytes(size))
    assert len(data) == TIME_SIZES[server]
    assert is_since(seconds(data), began)


# As with daytime: by default echod does not reply to an empty request. Its own client sends four bytes.
@pytest.mark.parametrize(("size", "answers"), [(0, 0), (1, 0), (3, 0), (4, 1), (512, 1)])
def test_time_over_udp_with_echods_defaults(servers, size, answers):
    assert len(asked(DEFAULTS, "time", bytes(size), answers=answers)) == answers


# Daytime and time over TCP, where the client sends before it reads


# RFC 867: "any data received is thrown away", and RFC 868 expects none. A server that closes "while received data is
# still pending" resets the connection (RFC 1122 4.2.2.13), and the reset may overtake the reply. Here it did not.
RESETS = {"echod": False, "openbsd-inetd": True, "inetutils-inetd": True, "xinetd": True}


@pytest.mark.parametrize("kind", ["daytime", "time"])
@pytest.mark.parametrize("size", [1, 512, 65507])
def test_send_before_read(server, servers, kind, size):
    with servers[server].stopped():
        client = connected(ADDRESSES[server], kind)
        client.sendall(bytes(size))
    with client:
        assert client.recv(64)
        if RESETS[server]:
            with pytest.raises(ConnectionResetError):
                heard(client)
        else:
            assert heard(client) == b""


# Chargen, RFC 864


def lines(data):
    """Complete lines, without their ends."""
    return data.split(b"\r\n")[:-1]


# "72 character lines of the ASCII printing characters. There are 95 […] Think of the sequence as a ring": three servers
# follow this popular pattern exactly. xinetd's ring lacks its first and last characters, SPACE and ~.
RINGS = {"echod": RING, "openbsd-inetd": RING, "inetutils-inetd": RING, "xinetd": RING[1:-1]}


def test_chargen_over_tcp_runs_through_the_ring(server, host):
    with connected(host, "chargen") as client:
        came = lines(heard(client, 200 * 74))
    assert {len(line) for line in came} == {72}
    ring = RINGS[server]
    assert {bytes((octet,)) for line in came for octet in line} == {bytes((octet,)) for octet in ring}
    for line, following in pairwise(came):
        assert following[:-1] == line[1:] or server == "xinetd"  # at the end of its ring, two of its lines are repeated


# "On the first line (line 0) put the characters numbered 0 through 71." xinetd continues after its last UDP reply.
@pytest.mark.parametrize("name", ["echod", "openbsd-inetd", "inetutils-inetd"])
def test_chargen_over_tcp_begins_as_the_example_does(servers, name):
    if name not in servers:
        pytest.skip(f"{name} is not installed; tests/system_wide/prepare unpacks it")
    with connected(ADDRESSES[name], "chargen") as client:
        assert lines(heard(client, 3 * 74)) == [RING[first : first + 72] for first in range(3)]


# "Any data received is thrown away. This continues until the calling user terminates the connection": a half-close
# does not terminate it.
def test_chargen_over_tcp_continues_after_the_half_close(host):
    with connected(host, "chargen") as client:
        client.sendall(b"thrown away")
        client.shutdown(socket.SHUT_WR)
        assert len(heard(client, 1_000_000)) == 1_000_000


# "A random number (between 0 and 512) of characters": the inetds send one line of a fixed length, and xinetd more than
# the RFC allows. echod's number is not random either: it is the size of the request, because no reply of chargen may
# be larger (CERT CA-1996-01).
SIZE = {
    "echod": lambda size: min(size, 512),
    "openbsd-inetd": lambda size: 74,
    "inetutils-inetd": lambda size: 74,
    "xinetd": lambda size: 1024,
}


@pytest.mark.parametrize("size", SIZES)
def test_chargen_over_udp(server, host, size):
    length = SIZE[server](size)
    answers = asked(host, "chargen", bytes(size), answers=int(length > 0))
    assert [len(answer) for answer in answers] == ([length] if length else [])


# "There is no history or state information associated with the UDP version of this service": the other servers
# continue from reply to reply.
STATEFUL = {"echod": False, "openbsd-inetd": True, "inetutils-inetd": True, "xinetd": True}


def test_chargen_over_udp_keeps_no_state(server, host):
    answers = Counter(answer for _ in range(4) for answer in asked(host, "chargen", bytes(80)))
    assert (len(answers) == 4) is STATEFUL[server]


# With `rfc864`, and for `larger-answers-to`, echod follows the RFC: any number from 0 to 512 for any request.
def test_chargen_over_udp_as_in_the_rfc(servers):
    sizes = [len(answer) for _ in range(20) for answer in asked(RFC864, "chargen", b"")]
    assert len(sizes) == 20
    assert max(sizes) <= 512
    assert len(set(sizes)) > 5

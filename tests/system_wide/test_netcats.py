"""netcat-openbsd, socat and ncat, which end a conversation in different ways."""

import hashlib
import random

import pytest

from tests.daemon import SECONDS
from tests.system_wide.others import ended, exchange, said, tool

pytestmark = pytest.mark.needs_tools

MANY = 64 * 1024 * 1024

# Each shuts down sending at the end of its standard input, reads the rest, and exits when the server closes.
HALF_CLOSING = {
    "nc -N": lambda place: [tool("nc.openbsd"), "-N", *place],
    "socat": lambda place: [tool("socat"), "-t30", "-", f"TCP4:{place[0]}:{place[1]}"],
    "ncat": lambda place: [tool("ncat"), *place],
}
NC_UNIX = {
    "nc -NU": lambda path: [tool("nc.openbsd"), "-NU", path],
    "socat UNIX-CONNECT": lambda path: [tool("socat"), "-t30", "-", f"UNIX-CONNECT:{path}"],
    "ncat -U": lambda path: [tool("ncat"), "-U", path],
}
UDP = {
    "nc -u": lambda place: [tool("nc.openbsd"), "-u", *place],
    "socat": lambda place: [tool("socat"), "-b65507", "-", f"UDP4:{place[0]}:{place[1]}"],
    "ncat -u": lambda place: [tool("ncat"), "-u", *place],
}


def words(place):
    return place[0], str(place[1])


@pytest.mark.parametrize("client", HALF_CLOSING)
@pytest.mark.parametrize("size", [0, 1, MANY])
def test_everything_comes_back_after_the_half_close(daemon, client, size):
    asked = random.Random(862).randbytes(size)
    process = ended(*HALF_CLOSING[client](words(daemon.place("echo", "tcp"))), given=asked, seconds=4 * SECONDS)
    assert process.returncode == 0, process.stderr
    assert hashlib.sha256(process.stdout).hexdigest() == hashlib.sha256(asked).hexdigest()


@pytest.mark.parametrize("client", NC_UNIX)
def test_everything_comes_back_over_a_unix_socket(daemon, client):
    asked = random.Random(862).randbytes(1_000_000)
    process = ended(*NC_UNIX[client](daemon.place("echo", "unix:///")), given=asked)
    assert process.returncode == 0, process.stderr
    assert hashlib.sha256(process.stdout).hexdigest() == hashlib.sha256(asked).hexdigest()


def test_socat_over_an_abstract_socket(daemon):
    name = daemon.url("echo", "unix://@").removeprefix("unix://@")
    assert said(tool("socat"), "-t30", "-", f"ABSTRACT-CONNECT:{name}", given=b"hello") == "hello"


@pytest.mark.parametrize("client", UDP)
@pytest.mark.parametrize("size", [1, 512, 1472, 8192])  # 8,192: ncat does not read more at once
def test_a_datagram_comes_back(daemon, client, size):
    asked = random.Random(862).randbytes(size)
    assert exchange(*UDP[client](words(daemon.place("echo", "udp"))), given=asked, expected=size) == asked


@pytest.mark.parametrize("size", [8193, 65507])
def test_the_largest_datagram_comes_back_to_socat(daemon, size):
    asked = random.Random(862).randbytes(size)
    assert exchange(*UDP["socat"](words(daemon.place("echo", "udp"))), given=asked, expected=size) == asked


def test_nc_gets_a_reply_of_a_unix_datagram_socket(daemon, tmp_path):
    path = daemon.place("echo", "unix-dgram:///")
    client = [tool("nc.openbsd"), "-uU", "-s", tmp_path / "nc", path]
    assert exchange(*client, given=b"hello", expected=5) == b"hello"


def test_ncat_gets_a_reply_of_a_unix_datagram_socket(daemon, tmp_path):
    path = daemon.place("echo", "unix-dgram:///")
    client = [tool("ncat"), "-uU", "-s", tmp_path / "ncat", path]
    assert exchange(*client, given=b"hello", expected=5) == b"hello"


# UNIX-SENDTO only accepts datagrams from the name that it sent to (RFC 1122 4.1.3.5 requires it for UDP).
def test_socat_gets_a_reply_of_a_unix_datagram_socket(daemon, tmp_path):
    path = daemon.place("echo", "unix-dgram:///")
    client = [tool("socat"), "-", f"UNIX-SENDTO:{path},bind={tmp_path / 'socat'}"]
    assert exchange(*client, given=b"hello", expected=5) == b"hello"


def test_socat_gets_a_reply_of_an_abstract_datagram_socket(daemon):
    name = daemon.url("echo", "unix-dgram://@").removeprefix("unix-dgram://@")
    client = [tool("socat"), "-", f"ABSTRACT-SENDTO:{name},bind={name}-socat"]
    assert exchange(*client, given=b"hello", expected=5) == b"hello"


# A socket without a name cannot receive a reply; a datagram from one must do no harm.
def test_a_datagram_of_a_nameless_socket_is_served_without_a_reply(daemon):
    path = daemon.place("echo", "unix-dgram:///")
    assert said(tool("socat"), "-t0.2", "-", f"UNIX-SENDTO:{path}", given=b"hello") == ""
    daemon.check()


@pytest.mark.parametrize(
    "client",
    [
        lambda place: [tool("nc.openbsd"), "-d", *place],
        lambda place: [tool("socat"), "-u", f"TCP4:{place[0]}:{place[1]}", "-"],
        lambda place: [tool("ncat"), "--recv-only", *place],
    ],
    ids=["nc -d", "socat -u", "ncat --recv-only"],
)
def test_a_client_that_only_reads_gets_the_line_and_the_fin(daemon, client):
    assert said(*client(words(daemon.place("daytime", "tcp")))).endswith("-UTC\r\n")


@pytest.mark.parametrize(
    "client",
    [
        lambda place: [tool("nc.openbsd"), "-N", *place],
        lambda place: [tool("socat"), "-u", "-", f"TCP4:{place[0]}:{place[1]}"],
        lambda place: [tool("ncat"), "--send-only", *place],
    ],
    ids=["nc -N", "socat -u", "ncat --send-only"],
)
def test_a_client_that_only_writes_is_printed_by_discard(daemon, client, request):
    line = f"from {request.node.callspec.id}"
    assert said(*client(words(daemon.place("discard", "tcp"))), given=line.encode()) == ""
    daemon.stdout.wait_for(line)

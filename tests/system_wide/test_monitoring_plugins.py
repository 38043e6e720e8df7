"""The Nagios plugins of Debian's monitoring-plugins: the first line is for people, the exit code is for Nagios."""

import re

import pytest

from tests.system_wide.others import ended, said, tool

pytestmark = pytest.mark.needs_tools

CRITICAL = 2


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_check_time_finds_no_difference(daemon, transport):
    port = str(daemon.place("time", transport)[1])
    words = [tool("check_time"), "-H", "127.0.0.1", "-p", port, "-w", "60", "-c", "60"]
    line = said(*words, *(["--udp"] if transport == "udp" else []))
    assert re.match(r"TIME OK - [1-5]?\d second time difference", line)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_check_tcp_and_check_udp_get_their_bytes_back(daemon, transport):
    port = str(daemon.place("echo", transport)[1])
    words = ["-H", "127.0.0.1", "-p", port, "-E", "-s", r"a\tb\r\n", "-e", "a\tb"]
    line = said(tool(f"check_{transport}"), *words)
    assert re.match(rf"{transport.upper()} OK - .* port {port} \[a\tb\]", line)


def test_check_tcp_over_a_unix_socket(daemon):
    path = daemon.place("echo", "unix:///")
    assert said(tool("check_tcp"), "-H", path, "-s", "hello", "-e", "hello").startswith("TCP OK - ")


def test_check_tcp_reads_a_quotation(daemon):
    words = ["-H", "127.0.0.1", "-p", str(daemon.place("qotd", "tcp")[1]), "-e", "RFC"]
    assert said(tool("check_tcp"), *words).startswith("TCP OK - ")


def test_check_tcp_connects_to_discard(daemon):
    words = ["-H", "127.0.0.1", "-p", str(daemon.place("discard", "tcp")[1])]
    assert said(tool("check_tcp"), *words).startswith("TCP OK - ")


def test_check_udp_gets_no_reply_from_discard(daemon):
    words = ["-H", "127.0.0.1", "-p", str(daemon.place("discard", "udp")[1]), "-t", "1", "-s", "hello", "-e", "hello"]
    process = ended(tool("check_udp"), *words)
    # Not "connection refused": an ICMP error would be a reply, which RFC 863 (UDP) forbids.
    assert (process.returncode, process.stdout) == (CRITICAL, b"CRITICAL - Socket timeout after 1 seconds\n")

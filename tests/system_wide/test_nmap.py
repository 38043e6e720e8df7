"""nmap's identification of echod and of the superservers. Network inventories use its table of fingerprints.

The test uses the well-known ports: on other ports nmap tries many more probes and takes a minute.
"""

import re

import pytest

from tests.daemon import SECONDS
from tests.system_wide.others import said, tool
from tests.system_wide.superservers import ADDRESSES

pytestmark = pytest.mark.needs_tools

FOUND = re.compile(r"^\d+/(?:tcp|udp) +(\S+) +(\S+)(?: +(\S.*))?$", re.MULTILINE)


def scanned(*words):
    """State, service and version of each port, and nmap's whole output."""
    page = said(tool("nmap"), "-n", "-Pn", "-sV", *words, seconds=4 * SECONDS)
    return FOUND.findall(page), page


# The daytime is named after the one vendor that uses the RFC's example as its format, as echod does.
def test_what_nmap_finds_over_tcp(servers):
    found, _ = scanned("-p", "7,13,19,37", ADDRESSES["echod"])
    assert found == [
        ("open", "echo", ""),
        ("open", "daytime", "Cisco router daytime"),
        ("open", "chargen", ""),
        ("open", "time", "(32 bits)"),
    ]


def test_what_nmap_finds_over_udp(servers):
    found, _ = scanned("-sU", "-p", "7,19,37", ADDRESSES["echod"])
    assert found == [("open", "echo", ""), ("open", "chargen", "SunOS chargen"), ("open", "time", "(32 bits)")]


# A ? is a guess by the port number: no reply was received.
def test_nmap_gets_no_reply_from_discard(servers):
    found, page = scanned("--version-intensity", "0", "-p", "9", ADDRESSES["echod"])
    assert found == [("open", "discard?", "")]
    assert "despite returning data" not in page


# RFC 868: "a 32-bit binary number"; inetutils-inetd sends a `long`, which has a fingerprint of its own.
BITS = {"echod": "(32 bits)", "openbsd-inetd": "(32 bits)", "inetutils-inetd": "(64 bits)", "xinetd": "(32 bits)"}


def test_nmap_finds_the_same_services_on_every_server(server):
    found, _ = scanned("-p", "7,13,19,37", ADDRESSES[server])
    assert [service for _, service, _ in found] == ["echo", "daytime", "chargen", "time"]
    assert found[-1][-1] == BITS[server]

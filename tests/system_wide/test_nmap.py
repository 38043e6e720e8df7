"""What nmap takes us for, and the superservers. Inventories of networks are made with its table of fingerprints.

It asks on the real ports: elsewhere it has to try so much more that it takes a minute.
"""

import re

import pytest

from tests.system_wide.others import said, tool
from tests.system_wide.superservers import ADDRESSES

pytestmark = pytest.mark.system_wide

FOUND = re.compile(r"^\d+/(?:tcp|udp) +(\S+) +(\S+)(?: +(\S.*))?$", re.MULTILINE)


def scanned(*words):
    """State, service and version of each port, and nmap's whole page."""
    page = said(tool("nmap"), "-n", "-Pn", "-sV", *words, seconds=90)
    return FOUND.findall(page), page


# The daytime has the name of the one maker who took the RFC's example for a format, as we do.
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


# A ? is a guess by the number of the port: nothing came that anything could be known by.
def test_nmap_hears_nothing_from_discard(servers):
    found, page = scanned("--version-intensity", "0", "-p", "9", ADDRESSES["echod"])
    assert found == [("open", "discard?", "")]
    assert "despite returning data" not in page


# RFC 868: "a 32-bit binary number"; inetutils-inetd sends a `long`, and nmap has a name for that.
BITS = {"echod": "(32 bits)", "openbsd-inetd": "(32 bits)", "inetutils-inetd": "(64 bits)", "xinetd": "(32 bits)"}


def test_nmap_finds_the_same_services_in_all(server):
    found, _ = scanned("-p", "7,13,19,37", ADDRESSES[server])
    assert [service for _, service, _ in found] == ["echo", "daytime", "chargen", "time"]
    assert found[-1][-1] == BITS[server]

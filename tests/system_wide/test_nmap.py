"""What nmap takes us for. Its table of fingerprints is what many inventories of networks are made with."""

import re

import pytest

from tests.system_wide.others import said, tool

pytestmark = [pytest.mark.system_wide, pytest.mark.timeout(180)]

FOUND = re.compile(r"^(\d+)/tcp +open +(\S+) *(.*)$", re.MULTILINE)


# The daytime is named after the one maker who took the RFC's example for a format, as we do (RFC 867); `32 bits` is
# the size that RFC 868 asks for, and nmap knows servers that send 64.
EXPECTED = {
    "echo": ("echo", ""),
    "daytime": ("daytime", "Cisco router daytime"),
    "chargen": ("chargen", ""),
    "time": ("time", "(32 bits)"),
}


def test_nmap_knows_the_services_by_what_they_answer(daemon):
    ports = {kind: str(daemon.place(kind, "tcp")[1]) for kind in EXPECTED}
    page = said(tool("nmap"), "-n", "-Pn", "-sV", "-p", ",".join(ports.values()), "127.0.0.1", seconds=120)
    found = {port: (service, version.strip()) for port, service, version in FOUND.findall(page)}
    assert {kind: found[port] for kind, port in ports.items()} == EXPECTED


def test_nmap_hears_nothing_from_discard(daemon):
    port = str(daemon.place("discard", "tcp")[1])
    words = ["-n", "-Pn", "-sV", "--version-intensity", "0", "-p", port, "127.0.0.1"]
    page = said(tool("nmap"), *words, seconds=120)
    # A ? is a guess by the port alone.
    assert all(service == "unknown" or service.endswith("?") for _, service, _ in FOUND.findall(page))
    assert "despite returning data" not in page

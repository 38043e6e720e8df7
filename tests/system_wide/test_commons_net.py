"""Apache commons-net's clients of the small services, all run by SmallServices.java at once."""

import time
from pathlib import Path

import pytest

from tests.system_wide.others import file, said, tool

pytestmark = pytest.mark.needs_tools

JAR = "/usr/share/java/commons-net.jar"
TO_1970 = 2_208_988_800  # seconds from 1900, where the clock of RFC 868 begins
ASKED = [
    ("EchoTCPClient", "echo"),
    ("EchoUDPClient", "echo"),
    ("DiscardTCPClient", "discard"),
    ("DiscardUDPClient", "discard"),
    ("CharGenTCPClient", "chargen"),
    ("CharGenUDPClient", "chargen"),
    ("CharGenUDPClient", "chargen-rfc864"),
    ("DaytimeTCPClient", "daytime"),
    ("DaytimeUDPClient", "daytime"),
    ("TimeTCPClient", "time"),
    ("TimeUDPClient", "time"),
]


@pytest.fixture(scope="module")
def answers(daemon):
    """The output line of each client for each service."""
    tool("javac")  # the part of a JDK that runs a source file
    places = (f"{client}:{daemon.place(service, client[-9:-6].lower())[1]}" for client, service in ASKED)
    source = Path(__file__).with_name("SmallServices.java")
    page = said(tool("java"), "--class-path", file(JAR), source, *places, seconds=90)
    return dict(zip(ASKED, page.splitlines(), strict=True))


@pytest.mark.parametrize("client", ["EchoTCPClient", "EchoUDPClient"])
def test_echo_clients_get_their_bytes_back(answers, client):
    assert answers[client, "echo"] == "65507 the same"


@pytest.mark.parametrize("client", ["DiscardTCPClient", "DiscardUDPClient"])
def test_discard_clients_are_printed(answers, client, daemon):
    assert answers[client, "discard"] == "sent"
    daemon.stdout.wait_for(f"by {client}")


def test_the_chargen_client_gets_lines(answers):
    assert answers["CharGenTCPClient", "chargen"] == "".join(map(chr, range(0x20, 0x68)))


# Its request is an empty datagram. RFC 864 replies with "a random number (between 0 and 512) of characters", which
# would be an amplification for spoofed sources (CERT CA-1996-01). So the client needs `rfc864 = true`.
def test_the_chargen_client_of_datagrams_gets_the_configured_reply(answers):
    assert 0 <= int(answers["CharGenUDPClient", "chargen-rfc864"]) <= 512
    assert answers["CharGenUDPClient", "chargen"] == "silent"


@pytest.mark.parametrize("client", ["DaytimeTCPClient", "DaytimeUDPClient"])
def test_daytime_clients_get_the_line(answers, client):
    then = time.mktime(time.strptime(answers[client, "daytime"], "%A, %B %d, %Y %H:%M:%S-UTC"))
    assert abs(then - time.mktime(time.gmtime())) <= 30  # all clients have been asked since


@pytest.mark.parametrize("client", ["TimeTCPClient", "TimeUDPClient"])
def test_time_clients_get_the_time(answers, client):
    assert abs(int(answers[client, "time"]) - TO_1970 - time.time()) <= 30

"""Apache commons-net's clients of the small services, all asked by one run of SmallServices.java."""

import time
from pathlib import Path

import pytest

from tests.system_wide.others import file, said, tool

pytestmark = pytest.mark.system_wide

JAR = "/usr/share/java/commons-net.jar"
TO_1970 = 2_208_988_800  # seconds from 1900, where the clock of RFC 868 begins
ASKED = {
    "EchoTCPClient": "echo",
    "EchoUDPClient": "echo",
    "DiscardTCPClient": "discard",
    "DiscardUDPClient": "discard",
    "CharGenTCPClient": "chargen",
    "CharGenUDPClient": "chargen-rfc864",
    "DaytimeTCPClient": "daytime",
    "DaytimeUDPClient": "daytime",
    "TimeTCPClient": "time",
    "TimeUDPClient": "time",
}


def heard(services, daemon):
    """What each client heard of the service it is to ask."""
    places = (f"{client}:{daemon.place(kind, client[-9:-6].lower())[1]}" for client, kind in services.items())
    source = Path(__file__).with_name("SmallServices.java")
    java = [tool("java"), "--class-path", file(JAR), source]
    lines = said(*java, *places, seconds=90).splitlines()
    return dict(line.split(" ", 1) for line in lines)


@pytest.fixture(scope="module")
def answers(daemon):
    tool("javac")  # what java runs a source file with
    return heard(ASKED, daemon)


@pytest.mark.parametrize("client", ["EchoTCPClient", "EchoUDPClient"])
def test_echo_clients_get_their_octets_back(answers, client):
    assert answers[client] == "65507 the same"


@pytest.mark.parametrize("client", ["DiscardTCPClient", "DiscardUDPClient"])
def test_discard_clients_are_heard(answers, client, daemon):
    assert answers[client] == "sent"
    daemon.stdout.wait_for(f"by {client}")


def test_the_chargen_client_gets_lines(answers):
    assert answers["CharGenTCPClient"] == "".join(map(chr, range(0x20, 0x68)))


def test_the_chargen_client_gets_at_most_512_octets_for_an_empty_datagram(answers):
    # RFC 864, UDP: "a datagram containing a random number (between 0 and 512) of characters", whatever was asked.
    assert 0 <= int(answers["CharGenUDPClient"]) <= 512


def test_by_default_an_empty_datagram_generates_nothing(daemon):
    tool("javac")
    # No answer of chargen is larger than its question unless `rfc864` says so: CERT CA-1996-01.
    assert heard({"CharGenUDPClient": "chargen"}, daemon) == {"CharGenUDPClient": "silent"}


@pytest.mark.parametrize("client", ["DaytimeTCPClient", "DaytimeUDPClient"])
def test_daytime_clients_get_the_line(answers, client):
    then = time.mktime(time.strptime(answers[client], "%A, %B %d, %Y %H:%M:%S-UTC"))
    assert abs(then - time.mktime(time.gmtime())) <= 30  # all ten clients were asked before


@pytest.mark.parametrize("client", ["TimeTCPClient", "TimeUDPClient"])
def test_time_clients_get_the_time(answers, client):
    assert abs(int(answers[client]) - TO_1970 - time.time()) <= 30

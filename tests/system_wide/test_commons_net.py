"""Apache commons-net's clients of the small services, all run by SmallServices.java at once."""

import time
from calendar import timegm
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.daemon import SECONDS
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
SILENT = ("CharGenUDPClient", "chargen")


class Run(NamedTuple):
    """The output line of each client for each service, and the whole seconds between which they ran."""

    lines: dict[tuple[str, str], str]
    begin: int
    end: int


@pytest.fixture(scope="module")
def run(daemon):
    tool("javac")  # the part of a JDK that runs a source file
    words = []
    for client, service in ASKED:
        port = daemon.place(service, client[-9:-6].lower())[1]
        seconds = 2 if (client, service) == SILENT else SECONDS
        words.append(f"{client}:{port}:{seconds * 1000:.0f}")
    source = Path(__file__).with_name("SmallServices.java")
    begin = int(time.time())
    page = said(tool("java"), "--class-path", file(JAR), source, *words, seconds=3 * SECONDS)
    return Run(dict(zip(ASKED, page.splitlines(), strict=True)), begin, int(time.time()))


@pytest.fixture
def answers(run):
    return run.lines


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
    assert answers[SILENT] == "silent"


@pytest.mark.parametrize("client", ["DaytimeTCPClient", "DaytimeUDPClient"])
def test_daytime_clients_get_the_line(run, client):
    then = timegm(time.strptime(run.lines[client, "daytime"], "%A, %B %d, %Y %H:%M:%S-UTC"))
    assert run.begin <= then <= run.end


@pytest.mark.parametrize("client", ["TimeTCPClient", "TimeUDPClient"])
def test_time_clients_get_the_time(run, client):
    assert run.begin <= int(run.lines[client, "time"]) - TO_1970 <= run.end

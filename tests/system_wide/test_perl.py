"""Perl's own clients: Net::Ping uses echo, Net::Time uses time and daytime."""

import calendar
import time

import pytest

from tests.daemon import SECONDS
from tests.system_wide.others import ended, is_since, said, tool

pytestmark = pytest.mark.needs_tools

PING = """
my ($transport, $port, $size, $seconds) = @ARGV;
my $ping = Net::Ping->new($transport, $seconds, $size);
$ping->port_number($port);
$ping->source_verify(1);
my ($answered) = $ping->ping("127.0.0.1");
print $answered ? "answered" : "silent";
"""


@pytest.fixture(scope="module")
def perl():
    path = tool("perl")
    if ended(path, "-MNet::Ping", "-MNet::Time", "-e", "1").returncode:
        pytest.skip("this perl has no Net::Ping and Net::Time; tests/system_wide/prepare installs them")
    return path


# Net::Ping's udp sends so many bytes and compares the reply; its maximum is 1,024.
@pytest.mark.parametrize("size", [1, 512, 1024])
def test_net_ping_udp_gets_its_bytes_back(perl, daemon, size):
    port = daemon.place("echo", "udp")[1]
    assert said(perl, "-MNet::Ping", "-e", PING, "udp", str(port), str(size), str(SECONDS)) == "answered"


def test_net_ping_udp_gets_no_reply_from_discard(perl, daemon):
    port = daemon.place("discard", "udp")[1]
    assert said(perl, "-MNet::Ping", "-e", PING, "udp", str(port), "56", "1") == "silent"


def test_net_ping_tcp_connects(perl, daemon):
    port = daemon.place("echo", "tcp")[1]
    assert said(perl, "-MNet::Ping", "-e", PING, "tcp", str(port), "0", str(SECONDS)) == "answered"


# Its tcp_echo is the connect followed by its `stream` protocol: a line, and the same line back.
def test_net_ping_stream_gets_its_line_back(perl, daemon):
    stream = """
    my $ping = Net::Ping->new("stream", $ARGV[1]);
    $ping->port_number($ARGV[0]);
    $ping->open("127.0.0.1") or die;
    print join ",", map { $ping->ping("127.0.0.1") ? "answered" : "silent" } 1 .. 3;
    """
    port = daemon.place("echo", "tcp")[1]
    assert said(perl, "-MNet::Ping", "-e", stream, str(port), str(SECONDS)) == "answered,answered,answered"


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_net_time_reads_the_time(perl, daemon, transport):
    port = daemon.place("time", transport)[1]
    asking = f'print Net::Time::inet_time("127.0.0.1:$ARGV[1]", $ARGV[0], {SECONDS})'
    began = time.time()
    assert is_since(int(said(perl, "-MNet::Time", "-e", asking, transport, str(port))), began)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_net_time_reads_the_line_of_daytime(perl, daemon, transport):
    port = daemon.place("daytime", transport)[1]
    asking = f'print Net::Time::inet_daytime("127.0.0.1:$ARGV[1]", $ARGV[0], {SECONDS})'
    began = time.time()
    line = said(perl, "-MNet::Time", "-e", asking, transport, str(port))
    assert is_since(calendar.timegm(time.strptime(line, "%A, %B %d, %Y %H:%M:%S-UTC\r\n")), began)

"""rdate(8), which sets clocks by RFC 868."""

import calendar
import time

import pytest

from tests.system_wide.others import is_since, said, tool

pytestmark = pytest.mark.needs_tools


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_rdate_prints_the_time(daemon, transport):
    words = [tool("rdate"), "-p", "-4", "-o", str(daemon.place("time", transport)[1])]
    began = time.time()
    line = said(*words, *(["-u"] if transport == "udp" else []), "127.0.0.1")
    assert is_since(calendar.timegm(time.strptime(line, "%a %b %d %H:%M:%S UTC %Y\n")), began)

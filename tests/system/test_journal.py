"""The daemon's own lines under a service manager that reads them."""

import sys
from pathlib import Path

import pytest

from tests.daemon import ECHOD, Daemon

JOURNAL = Path("/run/systemd/journal/socket")
UNDER_A_UNIT = """
import os, sys
there = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{there.st_dev}:{there.st_ino}"
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.skipif(JOURNAL.exists(), reason="there is a journal on this machine, and it would take the lines")
@pytest.mark.parametrize("form", ["auto", "journal"])
def test_without_a_journal_each_line_has_its_priority(form):
    config = f'[daemon]\nlog-format = "{form}"\n[services.echo]\nlisten = ["tcp://*:0"]\n'
    daemon = Daemon(config, command=[sys.executable, "-S", "-c", UNDER_A_UNIT, *ECHOD])
    daemon.launch()
    daemon.stderr.wait_for("^<4>echo  tcp://.* is open to the network")
    daemon.stderr.wait_for("^<6>ready: 1 listener$")
    daemon.process.terminate()
    assert daemon.wait() == 0
    assert all(line.startswith("<") for line in daemon.stderr.text)
    daemon.close()

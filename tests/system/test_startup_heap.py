"""The objects of the start, which are exempt from garbage collection once the daemon is ready."""

import sys

import pytest

from tests.daemon import Daemon, run

REPORTS = """
import gc, os, runpy, threading, time

def report():
    while not gc.get_freeze_count() or not gc.isenabled():
        time.sleep(0.01)
    os.write(2, b"frozen %d left %d\\n" % (gc.get_freeze_count(), len(gc.get_objects())))

threading.Thread(target=report, daemon=True).start()
runpy.run_module("echod", run_name="__main__", alter_sys=True)
"""


def test_a_full_collection_does_not_visit_the_objects_of_the_start():
    """There are tens of thousands of them; a full collection would stop all clients for that long."""
    config = '[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\n'
    with Daemon(config, command=[sys.executable, "-c", REPORTS]) as daemon:
        found = daemon.stderr.wait_for(r"^frozen (\d+) left (\d+)$")
        frozen, left = map(int, found.groups())
        assert frozen > 20_000
        assert left < frozen / 2


ENDS = """
import gc, os, sys

freeze = gc.freeze
gc.freeze = lambda: (freeze(), os.write(2, b"frozen\\n"))
from MODULE import main
try:
    main()
finally:
    os.write(2, b"collecting %d\\n" % gc.isenabled())
"""


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("echod.__main__", ["--help"]),
        ("echod.__main__", ["--check-config", "--listen", "echo=tcp://127.0.0.1:0"]),
        ("echod.client.main", ["services"]),
        ("echod.client.main", ["ping", "-c", "1", "-W", "0.1", "udp://127.0.0.1:9"]),
    ],
    ids=["echod --help", "echod --check-config", "echoctl services", "echoctl ping"],
)
def test_a_short_run_freezes_its_modules_and_enables_collections_again(module, words):
    ended = run(sys.executable, "-c", ENDS.replace("MODULE", module), *words)
    assert ended.stderr.count(b"frozen") == 1, ended.stderr
    assert b"collecting 1" in ended.stderr

"""The objects of the start, which are exempt from garbage collection once the daemon is ready."""

import sys

from tests.daemon import Daemon

REPORTS = """
import gc, os, runpy, threading, time

def report():
    while not gc.get_freeze_count():
        time.sleep(0.01)
    os.write(2, b"frozen %d left %d\\n" % (gc.get_freeze_count(), len(gc.get_objects())))

threading.Thread(target=report, daemon=True).start()
runpy.run_module("echod", run_name="__main__", alter_sys=True)
"""


def test_a_full_collection_does_not_visit_the_objects_of_the_start():
    """There are tens of thousands of them; a full collection would stop all clients for that long."""
    config = '[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\n'
    with Daemon(config, command=[sys.executable, "-c", REPORTS]) as daemon:
        found = daemon.stderr.wait_for(r"^frozen (\d+) left (\d+)$", 20)
        frozen, left = map(int, found.groups())
        assert frozen > 20_000
        assert left < frozen / 2

"""`echod --until-eof`: the daemon stops when its standard input ends, also if its parent was killed."""

import signal
import socket
import subprocess
import sys

from tests.daemon import ECHOD, SECONDS, TWISTD, Daemon, environment, run
from tests.fork_server import Popen

PARENT = """
import subprocess, sys, time
echod = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
time.sleep(600)
"""


def started(*words, **more):
    """A daemon whose standard input is a pipe, when it is ready."""
    process = Popen(
        [*ECHOD, "--listen", "echo=tcp://127.0.0.1:0", "--until-eof", "--announce", "json", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        **more,
    )
    assert process.stdout.readline().startswith(b'{"version"')
    return process


def test_it_discards_input_and_stops_at_its_end():
    process = started()
    process.stdin.write(b"x" * 100_000)
    process.stdin.flush()
    assert process.poll() is None
    _, said = process.communicate(timeout=SECONDS)  # closes standard input
    assert process.returncode == 0
    assert b" info  standard input has ended: stopping\n" in said
    assert b" info  stopped " in said


def test_it_stops_when_its_parent_was_killed():
    words = [sys.executable, "-c", PARENT, *ECHOD, "--listen", "echo=tcp://127.0.0.1:0", "--until-eof"]
    parent = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    while b"ready: " not in parent.stderr.readline():
        assert parent.poll() is None
    parent.kill()
    parent.wait(SECONDS)
    said = parent.stderr.read()  # up to the end of the daemon, which has the other end of the pipe
    assert b"standard input has ended: stopping" in said
    assert b" info  stopped " in said
    parent.stdout.close()
    parent.stderr.close()


def test_a_socket_may_be_standard_input():
    ours, theirs = socket.socketpair()
    with ours, Daemon(listen=["echo=tcp://127.0.0.1:0"], options=["--until-eof"], stdin=theirs.fileno()) as daemon:
        theirs.close()
        ours.shutdown(socket.SHUT_WR)
        assert daemon.wait() == 0


def test_other_files_are_a_usage_error():
    ended = run(*ECHOD, "--until-eof")  # with /dev/null
    assert (ended.returncode, ended.stdout) == (64, b"")
    assert ended.stderr.startswith(b"echod: --until-eof: standard input is not a pipe, a socket or a terminal; ")
    ended = run(*ECHOD, "--until-eof", "--console", "--listen", "console=tcp://127.0.0.1:0", input=b"")
    assert (ended.returncode, ended.stderr.partition(b": both")[0]) == (
        64,
        b"echod: --until-eof and --console cannot be used together",
    )
    ended = run(*TWISTD, "--pidfile=", "echod", "--until-eof", input=b"")
    assert ended.returncode == 64
    assert b"a daemon in the background has no standard input" in ended.stderr


def test_a_signal_stops_it_before():
    process = started()
    process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS) == 0
    process.communicate()

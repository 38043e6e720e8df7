"""No free descriptors, and an accept that fails: tests 15, 16 and 17 of docs/PROMISES.md."""

import sys
from contextlib import ExitStack

import pytest

from tests.chaos.connect_burst import Crowd, Fate, served
from tests.chaos.faults import ACCEPT_ERRORS, THIEF, Injected, connections, descriptors, leave_descriptors
from tests.daemon import ECHOD, SECONDS, Daemon, eventually, run
from tests.gate.configurations import configuration, counted, refused, settled, stream

LEFT, CLIENTS = 20, 200
DEV_NULL = "/dev/null"
DATAGRAMS = 'datagrams]\nkind = "echo"\nlisten = ["udp://127.0.0.1:0"]'


def starve(daemon: Daemon) -> None:
    """More clients than descriptors: as many as possible are served, the others are reset, then service is normal."""
    place, lines = daemon.inet("stream", "tcp"), len(daemon.stderr.raw)
    before = len(descriptors(daemon.process.pid))
    leave_descriptors(daemon.process.pid, LEFT)
    with Crowd(place, CLIENTS) as crowd:
        assert crowd.wait(SECONDS) == {Fate.SERVED: LEFT, Fate.RESET: CLIENTS - LEFT}
        with Crowd(place, 10) as later:
            assert later.wait(SECONDS) == {Fate.RESET: 10}
        settled(daemon, daemon.inet("datagrams", "udp"))  # datagrams need no descriptor
        here = connections(daemon.process.pid, place)
        crowd.close(crowd.those(Fate.SERVED)[:5])
        assert eventually(lambda: connections(daemon.process.pid, place) == here - 5)
        with Crowd(place, 5) as again:
            assert again.wait(SECONDS) == {Fate.SERVED: 5}
    assert eventually(lambda: len(descriptors(daemon.process.pid)) <= before)
    assert served(place)
    assert len(daemon.stderr.raw) - lines <= 4, "more than a line at the beginning and one at the end"


def test_clients_without_a_free_descriptor_are_refused(way):
    plane, kind = way
    with Daemon(configuration(plane, stream(kind), DATAGRAMS)) as daemon:
        place = daemon.inet("stream", "tcp")
        assert served(place)
        assert eventually(lambda: not connections(daemon.process.pid, place))
        starve(daemon)
        figures = counted(daemon, "stream", "tcp")
        assert figures["accepted"] == 1 + LEFT + 5 + 1
        assert refused(figures) == {"accept": CLIENTS - LEFT + 10}
        assert "open" not in figures


def test_a_reserve_descriptor_that_is_closed_is_replaced(way):
    """If the reserve descriptor is closed from outside, the daemon opens another when it accepts clients.

    The number of the closed descriptor may be in use again: closing it would close a client's connection.
    """
    plane, kind = way
    with Daemon(configuration(plane, stream(kind), DATAGRAMS), command=THIEF) as daemon:
        place, pid = daemon.inet("stream", "tcp"), daemon.process.pid
        assert served(place)
        assert eventually(lambda: not connections(pid, place))
        before = descriptors(pid).count(DEV_NULL)
        (daemon.dir / "steal").touch()
        assert eventually((daemon.dir / "stolen").exists)
        assert descriptors(pid).count(DEV_NULL) == before - 1
        assert eventually(lambda: served(place) and descriptors(pid).count(DEV_NULL) == before)
        with Crowd(place, 3) as crowd:
            assert crowd.wait(SECONDS) == {Fate.SERVED: 3}
            starve(daemon)
        figures = counted(daemon, "stream", "tcp")
        assert refused(figures) == {"accept": CLIENTS - LEFT + 10}
        assert "open" not in figures


@pytest.mark.slow
def test_a_limit_that_is_crossed_again_and_again(plane):
    """A client that repeatedly takes all descriptors and leaves fills no log."""
    with Daemon(configuration(plane, stream("echo"))) as daemon, ExitStack() as stack:
        place, pid = daemon.inet("stream", "tcp"), daemon.process.pid
        assert served(place)
        assert eventually(lambda: not connections(pid, place))
        leave_descriptors(pid, 2)
        lines = len(daemon.stderr.raw)
        held: list[Crowd] = []
        for _ in range(12):
            held.append(stack.enter_context(Crowd(place, 1)))
            assert held[-1].wait(SECONDS) == {Fate.SERVED: 1}
            if len(held) == 2:
                with Crowd(place, 1) as one_too_many:
                    assert one_too_many.wait(SECONDS) == {Fate.RESET: 1}
                held.pop(0).close()
                assert eventually(lambda: connections(pid, place) == 1)
        assert len(daemon.stderr.raw) - lines <= 4
        daemon.check()


BROADCASTS = """
import resource, socket
from echod.transports.broadcast_addresses import broadcasts
known = broadcasts()
held = socket.socket()
resource.setrlimit(resource.RLIMIT_NOFILE, (held.fileno() + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
try:
    found = broadcasts()
except OSError as error:
    raise SystemExit(f"raised: {error}")
raise SystemExit(0 if found in (known, None) else f"forgot: {known} {found}")
"""


def test_the_list_of_broadcast_addresses_survives_a_lack_of_descriptors():
    """It runs once a minute. Without descriptors it must neither fail nor forget the addresses."""
    ended = run(sys.executable, "-c", BROADCASTS)
    assert ended.returncode == 0, ended.stderr.decode()


# Errors of accept

WINDOW = 1.0  #: seconds
MOST = 20  #: calls in WINDOW


@pytest.mark.needs_tools
@pytest.mark.parametrize("error", ACCEPT_ERRORS)
def test_an_accept_that_fails(plane, error):
    """A client waits, and accept fails for WINDOW: a bounded number of calls, two lines, and then service is normal."""
    # A signal interrupts a call now and then. Python's own accept expects that, and repeats the call without end.
    when = f"1..{MOST - 1}" if error == "EINTR" else "1+"
    with Daemon(configuration(plane, stream("echo"))) as daemon:
        place = daemon.inet("stream", "tcp")
        assert served(place)
        lines = len(daemon.stderr.raw)
        with Injected(daemon.process.pid, error, when=when) as injected, Crowd(place, 1) as crowd:
            assert eventually(lambda: injected.so_far() > 0)
            crowd.wait(WINDOW)
        assert injected.injected
        assert injected.calls <= MOST + 2
        assert served(place)
        assert len(daemon.stderr.raw) - lines <= 2
        daemon.check()


# Limits that do not fit


def limited(most: int) -> tuple[str, ...]:
    """A command that runs echod with a hard limit of so many descriptors."""
    return ("sh", "-c", f'ulimit -n {most} && exec "$@"', "sh", *ECHOD)


def test_defaults_are_reduced_to_the_limit():
    """A descriptor per connection, and 64 for the daemon: one line reports it; refusals have the limit's reason."""
    with Daemon(configuration("auto", stream("echo")), command=limited(164)) as daemon:
        assert [line for line in daemon.stderr.text if " warn " in line and "reduced to 100," in line]
        with Crowd(daemon.inet("stream", "tcp"), CLIENTS) as crowd:
            assert crowd.wait(SECONDS) == {Fate.SERVED: 100, Fate.RESET: 100}
        assert refused(counted(daemon, "stream", "tcp")) == {"connections": 100}


def test_a_configured_number_above_the_limit_is_an_error(tmp_path):
    file = tmp_path / "echod.toml"
    file.write_text(configuration("auto", stream("echo", "connections = 101")))
    ended = run(*limited(164), "--config", str(file))
    assert ended.returncode == 78
    (line,) = ended.stderr.decode().splitlines()
    assert "services.stream.limits.connections: 101" in line
    assert "100" in line


@pytest.mark.slow
def test_sixty_four_descriptors_are_enough_for_one_connection():
    """A process has at least 64 descriptors; that is enough for one connection."""
    with Daemon(configuration("auto", stream("echo"), DATAGRAMS), command=limited(64)) as daemon:
        place = daemon.inet("stream", "tcp")
        for _ in range(3):
            assert served(place)
            assert eventually(lambda: not connections(daemon.process.pid, place))
        settled(daemon, daemon.inet("datagrams", "udp"))
        daemon.check()

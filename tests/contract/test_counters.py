"""The daemon's counters are exact: every byte, every datagram, every close and every refusal."""

import select
import socket
import struct
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.faults import connections
from tests.contract.matrix import MIB, answer, data, exactly, fill, rest
from tests.daemon import SECONDS, Daemon, eventually

CONFIG = """
[daemon]
plane = "PLANE"
drain = "600s"
[services.echo]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unix://{dir}/echo.sock"]
[services.upper]
listen = ["tcp://127.0.0.1:0"]
[services.discard]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
[services.ack]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
show = "no"
[services.denied]
kind = "echo"
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
allow = ["192.0.2.0/24"]
[services.few]
kind = "echo"
listen = ["tcp://127.0.0.1:0"]
limits = { connections = 2 }
[services.one-each]
kind = "echo"
listen = ["tcp://127.0.0.1:0"]
limits = { per-client = 1 }
[services.slow]
kind = "echo"
listen = ["udp://127.0.0.1:0"]
limits = { rate = "0.001/5" }
[services.idle]
kind = "echo"
listen = ["tcp://127.0.0.1:0"]
limits = { idle = "1s" }
[services.stall]
kind = "echo"
listen = ["tcp://127.0.0.1:0"]
limits = { stall = "1s" }
"""


class Story:
    """The clients of one daemon, and its expected counters at the end."""

    def __init__(self, daemon: Daemon, at_the_end: Callable[[Callable[[], None]], None]) -> None:
        self.daemon = daemon
        self.at_the_end = at_the_end

    def connect(self, service: str, scheme: str = "tcp", host: str = "127.0.0.1", port: int = 0) -> socket.socket:
        place = self.daemon.place(service, scheme)
        family = socket.AF_UNIX if scheme == "unix" else socket.AF_INET
        while True:
            client = socket.socket(family, socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM)
            self.at_the_end(client.close)
            client.settimeout(SECONDS)
            if family == socket.AF_INET:
                client.bind((host, port))
            if scheme == "udp" and not port and client.getsockname()[1] in self.daemon.ports:
                continue  # the loop guard would treat the client as the daemon itself
            client.connect(place)
            return client

    def begin(self) -> None:
        """Connections that wait for a limit, while everything else happens."""
        self.idle = self.connect("idle")
        self.stalled = self.connect("stall")
        fill(self.stalled, self.daemon.process.pid, data())

    def happen(self) -> None:
        self.converse()
        self.get_refused()
        self.send_datagrams()

    def wait(self) -> None:
        """The limits are reached."""
        assert self.idle.recv(1) == b""
        assert ended(self.stalled)

    def stop(self) -> None:
        """Connections that exist when the daemon stops: a client that is silent, and one that does not read."""
        self.silent, stuck = self.connect("upper"), self.connect("upper")
        self.silent.sendall(b"hello")
        assert exactly(self.silent, 5) == b"HELLO"
        fill(stuck, self.daemon.process.pid, data())
        self.daemon.process.terminate()

    def end(self) -> None:
        """A silent client gets a FIN, a second signal ends the stop, and everything has been counted."""
        assert self.silent.recv(1) == b""
        self.silent.close()
        place = self.daemon.inet("upper", "tcp")
        assert eventually(lambda: connections(self.daemon.process.pid, place) == 1)
        self.daemon.process.terminate()
        self.compare({key.partition(":")[0]: figures for key, figures in self.daemon.counters().items()})

    def is_refused(self, service: str) -> None:
        """A refused client gets a reset at once, some even while they connect."""
        try:
            assert self.connect(service).recv(1) == b""
        except ConnectionResetError:
            pass

    def converse(self) -> None:
        for size in (0, 1000, MIB):
            for scheme in ("tcp", "unix"):
                client = self.connect("echo", scheme)
                assert answer(client, [data()[:size]])[0] == size
                client.close()
        client = self.connect("echo")
        client.sendall(b"0123456789")
        assert exactly(client, 10) == b"0123456789"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        client = self.connect("discard")
        client.sendall(data()[:MIB])
        client.shutdown(socket.SHUT_WR)
        assert rest(client) == b""
        client = self.connect("ack")
        client.sendall(data()[:MIB])
        assert rest(client) == b"received"
        client.close()

    def get_refused(self) -> None:
        self.is_refused("denied")
        held = [self.connect("few") for _ in range(2)]
        for client in held:
            client.sendall(b"?")
            assert exactly(client, 1) == b"?"
        self.is_refused("few")
        self.is_refused("few")
        for client in held:
            client.close()
        held = [self.connect("one-each"), self.connect("one-each", host="127.0.0.2")]
        for client in held:
            client.sendall(b"?")
            assert exactly(client, 1) == b"?"
        self.is_refused("one-each")
        for client in held:
            client.close()

    def send_datagrams(self) -> None:
        client = self.connect("echo", "udp")
        for size in (0, 1, 512, 8193, 65_507):
            client.send(data()[:size])
            assert len(client.recv(65_536)) == size
        own = self.daemon.inet("echo", "udp")[1]
        self.connect("echo", "udp", "127.0.0.2", own).send(b"I look like one of you")
        self.connect("denied", "udp").send(b"let me in")
        client = self.connect("discard", "udp")
        client.send(b"")
        client.send(b"12345")
        client = self.connect("ack", "udp")
        for size in (0, 8192):
            client.send(data()[:size])
            assert client.recv(65_536) == b"received"
        client = self.connect("slow", "udp")
        for _ in range(20):
            client.send(b"hurry")
        for _ in range(5):
            assert client.recv(65_536) == b"hurry"

    def compare(self, counted: dict[str, dict[str, int]]) -> None:
        figures = counted["echo tcp"]
        assert figures == {
            "accepted": 4,
            "bytes_in": MIB + 1010,
            "bytes_out": MIB + 1010,
            "closed:done": 3,
            "closed:lost": 1,
        }
        assert counted["echo unix"] == {
            "accepted": 3,
            "bytes_in": MIB + 1000,
            "bytes_out": MIB + 1000,
            "closed:done": 3,
        }
        assert counted["discard tcp"] == {"accepted": 1, "bytes_in": MIB, "closed:done": 1}
        assert counted["ack tcp"] == {"accepted": 1, "bytes_in": MIB, "bytes_out": 8, "closed:done": 1}
        assert counted["denied tcp"] == {"refused:denied": 1}
        assert counted["few tcp"] == {
            "accepted": 2,
            "bytes_in": 2,
            "bytes_out": 2,
            "closed:done": 2,
            "refused:connections": 2,
        }
        assert counted["one-each tcp"] == {
            "accepted": 2,
            "bytes_in": 2,
            "bytes_out": 2,
            "closed:done": 2,
            "refused:per-client": 1,
        }
        assert counted["idle tcp"] == {"accepted": 1, "closed:idle": 1}
        self.compare_unfinished(counted["stall tcp"], {"accepted": 1, "closed:stall": 1})
        self.compare_unfinished(counted["upper tcp"], {"accepted": 2, "closed:done": 1, "closed:drain": 1})
        assert counted["echo udp"] == {
            "datagrams_in": 6,
            "datagrams_out": 5,
            "bytes_in": 0 + 1 + 512 + 8193 + 65_507 + 22,
            "bytes_out": 0 + 1 + 512 + 8193 + 65_507,
            "refused:source-port": 1,
        }
        assert counted["denied udp"] == {"datagrams_in": 1, "bytes_in": 9, "refused:denied": 1}
        assert counted["discard udp"] == {"datagrams_in": 2, "bytes_in": 5}
        assert counted["ack udp"] == {"datagrams_in": 2, "datagrams_out": 2, "bytes_in": 8192, "bytes_out": 16}
        assert counted["slow udp"] == {
            "datagrams_in": 20,
            "datagrams_out": 5,
            "bytes_in": 100,
            "bytes_out": 25,
            "refused:rate": 15,
        }

    def compare_unfinished(self, figures: dict[str, int], others: dict[str, int]) -> None:
        """The counters of a client that did not read everything: more bytes in than out."""
        taken, given = figures.pop("bytes_in"), figures.pop("bytes_out")
        assert given < taken < given + 4 * MIB
        assert figures == others


def ended(client: socket.socket) -> bool:
    """Whether the daemon closes a connection that the client does not read."""
    poll = select.poll()
    poll.register(client, 0)  # POLLERR and POLLHUP are always reported
    return bool(poll.poll(SECONDS * 1000))


class Counters(SynchronousTestCase):
    def test_every_counter_is_exact(self) -> None:
        """With the plane on and off: both at once, because it takes as long as the longest limit."""
        with Daemon(CONFIG.replace("PLANE", "auto")) as one, Daemon(CONFIG.replace("PLANE", "off")) as other:
            stories = [Story(one, self.addCleanup), Story(other, self.addCleanup)]
            for act in (Story.begin, Story.happen, Story.wait, Story.stop, Story.end):
                for story in stories:
                    act(story)

"""Effects of a link on its peers: a peer that vanishes, and packet loss on a slow link."""

from __future__ import annotations

import random
import select
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from tests.chaos import faults
from tests.chaos.connect_burst import served
from tests.chaos.lab import Lab, Place, Server
from tests.chaos.network import CLIENT4, SERVER4, linked
from tests.chaos.report import Figure, Scenario, Subject
from tests.daemon import SECONDS
from tests.gate.configurations import taken

ECHOD, PLAIN, STOCK, *_ = Subject
MIB = 1 << 20
SERVICE = f"""[services.echo]
listen = ["tcp://{SERVER4}:0", "udp://{SERVER4}:0"]
allow = ["{CLIENT4}"]
limits = {{ rate = "0" }}
"""


def _servers(where: Lab, stack: ExitStack) -> Iterator[Server]:
    for subject in (ECHOD, PLAIN, STOCK):
        yield stack.enter_context(where.server(subject, SERVICE, host=SERVER4))


# 22

SILENT, OWED, STUCK = "idle", "one byte pending", "more pending than its window"
PROMISED = {SILENT: 125.0, OWED: 70.0, STUCK: 70.0}
"""Seconds. A minute of silence and four keepalive probes; for the others a minute and one or two sweeps."""
WATCHED = 130.0


@dataclass
class Vanishing:
    """The clients of one server, by their state when they vanished, and when the server closed each."""

    server: Server
    clients: Mapping[str, socket.socket]
    before: int
    gone: dict[str, float] = field(default_factory=dict)

    def look(self, seconds: float) -> None:
        """Record the clients whose connections are closed by now."""
        held = faults.peers(self.server.pid, self.server.tcp["echo"])
        for how, client in self.clients.items():
            if how not in self.gone and client.getsockname() not in held:
                self.gone[how] = seconds

    def figure(self) -> Figure:
        """The figure."""
        left = self.server.descriptors() - self.before
        after = {
            how: f"after {self.gone[how]:.0f} s" if how in self.gone else f"not in {WATCHED:g} s" for how in PROMISED
        }
        text = ", ".join(f"{how}: {when}" for how, when in after.items()) + f"; {left:+} descriptors"
        kept = left <= 0 and all(self.gone.get(how, WATCHED) <= most for how, most in PROMISED.items())
        values = {"gone": self.gone, "descriptors": left}
        return Figure(self.server.subject, text, kept if self.server.ours else None, values)


def vanished(where: Lab) -> Iterator[Figure]:
    """All servers at once, because the attack only waits."""
    with linked(where.network) as client_side, ExitStack() as stack:
        all_of_them = []
        for server in _servers(where, stack):
            with client_side.inside():
                if not served(server.tcp["echo"]):
                    raise AssertionError(f"{server.subject} serves no client")
                before = server.descriptors()
                clients = {how: stack.enter_context(_connected(server.tcp["echo"])) for how in PROMISED}
            taken(clients[STUCK], bytes(64 * MIB))
            all_of_them.append(Vanishing(server, clients, before))
        client_side.loses(100)
        for vanishing in all_of_them:
            vanishing.clients[OWED].send(b"?")
        time.sleep(0.2)
        client_side.falls_silent()
        began = time.monotonic()
        while (seconds := time.monotonic() - began) < WATCHED:
            for vanishing in all_of_them:
                vanishing.look(seconds)
            if all(len(vanishing.gone) == len(PROMISED) for vanishing in all_of_them):
                break
            time.sleep(0.5)
        yield from [vanishing.figure() for vanishing in all_of_them]


def _connected(place: Place) -> socket.socket:
    client = socket.create_connection(place, SECONDS)
    client.sendall(b"!")
    client.recv(1)
    return client


# 23

LOSS, RATE = 5, "8mbit"
STREAMS, LENGTH = 16, MIB // 2
DATAGRAMS = 1_000
LAST = b"the last one"
PATIENCE = 90.0  #: seconds for all streams of one server; at the full rate they take 8


def lossy(where: Lab) -> Iterator[Figure]:
    with linked(where.network) as client_side, ExitStack() as stack:
        for side in (where.network, client_side):
            side.loses(LOSS)
            side.slows(RATE)
        for server in _servers(where, stack):
            began = time.monotonic()
            streams = [Stream(number) for number in range(STREAMS)]
            with client_side.inside():
                for stream in streams:
                    stream.begin(server.tcp["echo"])
            for stream in streams:
                stream.join(max(0.1, PATIENCE - (time.monotonic() - began)))
            seconds = time.monotonic() - began
            whole = sum(stream.came == stream.sent for stream in streams)
            with client_side.inside():
                answered, wrong = datagrams_there_and_back(server.udp["echo"], DATAGRAMS)
            text = f"{whole} of {STREAMS} streams complete in {seconds:.0f} s; "
            text += f"{answered:,} of {DATAGRAMS:,} datagrams came back, {wrong} of them wrong"
            kept = whole == STREAMS and not wrong and answered > 0 if server.ours else None
            values = {"whole": whole, "seconds": round(seconds, 1), "datagrams": answered, "wrong": wrong}
            yield Figure(server.subject, text, kept, values)


class Stream(threading.Thread):
    """Sends LENGTH bytes and receives as many."""

    def __init__(self, seed: int) -> None:
        super().__init__(daemon=True)
        self.sent = random.Random(seed).randbytes(LENGTH)
        self.came = bytearray()

    def begin(self, place: Place) -> None:
        """Start in the network that the caller is in."""
        self._client = socket.create_connection(place, PATIENCE)
        self._sending = threading.Thread(target=self._send, daemon=True)
        self._sending.start()
        self.start()

    def _send(self) -> None:
        try:
            self._client.sendall(self.sent)
        except OSError:
            pass

    def run(self) -> None:
        with self._client:
            try:
                while len(self.came) < LENGTH and (piece := self._client.recv(65_536)):
                    self.came += piece
            except OSError:
                pass
            self._sending.join()


def datagrams_there_and_back(place: Place, count: int) -> tuple[int, int]:
    """How many of so many datagrams came back, and how many of those were changed or duplicates."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(place)
        expected = {b"%d " % number * 50 for number in range(count)}
        came: list[bytes] = []
        for question in list(expected):
            client.send(question)
            if select.select([client], [], [], 0.002)[0]:
                came.append(client.recv(2_000))
        ends = time.monotonic() + SECONDS
        while LAST not in came:  # its reply is after those of all earlier ones, and may be lost as well
            assert time.monotonic() < ends, "the datagram echo does not reply any more"
            client.send(LAST)
            while LAST not in came and select.select([client], [], [], 0.5)[0]:
                came.append(client.recv(2_000))
    came.remove(LAST)
    right = len(expected & set(came))
    return len(came), len(came) - right


SCENARIOS = (
    Scenario(
        22,
        "a peer that vanishes",
        "disconnected within 125 s if idle, within 70 s if data is pending; no descriptor is left",
        vanished,
    ),
    Scenario(
        23,
        f"{LOSS} % packet loss in both directions, at 1 MiB a second",
        f"{STREAMS} streams of 512 KiB complete, and no wrong datagram",
        lossy,
    ),
)

"""Two services that reply to each other without end: tests 2 and 3 of docs/PROMISES.md."""

import select
import socket
import threading
from functools import partial

import pytest

from tests.chaos.spoofed_packets import Spoofer
from tests.daemon import SECONDS, Daemon, eventually, is_waiting
from tests.gate.configurations import asked, asking, configuration, counted, is_answered, refused, settled

ANSWERING = ("echo", "upper", "ack", "chargen", "daytime", "qotd", "time", "whoami", "reflector", "udpechoplus")


IN_FLIGHT = 64  # datagrams: with one, a busy machine may return fewer in a second than the gate detects


class Naive(threading.Thread):
    """A foreign echo service: it returns every datagram to its source address, which may be spoofed."""

    def __init__(self, client: socket.socket, begin_at: tuple[str, int]) -> None:
        super().__init__(daemon=True)
        self.heard = 0
        self._socket = client
        self._over = threading.Event()
        for _ in range(IN_FLIGHT):
            client.sendto(b"and so on", begin_at)
        self.start()

    def run(self) -> None:
        while not self._over.is_set():
            # a short time limit of the socket would end a send, too
            if not select.select([self._socket], [], [], 0.1)[0]:
                continue
            datagram, sender = self._socket.recvfrom(65_536)
            self.heard += 1
            self._socket.sendto(datagram, sender)

    def is_silent(self, daemon: Daemon) -> bool:
        """Whether nothing has arrived for half a second, and both sides wait: neither is only late."""
        before = self.heard
        arrives = eventually(lambda: self.heard > before, seconds=0.5)
        waits = is_waiting(daemon.process.pid) and not select.select([self._socket], [], [], 0)[0]
        return waits and not arrives and self.heard == before

    def end(self) -> None:
        self._over.set()
        self.join(SECONDS)


def serving(plane: str, rate: str) -> str:
    services = [f'{kind}]\nlisten = ["udp://127.0.0.1:0"]\n' for kind in ANSWERING]
    return configuration(plane, *services, defaults=f'limits = {{ rate = "{rate}" }}')


@pytest.mark.needs_root
@pytest.mark.parametrize("rate", ["auto", "0"])
def test_two_services_of_echod_do_not_reply_to_each_other(lo, plane, rate):
    with Daemon(serving(plane, rate)) as daemon, Spoofer() as spoofer:
        places = {kind: daemon.inet(kind, "udp") for kind in ANSWERING}
        for asked_place in places.values():
            for source in (*places.values(), ("127.0.0.9", asked_place[1])):
                spoofer.send(source, asked_place, bytes(1000))
        settled(daemon, places["echo"])
        forged = len(ANSWERING) * (len(ANSWERING) + 1)
        # The kernel counts the datagrams that are read: by the daemon, and by the client of the test.
        assert eventually(lambda: lo.figure("Udp", "InDatagrams") >= forged + 2)
        settled(daemon, places["echo"])
        assert lo.figure("Udp", "InDatagrams") == forged + 4, "a service still replies"
        for kind in ANSWERING:
            figures = counted(daemon, kind, "udp")
            assert refused(figures) == {"source-port": len(ANSWERING) + 1}, kind
            assert figures.get("datagrams_out", 0) == (2 if kind == "echo" else 0), kind


@pytest.mark.parametrize(("plane", "kind"), [("auto", "echo"), ("auto", "ack"), ("off", "echo")])
def test_a_loop_with_a_foreign_echo_dies_out(plane, kind):
    with Daemon(serving(plane, "0.001/400")) as daemon, asking(daemon) as muted, asking(daemon) as other:
        place = daemon.inet(kind, "udp")
        naive = Naive(muted, place)
        try:
            assert eventually(partial(naive.is_silent, daemon))
        finally:
            naive.end()
        assert 0 < naive.heard <= 400
        for number in range(5):
            muted.sendto(b"received %d" % number, place)
        assert asked(other, place, b"received?")
        assert not is_answered(muted, place, b"received", other), "its source gets no reply for a minute, and others do"
        figures = counted(daemon, kind, "udp")
        assert refused(figures) == {"repeat": IN_FLIGHT + 6}
        assert figures["datagrams_in"] == naive.heard + 2 + IN_FLIGHT + 6
        assert figures["datagrams_out"] == naive.heard + 2

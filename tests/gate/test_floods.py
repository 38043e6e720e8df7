"""A flood of datagrams leaves streams their turn, and the other way round: test 7 of docs/PROMISES.md."""

import socket
import threading

import pytest

from tests.contract.room import exactly
from tests.daemon import SECONDS, Daemon
from tests.gate.room import asked, asking, configuration, settled

KINDS = ("echo", "discard", "upper", "chargen", "time")
ROUNDS = 100


@pytest.mark.parametrize("size", [0, 1])
def test_a_stream_is_served_during_a_flood(plane, size):
    services = [f'{kind}]\nlisten = ["udp://127.0.0.1:0"]' for kind in KINDS]
    services.append('stream]\nkind = "echo"\nlisten = ["tcp://127.0.0.1:0"]')
    with Daemon(configuration(plane, *services)) as daemon:
        places = [daemon.inet(kind, "udp") for kind in KINDS]
        over = threading.Event()
        sent = 0

        def flood() -> None:
            nonlocal sent
            with asking(daemon) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # answers are nobody's here
                while not over.is_set():
                    for place in places:
                        for _ in range(64):
                            client.sendto(bytes(size), place)
                        sent += 64

        flooding = threading.Thread(target=flood, daemon=True)
        with socket.create_connection(daemon.inet("stream", "tcp"), SECONDS) as stream:
            flooding.start()
            for number in range(ROUNDS):
                question = b"%04d" % number
                stream.sendall(question)
                assert exactly(stream, 4) == question
            over.set()
        flooding.join(SECONDS)
        assert sent
        settled(daemon, places[0])
        figures = daemon.counters()
        came = sum(figures[f"{kind} {daemon.url(kind, 'udp')}"].get("datagrams_in", 0) for kind in KINDS)
        dropped = sum(figures[f"{kind} {daemon.url(kind, 'udp')}"].get("refused:kernel", 0) for kind in KINDS)
        assert came + dropped <= sent + 20
        assert came


def test_a_datagram_is_answered_while_a_stream_is_busy(plane):
    services = ('echo]\nlisten = ["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]',)
    with Daemon(configuration(plane, *services)) as daemon:
        over = threading.Event()

        def talk() -> None:
            with socket.create_connection(daemon.inet("echo", "tcp"), SECONDS) as stream:
                while not over.is_set():
                    stream.sendall(bytes(65_536))
                    exactly(stream, 65_536)

        talking = [threading.Thread(target=talk, daemon=True) for _ in range(2)]
        for thread in talking:
            thread.start()
        try:
            with asking(daemon) as client:
                for number in range(ROUNDS):
                    assert asked(client, daemon.inet("echo", "udp"), b"%d" % number) is not None
        finally:
            over.set()
            for thread in talking:
                thread.join(SECONDS)
        daemon.check()

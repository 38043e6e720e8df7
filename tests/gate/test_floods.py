"""A flood of datagrams does not stop streams, and the reverse: test 7 of docs/PROMISES.md."""

import socket
import threading

from tests.contract.matrix import exactly
from tests.daemon import SECONDS, Daemon, eventually
from tests.gate.configurations import asking, configuration, refused, settled

KINDS = ("echo", "discard", "upper", "chargen", "time")
ROUNDS = 20


def test_every_client_is_served_during_a_flood(plane):
    services = [f'{kind}]\nlisten = ["udp://127.0.0.1:0"]' for kind in KINDS]
    services.append('stream]\nkind = "echo"\nlisten = ["tcp://127.0.0.1:0"]')
    with Daemon(configuration(plane, *services)) as daemon:
        places = [daemon.inet(kind, "udp") for kind in KINDS]
        over = threading.Event()
        sent = 0

        def flood() -> None:
            nonlocal sent
            with asking(daemon) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # replies are not read
                while not over.is_set():
                    for place in places:
                        for _ in range(32):
                            client.sendto(b"", place)
                            client.sendto(b"1", place)
                        sent += 64

        flooding = threading.Thread(target=flood, daemon=True)
        with socket.create_connection(daemon.inet("stream", "tcp"), SECONDS) as stream:
            flooding.start()
            assert eventually(lambda: sent > 0)
            try:
                for number in range(ROUNDS):
                    question = b"%04d" % number
                    stream.sendall(question)
                    assert exactly(stream, 4) == question
            finally:
                over.set()
                flooding.join(SECONDS)
        asked = 1 + settled(daemon, places[0])
        daemon.check()
        figures = [count for key, count in daemon.counters().items() if " udp://" in key]
        seen = sum(count.get("datagrams_in", 0) + refused(count).get("kernel", 0) for count in figures)
        assert asked < seen <= sent + asked

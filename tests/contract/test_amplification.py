"""No amplification: outside of `larger-answers-to` a reply is never larger than the request, and never a second one."""

import socket

from twisted.trial.unittest import SynchronousTestCase

from echod.services.registry import kinds
from tests.contract.matrix import PLANES, data
from tests.daemon import SECONDS, Daemon

SIZES = (0, 1, 3, 4, 25, 26, 64, 512, 1472, 65_507)


QUESTIONS = {"sockperf": bytes(9) + b"\3" + (64).to_bytes(4, "big") + data()[:50]}


class Amplification(SynchronousTestCase):
    def test_no_reply_is_larger_than_its_request(self) -> None:
        names = [name for name, kind in kinds(plugins=()).items() if kind.datagrams and not kind.conversational]
        services = [f'[services.{name}]\nlisten = ["udp://127.0.0.1:0"]' for name in names]
        for plane in PLANES:
            config = "\n".join([f'[daemon]\nplane = "{plane}"\n[defaults]\nlarger-answers-to = []', *services])
            with Daemon(config) as daemon:
                for name in names:
                    self.ask(daemon, name)

    def ask(self, daemon: Daemon, name: str) -> None:
        for size in SIZES:
            with self.client(daemon, name) as client, self.client(daemon, "echo") as other:
                client.send(QUESTIONS.get(name, data())[:size])
                for _ in range(2):  # a later request that has its reply: an earlier reply would have arrived
                    other.send(b"another one")
                    other.recv(65_536)
                client.setblocking(False)
                try:
                    answer = client.recv(65_536)
                except BlockingIOError:
                    continue
                assert len(answer) <= size, (name, size, answer)
                assert size or name in ("echo", "upper", "udpechoplus"), (name, "replies to an empty request")
                self.assertRaises(BlockingIOError, client.recv, 65_536)

    def client(self, daemon: Daemon, name: str) -> socket.socket:
        while True:
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            client.settimeout(SECONDS)
            client.bind(("127.0.0.1", 0))
            if client.getsockname()[1] not in daemon.ports:
                client.connect(daemon.place(name, "udp"))
                return client
            client.close()

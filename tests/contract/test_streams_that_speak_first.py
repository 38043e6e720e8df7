"""daytime, time, qotd, whoami and chargen over streams: the data each client gets, and the end."""

import json
import socket

from tests.contract.matrix import MIB, STREAM, Contract, Sending, data, everywhere, exactly, rest
from tests.contract.saying import AQuotation, TheDate, TheTime

RING = "".join(map(chr, range(0x20, 0x7F))) * 2
PERIOD = "".join(RING[first : first + 72] + "\r\n" for first in range(95)).encode()


class Saying(Contract):
    """One reply, then the close, regardless of the client."""

    def said(self) -> bytes:
        return rest(self.connect())

    def test_a_client_that_sends_much_and_reads_late_gets_the_whole_reply(self) -> None:
        whole = len(self.said())
        client = self.connect()
        client.sendall(data(MIB))
        came = rest(client)
        assert abs(len(came) - whole) < 500  # another quotation, another port
        assert came

    def test_a_client_that_shuts_down_sending_at_once_gets_the_whole_reply(self) -> None:
        client = self.connect()
        client.shutdown(socket.SHUT_WR)
        assert rest(client)


class SayingTheTime(Saying, TheTime):
    pass


class SayingTheDate(Saying, TheDate):
    pass


class Quoting(Saying, AQuotation):
    pass


class Identifying(Saying):
    def test_both_ends_are_as_the_client_sees_them(self) -> None:
        client = self.connect()
        here, there = client.getsockname(), client.getpeername()
        came = rest(client)
        assert came.endswith(b"}\n")
        said = json.loads(came)
        if client.family == socket.AF_UNIX:
            assert (said["protocol"], said["remote_path"], said["local_path"]) == ("unix", "", self.place)
            return
        assert (said["remote_address"], said["remote_port"]) == here[:2]
        assert (said["local_address"], said["local_port"]) == there[:2]
        assert said["protocol"] == self.transport.listen.partition(":")[0]
        if self.name == "tls":
            assert (said["tls"]["version"], said["tls"]["server_name"]) == ("TLSv1.3", "localhost")


class Generating(Contract):
    """chargen: the rotating lines, for as long as the client reads."""

    def test_the_lines(self) -> None:
        assert exactly(self.connect(), 4 * MIB) == (PERIOD * (4 * MIB // len(PERIOD) + 1))[: 4 * MIB]

    def test_sent_data_changes_nothing(self) -> None:
        client = self.connect()
        client.sendall(data(MIB)[:100_000])
        assert exactly(client, 100_000) == (PERIOD * 20)[:100_000]
        client.shutdown(socket.SHUT_WR)
        assert exactly(client, len(PERIOD) * 20)[-1000:]

    def test_a_client_that_does_not_read_costs_nothing(self) -> None:
        exactly(self.connect(), MIB)
        before = self.daemon.memory()
        for _ in range(20):
            self.connect()
        busy = self.connect()
        exactly(busy, 8 * MIB)
        assert self.daemon.memory() - before <= 8 * MIB


class Choosing(Contract):
    """bin: the first line is a request, and the rest comes back with the chosen faults."""

    def test_the_rest_comes_back(self) -> None:
        sent = data(100_000)
        client = self.connect()
        sending = Sending(client, [b"chunk=1KiB,seed=1\n", sent])
        self.assertEqual(rest(client), sent)
        sending.over()

    def test_a_client_chooses_how_many_bytes_it_gets(self) -> None:
        for fault, expected in (("close-after=5", b"hello"), ("truncate=3", b"hel"), ("size=4", b' !"#hello, world')):
            client = self.connect()
            sending = Sending(client, [f"{fault}\nhello, world".encode()])
            self.assertEqual(rest(client), expected)
            sending.over()

    def test_another_connection_has_no_faults(self) -> None:
        faulty, other = self.connect(), self.connect()
        faulty.sendall(b"silent=true\nhello")
        sending = Sending(other, [b"\nhello"])
        self.assertEqual(rest(other), b"hello")
        sending.over()
        faulty.close()

    def test_an_error_is_one_line(self) -> None:
        client = self.connect()
        client.sendall(b"delay=1h\n")
        self.assertEqual(rest(client), b"error: delay: at most 30s here\n")


for _contract, _service in (
    (Choosing, "bin"),
    (SayingTheTime, "time"),
    (SayingTheDate, "daytime"),
    (Quoting, "qotd"),
    (Identifying, "whoami"),
    (Generating, "chargen"),
):
    globals().update(everywhere(_contract, STREAM, _service))

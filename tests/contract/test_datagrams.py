"""Datagrams: one request, at most one reply, complete, in order, from the address that was used."""

import contextlib
import json
import re
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from echod.measurement.stamp import BASE, Answer, Request, Unauthenticated
from echod.measurement.stamp_tlvs import class_of_service, class_of_service_of
from echod.measurement.timestamps import from_ntp, ntp
from echod.transports.packet_stamps import IP_RECVTOS
from tests.contract.matrix import DATAGRAM, Contract, anything, data, everywhere
from tests.contract.saying import AQuotation, TheDate, TheTime
from tests.daemon import SECONDS

SIZES = (0, 1, 512, 1472, 1473, 8192, 8193, 65_507)
QUEUE = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())  # datagrams that a Unix socket holds
RING = "".join(map(chr, range(0x20, 0x7F))) * 2
LARGEST = 65_536


class Asking(Contract):
    def ask(self, client: Any, question: bytes) -> bytes:
        """Check the one reply, from the address that was used: a connected socket receives from no other."""
        client.send(question)
        answer: bytes = client.recv(LARGEST)
        return answer

    def assert_silent(self, client: Any) -> None:
        """Check that no reply and no error arrives, even after other clients have their replies."""
        other = self.connect("echo")
        for _ in range(3):
            self.ask(other, b"another one")
        client.setblocking(False)
        self.assertRaises(BlockingIOError, client.recv, LARGEST)

    def shown(self, sent: bytes, what: str) -> str:
        """The line of a datagram; the tests before may have used up the lines of the current second."""
        client = self.connect()
        pattern = rf"^{client_of(client)}: {what}$"
        for _ in range(int(SECONDS)):
            client.send(sent)
            with contextlib.suppress(AssertionError):
                return self.daemon.stdout.wait_for(pattern, 1.0)[0]
        return self.daemon.stdout.wait_for(pattern)[0]


class Transforming(Asking):
    @property
    def oracle(self) -> Callable[[bytes], bytes]:
        return bytes.upper if self.service == "upper" else bytes

    def test_sizes(self) -> None:
        client = self.connect()
        for size in SIZES:
            assert self.ask(client, data()[:size]) == self.oracle(data()[:size]), size

    def test_the_largest_of_ipv6(self) -> None:
        client = self.connect()
        if client.family == socket.AF_INET6:
            assert self.ask(client, data()[:65_527]) == self.oracle(data()[:65_527])

    def test_every_byte_value(self) -> None:
        assert self.ask(self.connect(), bytes(range(256))) == self.oracle(bytes(range(256)))

    @anything
    @given(st.lists(st.binary(max_size=1500), max_size=10))
    def test_anything_in_any_order(self, questions: list[bytes]) -> None:
        client = self.connect()
        for question in questions:
            client.send(question)
        assert [client.recv(LARGEST) for _ in questions] == [self.oracle(question) for question in questions]
        client.close()

    def test_the_reply_comes_from_the_address_of_the_request(self) -> None:
        client = self.connect()
        client.send(b"where are you?")
        _, where = client.recvfrom(LARGEST)
        assert where == (self.place if client.family == socket.AF_UNIX else client.getpeername())

    def test_many_in_flight_keep_their_order(self) -> None:
        client = self.connect()
        flight = min(64, QUEUE) if client.family == socket.AF_UNIX else 64
        questions = [f"number {number}".encode() for number in range(flight)]
        for question in questions:
            client.send(question)
        assert [client.recv(LARGEST) for _ in questions] == [self.oracle(question) for question in questions]

    def test_one_request_has_one_reply(self) -> None:
        client = self.connect()
        self.ask(client, b"once")
        self.assert_silent(client)

    def test_fifty_clients_at_once(self) -> None:
        clients = [self.connect() for _ in range(50)]
        for number, client in enumerate(clients):
            client.send(f"client {number}".encode())
        for number, client in enumerate(clients):
            assert client.recv(LARGEST) == self.oracle(f"client {number}".encode())

    def test_a_client_that_leaves_before_its_reply_affects_no_other(self) -> None:
        client = self.connect()
        for _ in range(20):
            gone = self.connect()
            gone.send(data()[:8192])
            gone.close()
            assert self.ask(client, b"still there?") == self.oracle(b"still there?")


class Discarding(Asking):
    def test_there_is_neither_a_reply_nor_an_error(self) -> None:
        client = self.connect()
        for size in SIZES:
            client.send(data()[:size])
        self.assert_silent(client)
        client.send(b"a discard sends no ICMP error")
        self.assert_silent(client)


class Showing(Asking):
    """A datagram is printed, with its sender, as one line that is safe to print."""

    def test_a_text(self) -> None:
        self.shown("Grüße, 世界\n".encode(), "Grüße, 世界")

    def test_control_characters(self) -> None:
        self.shown(b"\x1b[31mred\x07 \0 \r\n\x7f \xc2\x9b", r"\\x1b\[31mred\\x07 \\x00 \\x0d\\x0a\\x7f \\x9b")

    def test_invalid_bytes(self) -> None:
        self.shown(b"\xff\xfe ok \xc3", r"\\xff\\xfe ok \\xc3")

    def test_an_empty_datagram(self) -> None:
        self.shown(b"", "")

    def test_the_largest(self) -> None:
        line = self.shown(b"%" * 65_507, r"%{100}.*")
        assert line.isprintable()

    def test_noise(self) -> None:
        assert self.shown(data()[:65_507], ".*").isprintable()


class ShowingHex(Asking):
    def test_bytes_in_hex(self) -> None:
        self.shown(b"\x00\x1b\xffA", "00 1b ff 41")


class Acknowledging(Asking):
    def test_every_datagram_gets_its_receipt(self) -> None:
        client = self.connect()
        assert [self.ask(client, data()[:size]) for size in SIZES] == [b"received"] * len(SIZES)


class AcknowledgingAndShowing(Asking):
    def test_it_prints_the_datagrams_it_acknowledges(self) -> None:
        assert self.ask(self.connect(), b"\x1b[2Jhello") == b"received"
        self.shown(b"\x1b[2Jhello", r"\\x1b\[2Jhello")


class Generating(Asking):
    def test_as_many_bytes_as_the_request_and_512_at_most(self) -> None:
        client = self.connect()
        lines = "".join(RING[first : first + 72] + "\r\n" for first in range(7)).encode()
        for size in SIZES[1:]:
            assert self.ask(client, data()[:size]) == lines[: min(size, 512)], size

    def test_an_empty_request_has_no_reply(self) -> None:
        client = self.connect()
        client.send(b"")
        self.assert_silent(client)


class GeneratingAsTheRFCSays(Asking):
    def test_a_random_number_of_characters(self) -> None:
        client = self.connect()
        answers = [self.ask(client, b"?") for _ in range(30)]
        sizes = {len(answer) for answer in answers}
        assert len(sizes) > 5
        assert max(sizes) <= 512
        assert all(
            answer == answers[-1][: len(answer)] or answers[-1] == answer[: len(answers[-1])] for answer in answers
        )


class Saying(Asking):
    """The reply does not depend on the request."""

    def said(self) -> bytes:
        client = self.connect()
        answers = [self.ask(client, question) for question in (b"", b"?", data()[:8193])]
        assert all(answers)
        return answers[0]


class SayingTheTime(Saying, TheTime):
    pass


class SayingTheDate(Saying, TheDate):
    pass


class Quoting(Saying, AQuotation):
    pass


class Identifying(Saying):
    def test_both_ends_are_as_the_client_sees_them(self) -> None:
        client = self.connect()
        said = json.loads(self.ask(client, b"my address?"))
        if client.family == socket.AF_UNIX:
            assert said["remote_path"] == "@" + client.getsockname()[1:].decode()
            assert said["local_path"] == self.place
            assert said["protocol"] == "unix-dgram"
            return
        assert (said["remote_address"], said["remote_port"]) == client.getsockname()[:2]
        assert (said["local_address"], said["local_port"]) == client.getpeername()[:2]
        assert said["protocol"] == "udp"
        assert said["ttl"] == 64
        assert abs(said["received_at"] - time.time()) < 60

    def test_dscp_and_ecn_arrive(self) -> None:
        client = self.connect()
        if client.family == socket.AF_INET:
            client.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 46 << 2 | 1)
        elif client.family == socket.AF_INET6:
            client.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 46 << 2 | 1)
        else:
            return
        said = json.loads(self.ask(client, b"and how?"))
        assert (said["dscp"], said["ecn"]) == (46, 1)


class Reflecting(Asking):
    def stamp(self, client: Any, sequence: int, rest: bytes = b"") -> Answer:
        """The reply to a test packet, whose own fields are checked."""
        request = Request(sequence, ntp(time.time_ns()), 0x8001, 0xABCD)
        before = time.time_ns()
        data = self.ask(client, Unauthenticated().request(request) + rest)
        after = time.time_ns()
        answer = Unauthenticated().parse_answer(data)
        assert answer is not None
        assert len(data) == BASE + len(rest)
        assert (answer.ssid, *answer[5:8]) == (0xABCD, *request[:3])
        times = [from_ntp(timestamp, before) for timestamp in (answer.received, answer.timestamp)]
        assert [before, *times, after] == sorted([before, *times, after])
        return answer

    def test_a_test_packet_comes_back_with_times_between_request_and_reply(self) -> None:
        client = self.connect()
        for size in (0, 20, 1428, 8192, 65_507 - BASE):
            answer = self.stamp(client, 0, bytes(size))
            assert answer.ttl == (255 if client.family == socket.AF_UNIX else 64)

    def test_sequence_numbers_are_copied_or_counted(self) -> None:
        client = self.connect()
        numbers = [self.stamp(client, sequence).sequence for sequence in (5, 9, 9)]
        assert numbers == ([0, 1, 2] if self.service == "reflector-stateful" else [5, 9, 9])

    def test_a_reply_has_the_requested_dscp(self) -> None:
        """RP is 1, and the DSCP that of the request, if it is not permitted: 48 and above are of network control."""
        client = self.connect()
        if client.family == socket.AF_UNIX:
            data = self.ask(client, Unauthenticated().request(Request(0, 0, 1)) + class_of_service(46))
            assert class_of_service_of(data[-4:]) == (46, 0, 0, 1)
            return
        six = client.family == socket.AF_INET6
        level, option, receive = (
            (socket.IPPROTO_IPV6, socket.IPV6_TCLASS, socket.IPV6_RECVTCLASS)
            if six
            else (socket.IPPROTO_IP, socket.IP_TOS, IP_RECVTOS)
        )
        client.setsockopt(level, option, 46 << 2 | 1)
        client.setsockopt(level, receive, 1)
        for requested, came, refused in ((10, 10, 0), (47, 47, 0), (0, 0, 0), (48, 46, 1), (63, 46, 1)):
            client.send(Unauthenticated().request(Request(0, 0, 1)) + class_of_service(requested))
            data, [(_, _, value)], _, _ = client.recvmsg(2000, 100)
            assert class_of_service_of(data[-4:]) == (requested, 46, 1, refused)
            assert value[0] == came << 2
        self.stamp(client, 0)  # the next reply has the DSCP of the address again
        client.send(Unauthenticated().request(Request(0, 0, 1)))
        assert client.recvmsg(2000, 100)[1][0][2][0] == 0

    def test_bytes_that_are_not_a_test_packet_get_no_reply(self) -> None:
        client = self.connect()
        for size in (0, 1, 13):
            client.send(bytes(size))
        self.assert_silent(client)


class MarkingForModems(Asking):
    def test_replies_are_numbered_and_stamped(self) -> None:
        client = self.connect()
        for number in (1, 2):
            before = time.time_ns() // 1000
            fields = struct.unpack("!IIIIII", self.ask(client, struct.pack("!IIIIII", 7, 0, 0, 0, 0, 9)))
            after = time.time_ns() // 1000
            assert (fields[:2], fields[4:]) == ((7, number), (0, 9))
            assert 0 <= (fields[2] - before) % 2**32 <= (fields[3] - before) % 2**32 <= after - before

    def test_a_short_datagram_is_returned_unchanged(self) -> None:
        client = self.connect()
        for size in (0, 1, 23):
            assert self.ask(client, data()[:size]) == data()[:size]


class PlayingPingPong(Asking):
    def test_a_message_that_requests_a_reply_gets_it(self) -> None:
        client = self.connect()
        for size in (14, 64, 65_507):
            asked = struct.pack("!QHI", size, 3, size) + data()[: size - 14]
            assert self.ask(client, asked) == asked[:9] + b"\2" + asked[10:]

    def test_other_datagrams_get_no_reply(self) -> None:
        client = self.connect()
        for other in (b"", bytes(13), struct.pack("!QHI", 1, 1, 14), struct.pack("!QHI", 1, 2, 14)):
            client.send(other)
        self.assert_silent(client)


class Choosing(Asking):
    """bin: the first line of a datagram is a request."""

    def test_the_payload_comes_back_with_the_chosen_faults(self) -> None:
        client = self.connect()
        assert self.ask(client, b"truncate=3\nhello") == b"hel"
        assert self.ask(client, b"hello=1") == b"error: "
        client.send(b"drop=1\nhello")
        self.assert_silent(client)


def client_of(client: Any) -> str:
    """The name of this client in a printed line, as a pattern."""
    name: Any = client.getsockname()
    if client.family == socket.AF_UNIX:
        return re.escape(f"unix-dgram @{name[1:].decode()}")
    return re.escape(f"udp [{name[0]}]:{name[1]}" if ":" in name[0] else f"udp {name[0]}:{name[1]}")


for _contract, *_services in (
    (Transforming, "echo", "upper"),
    (Discarding, "discard", "discard-text", "discard-hex"),
    (Showing, "discard-text"),
    (ShowingHex, "discard-hex"),
    (Acknowledging, "ack", "ack-text", "ack-stays"),
    (AcknowledgingAndShowing, "ack-text"),
    (Generating, "chargen"),
    (GeneratingAsTheRFCSays, "chargen-rfc864"),
    (SayingTheTime, "time"),
    (SayingTheDate, "daytime"),
    (Quoting, "qotd"),
    (Identifying, "whoami"),
    (Reflecting, "reflector", "reflector-stateful"),
    (MarkingForModems, "udpechoplus"),
    (PlayingPingPong, "sockperf"),
    (Choosing, "bin"),
):
    globals().update(everywhere(_contract, DATAGRAM, *_services))

"""chat and console: one room over every transport, and no member can disturb another."""

import itertools
import select
from collections.abc import Callable
from typing import Any

from echod.services.line_buffer import HINT
from tests.contract.matrix import DATAGRAM, STREAM, TRANSPORTS, Contract, everywhere, rest
from tests.daemon import eventually
from tests.fastpath.clients import processor_time

NUMBERS = itertools.count(1)


class Member:
    """A member over any transport, which reads line by line."""

    def __init__(self, client: Any, stream: bool, nick: str, room: str) -> None:
        self.client = client
        self._stream = stream
        self._waiting = b""
        self.nick = nick
        self.say(f"/nick {nick}")
        self.until(lambda line: line == f"-- you are now {nick}")
        self.say(f"/join {room}")
        self.until(lambda line: line.startswith(f"-- you are in {room}"))

    def say(self, text: str | bytes) -> None:
        data = text if isinstance(text, bytes) else text.encode()
        self.client.sendall(data + b"\n") if self._stream else self.client.send(data)

    def line(self) -> str:
        """The next line, except a hint: the daemon gives it if the rest of a line comes late, on a busy machine."""
        while True:
            while b"\n" not in self._waiting:
                came = self.client.recv(65_536)
                assert came or not self._stream, "the end"
                assert self._stream or came.endswith(b"\n")
                self._waiting += came
            line, self._waiting = self._waiting.split(b"\n", 1)
            if line.decode() != HINT:
                return line.decode()

    def until(self, right: Callable[[str], bool]) -> None:
        while not right(self.line()):
            pass


class Talking(Contract):
    """Anna is a member over TCP; the other one uses the transport of the test."""

    def setUp(self) -> None:
        super().setUp()
        self.number = next(NUMBERS)
        tcp = TRANSPORTS["tcp"].connect(self.daemon.place("chat", "tcp://127"))
        self.addCleanup(tcp.close)
        self.anna = Member(tcp, True, f"anna.{self.number}", f"room.{self.number}")
        self.bob = self.enter("bob")

    def enter(self, nick: str) -> Member:
        stream = self.transport.carries is STREAM
        one = Member(self.connect(), stream, f"{nick}.{self.number}", f"room.{self.number}")
        assert self.anna.line() == f"-- {one.nick} has joined"
        return one

    def test_both_receive_each_others_lines(self) -> None:
        self.bob.say("Grüße")
        assert self.anna.line() == f"{self.bob.nick}: Grüße"
        self.anna.say("and to you")
        assert self.bob.line() == f"{self.anna.nick}: and to you"
        self.bob.say(f"/msg {self.anna.nick} psst")
        assert self.anna.line() == f"{self.bob.nick} (to you): psst"
        self.bob.say("/who")
        assert self.bob.line() == f"-- in room.{self.number}: {self.anna.nick}, {self.bob.nick}"

    def test_three_members_receive_everything_in_order(self) -> None:
        carl = self.enter("carl")
        assert self.bob.line() == f"-- {carl.nick} has joined"
        for number in range(30):
            self.anna.say(f"number {number}")
        for one in (self.bob, carl):
            assert [one.line() for _ in range(30)] == [f"{self.anna.nick}: number {number}" for number in range(30)]

    def test_a_member_that_quits_has_left(self) -> None:
        self.bob.say("/quit")
        assert self.bob.line() == "-- goodbye"
        assert self.anna.line() == f"-- {self.bob.nick} has left"

    def test_bad_input_is_one_clear_line(self) -> None:
        self.bob.say("x" * 5000)
        assert self.bob.line() == "-- not sent: a line has at most 4096 bytes"
        self.bob.say("/nick " + "n" * 4000)
        assert self.bob.line() == "-- a name of 4000 characters is too long; the maximum is 32"
        self.bob.say(b"/nick an\xff")
        assert self.bob.line().startswith("-- \\xff cannot be part of a name")
        self.bob.say(b"bad \xff\x1b[31m\xe2\x80\xae")
        assert self.anna.line() == f"{self.bob.nick}: bad \\xff\\x1b[31m\\u{{202e}}"


class TalkingOnAStream(Talking):
    def test_quit_ends_the_connection(self) -> None:
        self.bob.say("/quit")
        assert rest(self.bob.client).endswith(b"-- goodbye\n")

    def test_a_member_that_vanishes_has_left(self) -> None:
        self.bob.client.close()
        assert self.anna.line() == f"-- {self.bob.nick} has left"

    def test_a_line_of_a_megabyte_is_reported_once(self) -> None:
        self.bob.say(b"x" * (1 << 20))
        self.bob.say("/nick " + "n" * (1 << 20))
        self.bob.say("still here")
        assert self.bob.line() == "-- not sent: a line has at most 4096 bytes"
        assert self.bob.line() == "-- not sent: a line has at most 4096 bytes"
        assert self.anna.line() == f"{self.bob.nick}: still here"

    def test_the_last_line_needs_no_end(self) -> None:
        self.bob.client.sendall(b"the last words")
        self.bob.client.shutdown(1)
        assert self.anna.line() == f"{self.bob.nick}: the last words"
        assert self.anna.line() == f"-- {self.bob.nick} has left"
        assert rest(self.bob.client) == b""

    def test_a_member_that_does_not_read_costs_no_other_member_a_line(self) -> None:
        deaf = self.enter("deaf")
        assert self.bob.line() == f"-- {deaf.nick} has joined"
        said = 0
        memory = self.daemon.memory()
        for _ in range(3):  # as much as the line rate allows
            for _ in range(50):
                self.anna.say("x" * 4000)
                said += 1
            for _ in range(50):
                assert len(self.bob.line()) > 4000
        assert self.daemon.memory() - memory < 16 << 20
        self.anna.say("/who")
        assert eventually(lambda: deaf.nick in self.anna.line())


class TalkingInDatagrams(Talking):
    def test_a_datagram_has_one_line_and_may_bring_several(self) -> None:
        self.bob.say("one\ntwo\r\n\n   \nthree")
        assert [self.anna.line() for _ in range(3)] == [f"{self.bob.nick}: {word}" for word in ("one", "two", "three")]

    def test_an_empty_datagram_sends_no_line(self) -> None:
        self.bob.say("")
        self.bob.say("something")
        assert self.anna.line() == f"{self.bob.nick}: something"

    def test_a_member_that_quits_and_sends_again_is_a_new_member(self) -> None:
        self.bob.say("/quit")
        assert self.bob.line() == "-- goodbye"
        self.bob.say("/who")
        assert self.bob.line().startswith("-- welcome: you are guest")

    def test_a_datagram_of_the_largest_size(self) -> None:
        self.bob.say(b"x" * 60_000)
        assert self.bob.line() == "-- not sent: a line has at most 4096 bytes"


class Consoling(Contract):
    """console, without an operator."""

    def test_a_client_is_notified_once_that_no_operator_is_present(self) -> None:
        client = self.connect()
        for text in (b"hello?", b"anybody?"):
            client.send(text)
        assert client.recv(100) == b"back at nine\n"
        if self.transport.carries is DATAGRAM:  # on a stream, two of them may arrive as one
            client.send(b"one more, and then one too many")
            client.send(b"and another")
            assert (
                client.recv(200)
                == b"-- 3 of your messages wait for an answer: further messages are dropped until then\n"
            )


class ConsolingOnAStream(Consoling):
    def test_a_client_that_has_sent_nothing_is_closed(self) -> None:
        client = self.connect()
        client.shutdown(1)
        assert rest(client) == b""

    def test_endless_lines_are_bounded_and_get_one_line_of_reply(self) -> None:
        client = self.connect()
        memory = self.daemon.memory()
        for _ in range(64):
            client.sendall(b"x" * 65_536)
        for _ in range(16):  # half a million lines: 16 MiB is 32 bytes for each
            client.sendall(b"y\n" * 32_768)
        assert client.recv(100).startswith(b"back at nine\n")
        assert eventually(self.is_idle)  # everything has been processed
        assert self.daemon.memory() - memory < 16 << 20

    def is_idle(self) -> bool:
        """Whether the daemon uses no processor time for a moment."""
        before = processor_time(self.daemon.process.pid)
        select.select([], [], [], 0.1)
        return processor_time(self.daemon.process.pid) == before


globals().update(everywhere(TalkingOnAStream, STREAM, "chat"))
globals().update(everywhere(ConsolingOnAStream, STREAM, "console"))
globals().update(everywhere(Consoling, DATAGRAM, "console"))
globals().update(everywhere(TalkingInDatagrams, DATAGRAM, "chat"))
del TalkingOnAStream, TalkingInDatagrams, Talking, ConsolingOnAStream, Consoling

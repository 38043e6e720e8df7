"""Bin: requests and their errors, how much is sent, and the faults that are chosen."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echod.faults.keys import KEYS
from echod.faults.settings import NO_FAULTS, Faults
from echod.model import End, Peer
from echod.services.bin import Bin, BinOptions
from echod.services.bin_pattern import pattern
from echod.services.bin_request import (
    CHOICES,
    LONGEST,
    MOST,
    OF_SERVICES,
    Bounds,
    Request,
    RequestError,
    of_label,
    of_pairs,
    of_query,
    of_text,
)
from echod.socket_names import Inet

BOUNDS = Bounds()
ENDS = Inet("127.0.0.1", 7), Inet("192.0.2.1", 40_000)


def error(text, bounds=BOUNDS, read=of_text):
    with pytest.raises(RequestError) as caught:
        read(text, bounds)
    return str(caught.value)


class Client:
    """A session with a peer of a scheme: the bytes that it sent, its end, and the faults that it has chosen."""

    def __init__(self, scheme="tcp", learned=None, **options):
        self.chosen = []
        peer = Peer(scheme, *ENDS, learned=learned or {}, choose_faults=self.chosen.append)
        self.session = Bin(BinOptions(**options)).session(peer, lambda _reply: None)
        self.sent, self.end = b"", End.STAY if hasattr(End, "STAY") else None
        self.take(self.session.opened())

    def take(self, reply):
        self.sent += (reply.data or b"") + b"".join(reply.more or ())
        self.end = reply.end
        return self

    def says(self, *pieces):
        for piece in pieces:
            self.take(self.session.received(piece))
        return self


def test_a_request_is_a_list_of_keys():
    assert of_text("delay=200ms,reset-after=1KiB", BOUNDS) == Request(Faults(delay=0.2, reset_after=1024))
    assert of_text(" delay=1s  size=5\tchunk=1 ", BOUNDS) == Request(Faults(delay=1.0, chunk=1), size=5)
    assert of_text("", BOUNDS) == Request()


def test_a_transport_without_faults_ignores_them():
    session = Bin(BinOptions()).session(Peer("tcp", *ENDS), lambda _reply: None)
    session.opened()
    reply = session.received(b"delay=1s,size=2\n")
    assert (reply.data or b"") + b"".join(reply.more or ()) == b"".join(pattern(2))


def test_a_query_and_a_server_name_are_requests():
    assert of_query("delay=200ms&websocket=no-pong", BOUNDS) == Request(Faults(delay=0.2, websocket="no-pong"))
    assert of_label("delay-200ms.reset-after-1KIB.bin.example", BOUNDS) == Request(Faults(delay=0.2, reset_after=1024))
    assert of_label("tls-stall.localhost", BOUNDS) == Request(Faults(tls="stall"))
    assert of_label("size-5.delay-close-1s.example", BOUNDS) == Request(Faults(delay_close=1.0), size=5)
    assert of_label("delayed.rate.example", BOUNDS) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("delay", "delay: expected KEY=VALUE, such as delay=200ms"),
        ("delay=fast", 'delay: "fast" is not a duration; expected one such as "250ms", "5m" or "1m30s"'),
        ("delay=31s", "delay: at most 30s here"),
        ("jitter=1h", "jitter: at most 30s here"),
        ("size=2MiB", "size: at most 1MiB here"),
        ("size=-1", "size: "),
        ("delay=1s,delay=2s", "delay: appears twice"),
        ("reset-after=1,close-after=2", "close-after: excludes reset-after; expected only one of them"),
        ("refuse=true", "refuse: cannot be chosen by a client"),
        ("script=/etc/passwd", "script: cannot be chosen by a client"),
        ("status=500", "status: unknown key; expected one of: "),
        ("tls=stall", "tls: is chosen by the server name of TLS"),
        ("websocket=masked", "websocket: is chosen in the query of the WebSocket URL"),
        ("\x1b[2J=1", r"\x1b[2J: unknown key; expected one of: "),
        ("x" * (LONGEST + 1), f"a request has more than {LONGEST} bytes"),
        (" ".join(f"k{number}=1" for number in range(MOST + 1)), "k0: unknown key"),
    ],
    ids=range(16),
)
def test_an_error_names_the_key_and_what_was_expected(text, said):
    assert error(text).startswith(said)


def test_the_administrator_sets_bounds():
    bounds = Bounds(frozenset({"delay"}), delay=0.5, size=10)
    assert of_text("delay=500ms,size=10", bounds).size == 10
    assert error("delay=501ms", bounds) == "delay: at most 500ms here"
    assert error("size=11", bounds) == "size: at most 10 here"
    assert error("drop=0.5", bounds) == "drop: is not allowed here; allowed are delay"
    assert [*Bin.configuration_errors(BinOptions(allow_faults=("delay", "refuse")))] == [
        ("allow_faults", f"refuse is not a fault that a client can choose; expected one of: {', '.join(CHOICES)}")
    ]


def test_every_fault_is_a_choice_or_of_the_service():
    assert {*CHOICES} | OF_SERVICES >= {*KEYS}
    assert not {*CHOICES} & OF_SERVICES


def test_a_stream_is_sent_back_after_its_first_line():
    client = Client().says(b"del", b"ay=1s\r\nhel", b"lo")
    assert (client.sent, client.chosen) == (b"hello", [Faults(delay=1.0)])


def test_a_first_line_without_an_end_is_a_request_at_the_end():
    client = Client().says(b"size=3")
    assert client.sent == b""
    assert client.take(client.session.ended()).sent == b' !"'
    assert client.end is End.CLOSE


def test_an_error_is_one_line_and_closes():
    client = Client().says(b"delya=1s\nhello")
    assert client.sent.startswith(b"error: delya: unknown key; ")
    assert client.sent.count(b"\n") == 1
    assert (client.end, client.chosen) == (End.CLOSE, [])


def test_a_first_line_that_is_too_long_is_refused():
    assert Client().says(b"x" * LONGEST, b"x").end is End.CLOSE


def test_a_fault_that_does_not_exist_on_the_transport_is_refused():
    assert Client("tcp").says(b"drop=1\n").sent == b"error: drop: does not exist on streams\n"
    assert Client("unix-seqpacket").says(b"drop=1").chosen == [Faults(drop=1.0)]


def test_a_message_is_the_request_if_the_query_has_none():
    client = Client("ws").says(b"delay=1s")
    assert (client.sent, client.chosen) == (b"", [Faults(delay=1.0)])
    assert client.says(b"hello").sent == b"hello"


def test_a_query_or_a_server_name_replaces_the_first_line():
    for scheme, learned in (
        ("ws", {"websocket": {"query": "delay=1s&size=3"}}),
        ("tls", {"tls": {"server_name": "delay-1s.size-3.example"}}),
    ):
        client = Client(scheme, learned).says(b"hello")
        assert (client.sent, client.chosen) == (b' !"hello', [Faults(delay=1.0)])
    assert Client("ws", {"websocket": {"query": "delay=9h"}}).end is End.CLOSE
    assert Client("tls", {"tls": {"server_name": "localhost"}}).says(b"\nhello").sent == b"hello"


def test_a_handshake_gets_the_faults_before_the_session():
    service = Bin()
    assert service.chosen_faults("websocket", "websocket=masked") == Faults(websocket="masked")
    assert service.chosen_faults("tls", "tls-alert.example") == Faults(tls="alert")
    assert service.chosen_faults("tls", "example") is None
    assert service.chosen_faults("websocket", "delay=9h") is None


def test_a_reply_to_a_datagram_is_its_payload():
    chosen = []
    peer = Peer("udp", *ENDS, choose_faults=chosen.append)
    service = Bin()
    assert service.answer(b"drop=0.5\nhello", peer) == b"hello"
    assert service.answer(b"size=3\n", peer) == b' !"'
    assert chosen == [Faults(drop=0.5), NO_FAULTS]
    assert service.answer(b"reset-after=1\n", peer) == b"error: reset-a"
    assert service.answer(b"x=1", peer) == b"err"
    assert service.answer(b"", peer) is None


@pytest.mark.parametrize("size", [0, 1, 96, 65_536, 65_537, 200_000])
def test_the_pattern_continues_over_its_pieces(size):
    sent = b"".join(pattern(size))
    assert len(sent) == size
    assert sent == (bytes(range(0x20, 0x7F)) + b"\n").__mul__(size // 96 + 1)[:size]


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from(string.printable + "ä\x00\x1b"), max_size=200))
def test_a_hostile_request_is_read_or_refused_in_one_printable_line(text):
    for read in (of_text, of_query, of_label):
        try:
            found = read(text, BOUNDS)
        except RequestError as refused:
            assert str(refused).isprintable()
            assert len(str(refused)) < 1000
        else:
            assert found is None or (found.size or 0) <= BOUNDS.size
            assert found is None or found.faults.delay <= BOUNDS.delay


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*KEYS, "size", "status", "header"]), st.text(max_size=20)), max_size=6))
def test_hostile_values_of_known_keys_are_read_or_refused(found):
    try:
        of_pairs(found, BOUNDS, http=True)
    except RequestError as refused:
        assert str(refused).isprintable()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100))
def test_an_error_is_never_larger_than_the_datagram(datagram):
    reply = Bin().answer(datagram, Peer("udp", *ENDS)) or b""
    assert len(reply) <= max(len(datagram), BOUNDS.size if b"size" in datagram else 0)


def test_a_client_that_sends_nothing_is_closed_at_its_end():
    assert Client().session.ended().end is End.CLOSE
    assert Client().says(b"\nhello").session.ended().end is End.CLOSE

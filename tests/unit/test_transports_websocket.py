"""The WebSocket layer between a test socket and a receiver, for both roles; frames are those of `websockets`."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from echod.address import parse
from echod.events import Closing, Counters
from echod.gate.limits import Limits
from echod.gate.total_buffer import SendBudget
from echod.gate.work_budget import WorkBudget
from echod.model import PLAIN
from echod.services.echo import Echo
from echod.shape import Shape
from echod.socket_names import Inet
from echod.transports.conversation import Conversation
from echod.transports.handshake_slot import Rejection
from echod.transports.layers.http_answer import Answer, Resource
from echod.transports.layers.layer_interface import (
    LINGER,
    Answered,
    Facts,
    HandshakeTimeout,
    LingerTimeout,
    MessageTooLarge,
    ProtocolError,
)
from echod.transports.layers.websocket import CONTROL
from echod.transports.layers.websocket_client import WebSocketClient
from echod.transports.layers.websocket_server import WebSocketServer
from tests.wire import Wire

TEXT, BINARY, CONT, CLOSE, PING, PONG = (
    Opcode.TEXT,
    Opcode.BINARY,
    Opcode.CONT,
    Opcode.CLOSE,
    Opcode.PING,
    Opcode.PONG,
)
REQUEST = (
    b"GET /echo HTTP/1.1\r\nHost: 127.0.0.1:8007\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Above:
    """A receiver that records messages with their types, and can pause after each."""

    def __init__(self, pauses=False):
        self.pauses = pauses
        self.told = []

    def begin(self, below):
        self.below = below

    def received(self, data, arrival=PLAIN):
        self.told.append((data, arrival.text))
        if self.pauses:
            self.below.pause()

    def ended(self):
        self.told.append("ended")

    def stuck(self):
        self.told.append("stuck")

    def drained(self):
        self.told.append("drained")

    def lost(self, reason):
        self.told.append(type(reason))


class Made:
    """A server's layer, with a test socket below."""

    def __init__(self, top=Above, work=None, answer=None, mark=None, **settings):
        self.clock = Clock()
        self.wire = Wire(Facts(Inet("127.0.0.1", 7), Inet("127.0.0.1", 40_000)))
        resources = {"/echo": Resource("/echo", **settings), "/upper": Resource("/upper", "upper", "upper")}
        more = {} if answer is None else {"answer_get": answer}
        self.layer = WebSocketServer(top, self.clock, 10.0, resources, work, mark=mark, **more)
        self.wire.receiver = self.layer
        self.layer.begin(self.wire)

    @property
    def above(self):
        return self.layer.receiver

    def opened(self, request=REQUEST, rest=b""):
        self.layer.received(request + rest)
        head, _, after = self.wire.sent.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), self.wire.sent
        self.wire.sent = after
        return self

    def frame(self, opcode, data=b"", fin=True, **bits):
        self.layer.received(Frame(opcode, data, fin, **bits).serialize(mask=True))

    def sent(self):
        """The frames that were sent since the last call, parsed by the library."""
        peer = ClientProtocol(parse_uri("ws://x/"), state=State.OPEN, max_size=None)
        data, self.wire.sent = self.wire.sent, b""
        peer.receive_data(data)
        assert peer.parser_exc is None
        return [(one.opcode, bytes(one.data)) for one in peer.events_received()]

    @property
    def answer(self):
        """The status and the body of the answer that was sent."""
        head, _, body = self.wire.sent.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), body.decode()


def code_of(frames):
    """The code of the Close frame, which is the last one."""
    opcode, payload = frames[-1]
    assert opcode is CLOSE
    return struct.unpack("!H", payload[:2])[0]


def test_the_handshake_is_that_of_the_rfc():
    made = Made()
    made.layer.received(REQUEST)
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in made.wire.sent  # RFC 6455 1.3
    assert b"Sec-WebSocket-Extensions" not in made.wire.sent
    assert made.wire.facts.shape is Shape.MESSAGE
    assert made.wire.facts.path == "/echo"


@given(st.lists(st.integers(1, 400), max_size=12))
@settings(max_examples=30, deadline=None)
def test_any_split_of_the_input_gives_the_same_messages(cuts):
    frames = [
        Frame(TEXT, "grüße".encode()),
        Frame(BINARY, b"\xff" * 200),
        Frame(TEXT, b"\xc3", fin=False),
        Frame(PING, b"in between"),
        Frame(CONT, b"\xa4"),
        Frame(TEXT, b""),
    ]
    data = REQUEST + b"".join(frame.serialize(mask=True) for frame in frames)
    made = Made()
    for cut in cuts:
        made.layer.received(data[:cut])
        data = data[cut:]
        if not data:
            break
    made.layer.received(data)
    assert made.above.told == [("grüße".encode(), True), (b"\xff" * 200, False), ("ä".encode(), True), (b"", True)]
    assert made.wire.sent.endswith(b"\x8a\x0ain between")


@pytest.mark.parametrize(
    ("data", "text", "opcode"),
    [
        (b"a", True, TEXT),
        (b"a", False, BINARY),
        (b"a", None, TEXT),
        (b"\xff", None, BINARY),
        (b"\xff", True, BINARY),
        (b"", True, TEXT),
        ("ä".encode(), None, TEXT),
        (b"x" * 126, False, BINARY),
        (b"x" * 65_536, False, BINARY),
    ],
)
def test_a_message_is_text_only_if_it_may_be(data, text, opcode):
    made = Made().opened()
    made.above.below.write(data, text)
    assert made.sent() == [(opcode, data)]


def test_pause_stops_between_two_messages():
    made = Made(lambda: Above(pauses=True)).opened()
    data = b"".join(Frame(TEXT, b"%d" % number).serialize(mask=True) for number in range(3))
    made.layer.received(data)
    assert (made.above.told, made.wire.reads) == ([(b"0", True)], False)
    made.above.pauses = False
    made.above.below.resume()
    assert (made.above.told[1:], made.wire.reads) == ([(b"1", True), (b"2", True)], True)


def test_many_frames_of_one_read_wait_for_the_work_budget():
    later = []
    made = Made(work=WorkBudget(lambda _, call: later.append(call))).opened()
    made.layer.received(Frame(TEXT, b"").serialize(mask=True) * 1000)
    counts = [len(made.above.told)]
    while later:
        assert made.wire.reads is (counts[-1] == 1000)
        later.pop(0)()
        counts.append(len(made.above.told))
    assert counts[-1] == 1000
    assert max(later - earlier for earlier, later in zip([0, *counts], counts, strict=False)) < 100
    assert made.wire.reads


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([(TEXT, b"\xff", True)], 1007),
        ([(TEXT, b"\xc3", False), (CONT, b"a", True)], 1007),
        ([(TEXT, b"\xc3", False), (CONT, b"", True)], 1007),
        ([(CONT, b"a", True)], 1002),
        ([(TEXT, b"a", False), (TEXT, b"b", True)], 1002),
        ([(BINARY, b"x" * 101, True)], 1009),
        ([(BINARY, b"x" * 50, False), (CONT, b"x" * 51, False)], 1009),
        ([(BINARY, b"", False)] + [(CONT, b"", False)] * 101, 1009),
        ([(CLOSE, b"\x03", True)], 1002),
        ([(CLOSE, b"\x03\xe8\xff", True)], 1007),
        ([(CLOSE, b"\x03\xed", True)], 1002),
    ],
    ids=range(11),
)
def test_wrong_frames_end_the_connection_with_their_code(frames, code):
    made = Made(message=100).opened()
    for opcode, data, fin in frames:
        made.frame(opcode, data, fin)
    assert code_of(made.sent()) == code
    assert made.wire.ended == "closed"
    assert made.above.told == []
    kind = MessageTooLarge if code == 1009 else ProtocolError
    assert isinstance(made.wire.facts.error, kind)
    made.frame(TEXT, b"after the end")
    made.above.below.write(b"after the end")
    assert (made.sent(), made.above.told) == ([], [])


@pytest.mark.parametrize(
    "raw",
    [
        b"\x81\x01a",  # not masked
        b"\x83\x80\0\0\0\0",  # a reserved opcode
        b"\xc1\x80\0\0\0\0",  # compressed without an extension
        b"\x09\x80\0\0\0\0",  # a fragmented ping
        b"\x89\xfe\0\x7e\0\0\0\0" + bytes(126),  # a long ping
    ],
    ids=range(5),
)
def test_wrong_headers_of_frames_are_protocol_errors(raw):
    made = Made().opened(rest=raw)
    assert code_of(made.sent()) == 1002


def test_a_frame_of_an_enormous_length_is_refused_at_its_header():
    made = Made().opened(rest=b"\x82\xff" + struct.pack("!Q", 2**62) + b"mask")
    assert code_of(made.sent()) == 1009


def test_a_flood_of_pings_is_refused():
    made = Made().opened()
    for _ in range(CONTROL):
        made.frame(PING)
    assert len(made.sent()) == CONTROL
    made.clock.advance(1)
    made.frame(PING, b"later")
    assert made.sent() == [(PONG, b"later")]
    for _ in range(CONTROL):
        made.frame(PONG)
    assert code_of(made.sent()) == 1008


def test_incomplete_messages_of_all_connections_are_bounded():
    budget = SendBudget()
    mark = budget.mark(400_000)
    holding, another = (Made(mark=mark).opened() for _ in range(2))
    holding.frame(BINARY, bytes(300_000), fin=False)
    assert budget.total == 300_000
    another.frame(BINARY, bytes(60_000), fin=False)  # one read is not counted
    assert budget.total == 300_000
    another.frame(CONT, bytes(60_000), fin=False)
    assert code_of(another.sent()) == 1013
    assert isinstance(another.wire.facts.error, MessageTooLarge)
    assert budget.total == 300_000
    holding.frame(CONT, b"end")
    assert (len(holding.above.told[0][0]), budget.total) == (300_003, 0)
    holding.layer.received(Frame(BINARY, bytes(100_000)).serialize(mask=True)[:-1])
    assert budget.total == 99_999  # without the head of the frame
    holding.layer.lost(ConnectionDone())
    assert budget.total == 0


def test_the_peers_close_is_answered_after_the_last_reply():
    made = Made().opened()
    made.frame(TEXT, b"a")
    made.frame(CLOSE, b"\x03\xe9bye")
    assert made.above.told == [(b"a", True), "ended"]
    made.above.below.write(b"the reply")
    made.above.below.close()
    assert made.sent() == [(TEXT, b"the reply"), (CLOSE, b"\x03\xe9bye")]
    assert made.wire.ended == "closed"


def test_a_close_within_a_fragmented_message_is_answered():
    """Case 7.1.5 of the Autobahn suite."""
    made = Made().opened()
    made.frame(TEXT, b"a", fin=False)
    made.frame(CLOSE, b"\x03\xe8")
    assert made.above.told == ["ended"]
    made.above.below.close()
    assert made.sent() == [(CLOSE, b"\x03\xe8")]


def test_a_receiver_that_does_not_close_after_the_peers_close_is_closed():
    made = Made().opened()
    made.frame(CLOSE, b"")
    made.clock.advance(LINGER)
    assert (made.sent(), made.wire.ended) == ([(CLOSE, b"")], "closed")


@pytest.mark.parametrize(("going_away", "code"), [(False, 1000), (True, 1001)])
def test_close_sends_a_close_frame_and_waits_for_the_peers(going_away, code):
    made = Made().opened()
    made.wire.facts.going_away = going_away
    made.above.below.close()
    assert (code_of(made.sent()), made.wire.ended) == (code, "")
    made.frame(TEXT, b"dropped")
    assert made.above.below.dropped == 7
    made.frame(CLOSE, struct.pack("!H", code))
    assert (made.wire.ended, made.above.told) == ("closed", [])


def test_a_peer_that_does_not_answer_close_is_reset():
    made = Made().opened()
    made.above.below.close()
    made.clock.advance(LINGER - 0.1)
    assert made.wire.ended == ""
    made.clock.advance(0.1)
    assert (made.wire.ended, type(made.wire.reason)) == ("reset", LingerTimeout)


def test_unsent_output_extends_the_wait_for_the_peers_close():
    made = Made().opened()
    made.wire.room = 0
    made.above.below.write(b"slow")
    made.above.below.close()
    made.clock.advance(LINGER)
    assert made.wire.ended == ""
    made.wire.unsent = 0
    made.clock.advance(LINGER)
    assert made.wire.ended == "reset"


def test_close_without_linger_waits_for_nothing():
    made = Made().opened()
    made.above.below.close(0)
    assert (code_of(made.sent()), made.wire.ended) == (1000, "closed")


def test_finish_sends_close_and_still_receives():
    made = Made().opened()
    made.above.below.finish()
    made.above.below.write(b"after the end")
    assert code_of(made.sent()) == 1000
    made.frame(TEXT, b"still read")
    made.frame(CLOSE, b"\x03\xe8")
    assert made.above.told == [(b"still read", True), "ended"]


def test_a_fin_without_close_is_a_truncated_end():
    made = Made().opened()
    made.layer.ended()
    assert (made.above.told, made.wire.facts.truncated) == (["ended"], True)
    made.above.below.close()
    assert made.wire.ended == "closed"


def test_no_timer_is_left_after_the_end():
    made = Made().opened()
    made.above.below.close()
    made.layer.lost(ConnectionDone())
    assert not made.clock.getDelayedCalls()
    assert made.above.told == [ConnectionDone]


def test_unsent_is_the_bytes_of_messages_and_never_too_small():
    made = Made().opened()
    made.wire.room = 0
    made.above.below.write(b"x" * 10)
    assert made.above.below.unsent == 10
    made.above.below.write(b"")
    assert made.above.below.unsent == 11
    made.wire.unsent = 3
    assert made.above.below.unsent == 3
    made.wire.unsent = 0
    assert made.above.below.unsent == 0
    made.frame(PING, b"pong")
    assert (made.wire.unsent, made.above.below.unsent) == (6, 1)


def test_a_peer_that_reads_no_pongs_is_disconnected_after_stall():
    ends = []
    conversation = Conversation(
        Echo().session,
        "ws",
        Limits(stall=10.0, idle=300.0),
        Counters(open=1),
        lambda _conversation, reason: ends.append(reason),
    )
    made = Made(lambda: conversation).opened()
    made.wire.room = 0
    made.frame(PING, b"x" * 125)
    made.layer.stuck()
    assert not made.wire.reads
    for now in (0.0, 9.0):
        conversation.watch(now)
    assert made.wire.ended == ""
    conversation.watch(10.0)
    assert made.wire.ended == "reset"
    made.layer.lost(ConnectionAborted())
    assert ends == [Closing.STALL]


def test_signs_of_life_change_the_activity():
    made = Made().opened()
    before = made.wire.facts.activity
    made.above.below.keep_alive()
    assert made.sent() == [(PING, b"")]
    made.frame(PONG)
    assert made.wire.facts.activity > before
    assert made.above.told == []


# the request


def ask(request, **settings):
    """The answer to a request, which is not an upgrade or is refused."""
    made = Made(**settings)
    made.layer.received(request.replace("\n", "\r\n").encode("latin-1"))
    assert made.wire.ended == "closed"
    assert made.layer.receiver is None
    assert not made.clock.getDelayedCalls()[1:]
    return made


def test_a_proxy_header_of_version_2_is_named():
    made = Made()
    made.layer.received(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12))
    assert made.answer == (400, "this is a PROXY header, and the address has no ?proxy=; expected an HTTP request\n")


PATHS = "the WebSocket paths are /echo, /upper\n/echo  echo\n/upper  upper\n"
UPGRADE = (
    "GET {path} HTTP/1.1\nHost: {host}\nUpgrade: websocket\nConnection: Upgrade\n"
    "Sec-WebSocket-Key: {key}\nSec-WebSocket-Version: {version}\n{more}\n"
)


def upgrade(path="/echo", host="127.0.0.1:8007", key="dGhlIHNhbXBsZSBub25jZQ==", version=13, more=""):
    return UPGRADE.format(path=path, host=host, key=key, version=version, more=more)


@pytest.mark.parametrize(
    ("request_", "status", "text"),
    [
        ("GET /echo HTTP/1.1\nHost: x\n\n", 426, "/echo: this is the WebSocket service echo; "),
        ("GET /none HTTP/1.1\nHost: x\n\n", 404, f"/none: this path does not exist; {PATHS}"),
        ("POST /echo HTTP/1.1\nHost: x\n\n", 405, "method POST: expected GET"),
        ("GET /echo HTTP/1.1\n\n", 400, "not a valid HTTP/1.1 request: expected one Host header"),
        ("GET /echo HTTP/1.1\nHost: a\nHost: b\n\n", 400, "not a valid HTTP/1.1 request: expected one Host header"),
        ("GET echo HTTP/1.1\nHost: x\n\n", 400, "not a valid HTTP/1.1 request: the target echo must begin with /"),
        ("GET /echo HTTP/2.0\nHost: x\n\n", 505, "HTTP/2.0 is not supported; expected HTTP/1.1 or HTTP/1.0"),
        ("GET /echo HTTP/0.9\n\n", 505, "HTTP/0.9 is not supported; expected HTTP/1.1 or HTTP/1.0"),
        ("GET /echo HTTP/2\nHost: x\n\n", 400, "not a valid HTTP/1.1 request: "),
        ("GET /echo\n\n", 400, "not a valid HTTP/1.1 request: "),
        ("GET /echo HTTP/1.1\nHost x\n\n", 400, "not a valid HTTP/1.1 request: invalid HTTP header line"),
        ("GET /\u00e9 HTTP/1.1\nHost: x\n\n", 400, "not a valid HTTP/1.1 request: a byte in its head is not ASCII"),
        ("GET /echo HTTP/1.1\nHost: x\nContent-Length: 4\n\nbody", 400, "not a valid HTTP/1.1 request: unsupported"),
        ("\x16\x03\x01\x02", 400, "this is a TLS handshake, and the address is ws://, without TLS; expected"),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n" + upgrade(), 400, "this is a PROXY header, and the address has no"),
        ("\x16\x02", 400, "this is not an HTTP request"),
        ("x" * 33, 400, "this is not an HTTP request"),
        ("GET /" + "x" * 20_000, 431, "the head of the request has more than 16384 bytes"),
        (upgrade(path="/no\x1b[31m"), 404, "/no\\x1b[31m: this path does not exist"),
        (upgrade(path="/no%1b"), 404, "/no\\x1b: this path does not exist"),
        (upgrade(version=8), 426, "Sec-WebSocket-Version 8: expected 13"),
        (upgrade(key="c2hvcnQ="), 400, "the WebSocket handshake is wrong: invalid Sec-WebSocket-Key header"),
        (upgrade().replace("Connection: Upgrade", "X: y"), 400, "the WebSocket handshake is wrong: missing Connection"),
        (upgrade().replace("GET", "HEAD"), 405, "method HEAD: a WebSocket needs GET"),
        (upgrade().replace("HTTP/1.1", "HTTP/1.0"), 505, "HTTP/1.0: a WebSocket needs HTTP/1.1"),
        (upgrade(more="Origin: http://evil.example\n"), 403, "Origin http://evil.example is not allowed"),
        (upgrade(more="Origin: null\n"), 403, "Origin null is not allowed"),
        (upgrade(host="evil.example", more="Origin: http://evil.example\n"), 403, "Host evil.example is not allowed"),
        (upgrade(more="Origin: http://127.0.0.1:9999\n"), 403, "Origin http://127.0.0.1:9999 is not allowed"),
    ],
    ids=range(29),
)  # fmt: skip
def test_what_cannot_be_accepted_is_answered_with_a_status_and_a_line(request_, status, text):
    made = ask(request_)
    answered, body = made.answer
    assert (answered, body[: len(text)]) == (status, text)
    assert b"\x1b" not in made.wire.sent
    if status == 426:
        assert b"Sec-WebSocket-Version: 13\r\n" in made.wire.sent


@pytest.mark.parametrize(
    "request_",
    [
        "GET /echo HTTP/1.1\nHost: x\nX" + "\xff" * 8000 + "\n\n",
        "GET /echo HTTP/1.1\nHost: x\nX: \x1b" + "a" * 8000 + "\n\n",
        upgrade(key="a" * 8000),
        upgrade(more="Sec-WebSocket-Extensions: " + "," * 8000 + "\n"),
    ],
    ids=["name", "value", "key", "extensions"],
)
def test_a_long_text_of_a_client_is_cut_in_the_answer_and_in_the_log(request_):
    made = ask(request_, compression=True)
    assert made.answer[0] == 400
    assert len(made.answer[1]) < 1000
    assert len(str(made.wire.facts.error)) < 1000


@pytest.mark.parametrize(
    ("host", "origin", "settings"),
    [
        ("127.0.0.1:8007", "http://127.0.0.1:8007", {}),
        ("localhost:8007", "http://localhost:8007", {}),
        ("[::1]:8007", "http://[::1]:8007", {}),
        ("LOCALHOST.:8007", "http://localhost.:8007", {}),
        ("echo.example", "https://echo.example", {"hosts": ("echo.example",)}),
        ("127.0.0.1:8007", "https://page.example", {"origins": ("https://page.example",)}),
        ("127.0.0.1:8007", "null", {"origins": ("*",)}),
        ("any.example", None, {}),
    ],
)
def test_own_and_configured_origins_are_accepted(host, origin, settings):
    more = f"Origin: {origin}\n" if origin else ""
    Made(**settings).opened(upgrade(host=host, more=more).replace("\n", "\r\n").encode())


def test_a_path_with_escapes_is_the_same_path():
    made = Made().opened(upgrade(path="/%65cho?who=me").replace("\n", "\r\n").encode())
    assert made.wire.facts.path == "/echo"
    assert made.wire.facts.learned["websocket"]["query"] == "who=me"


def test_a_subprotocol_is_chosen_in_the_order_of_the_server():
    more = "Sec-WebSocket-Protocol: c, b, a\n"
    made = Made(subprotocols=("a", "b"))
    made.layer.received(upgrade(more=more).replace("\n", "\r\n").encode())
    assert b"\r\nSec-WebSocket-Protocol: a\r\n" in made.wire.sent
    made = Made(subprotocols=("x",))
    made.layer.received(upgrade(more=more).replace("\n", "\r\n").encode())
    assert made.wire.sent.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Protocol" not in made.wire.sent


def test_a_page_answers_get_and_head_and_is_an_answered_connection():
    asked = []

    def answer(request, resource, resources):
        asked.append((request.method, request.path, resource and resource.kind, len(resources)))
        return Answer(200, b"<p>", "text/html")

    made = ask("GET /upper?x HTTP/1.1\nHost: x\n\n", answer=answer)
    assert made.answer == (200, "<p>")
    assert isinstance(made.wire.facts.error, Answered)
    assert ask("HEAD /none HTTP/1.1\nHost: x\n\n", answer=answer).answer == (200, "")
    assert asked == [("GET", "/upper", "upper", 2), ("HEAD", "/none", None, 2)]
    assert ask("GET /echo HTTP/1.1\nHost: x\n\n", answer=answer, page=False).answer[0] == 426


def test_a_client_that_the_gate_refuses_gets_no_answer():
    made = Made(Rejection)
    made.layer.received(REQUEST)
    assert (made.wire.sent, made.wire.ended) == (b"", "reset")


def test_the_handshake_has_an_absolute_deadline():
    made = Made()
    for byte in REQUEST[:9]:
        made.clock.advance(1)
        made.layer.received(bytes([byte]))
    made.clock.advance(1)
    assert made.wire.ended == "reset"
    assert isinstance(made.wire.facts.error, HandshakeTimeout)


def test_a_refused_request_ends_the_deadline_of_the_handshake():
    made = Made()
    made.layer.received(b"GET /none HTTP/1.0\r\n\r\n")
    assert made.wire.ended == "closed"
    refused = made.wire.facts.error
    made.clock.advance(100)
    assert made.wire.ended == "closed"
    assert made.wire.facts.error is refused


# compression


def compressed(**settings):
    made = Made(compression=True, **settings)
    more = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\n"
    made.layer.received(upgrade(more=more).replace("\n", "\r\n").encode())
    head, _, made.wire.sent = made.wire.sent.partition(b"\r\n\r\n")
    assert b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=12; client_max_window_bits=12" in head
    return made


def deflated(data):
    import zlib

    deflate = zlib.compressobj(wbits=-12)
    return (deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")


def test_compressed_messages_are_passed_up_whole():
    made = compressed()
    payload = deflated(b"a" * 5000)
    head = bytes((0xC1, 0x80 | len(payload))) + bytes(4)
    made.layer.received(head + payload)
    assert made.above.told == [(b"a" * 5000, True)]
    made.above.below.write(b"b" * 5000)
    assert made.wire.sent[0] == 0xC1
    assert len(made.wire.sent) < 100


def test_a_deflate_bomb_is_refused():
    made = compressed()
    payload = deflated(bytes(1 << 21))
    made.layer.received(b"\xc2\xfe" + struct.pack("!H", len(payload)) + bytes(4) + payload)
    assert code_of([(CLOSE, made.wire.sent[2:])]) == 1009
    assert made.above.told == []


# the client


class Dialled:
    """A client's layer that is connected to a server's layer."""

    def __init__(self, server=None, **options):
        self.server = server or Made()
        self.clock = Clock()
        self.wire = Wire(Facts(Inet("127.0.0.1", 40_000), Inet("127.0.0.1", 7)))
        self.shown = []
        self.layer = WebSocketClient(
            Above,
            self.clock,
            10.0,
            options.pop("address", parse("ws://127.0.0.1:8007/echo")),
            message=1 << 20,
            show=lambda direction, head: self.shown.append((direction, head)),
            **options,
        )
        self.layer.begin(self.wire)
        self.exchange()

    def exchange(self):
        while self.wire.sent or self.server.wire.sent:
            sent, self.wire.sent = self.wire.sent, b""
            if sent:
                self.server.layer.received(sent)
            sent, self.server.wire.sent = self.server.wire.sent, b""
            if sent:
                self.layer.received(sent)


def test_a_client_connects_sends_and_closes():
    made = Dialled(subprotocols=["a"], server=Made(subprotocols=("a",)), headers=[("X-Own", "1")])
    assert [direction for direction, _ in made.shown] == [">", "<"]
    assert b"GET /echo HTTP/1.1\r\nHost: 127.0.0.1:8007\r\n" in made.shown[0][1]
    assert b"\r\nX-Own: 1\r\n" in made.shown[0][1]
    assert made.shown[1][1].endswith(b"\r\n\r\n")
    made.layer.write("ä".encode())
    made.layer.write(b"\0\xff")
    made.exchange()
    assert made.server.above.told == [("ä".encode(), True), (b"\0\xff", False)]
    made.server.above.below.write(b"back", False)
    pongs = []
    made.layer.on_pong = pongs.append
    made.layer.ping(b"1")
    made.exchange()
    assert (made.layer.receiver.told, pongs) == ([(b"back", False)], [b"1"])
    made.layer.close()
    made.exchange()
    assert made.server.above.told[-1] == "ended"
    made.server.above.below.close()
    made.exchange()
    assert (made.wire.ended, made.server.wire.ended) == ("closed", "closed")


def test_a_client_compresses_if_both_sides_do():
    made = Dialled(compression=True, server=Made(compression=True))
    made.layer.write(b"x" * 10_000)
    assert len(made.wire.sent) < 100
    made.exchange()
    assert made.server.above.told == [(b"x" * 10_000, True)]


def test_a_client_reports_the_refusal_of_the_server():
    made = Dialled(address=parse("ws://127.0.0.1:8007/none"))
    assert str(made.wire.facts.error) == (
        "HTTP 404 Not Found: /none: this path does not exist; the WebSocket paths are /echo, /upper"
    )
    assert (made.wire.ended, made.layer.receiver) == ("reset", None)


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (b"SSH-2.0-x\r\n\r\n", "the response is not valid HTTP/1.1: "),
        (b"HTTP/1.1 101 OK\r\n\r\n", "missing Connection header"),
        (b"x" * 20_000, "the head of the response has more than 16384 bytes"),
        (
            b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: \x1b[0m\r\n\r\n",
            "the response is not valid HTTP/1.1: invalid HTTP header value: \\x1b[0m",
        ),
    ],
    ids=range(4),
)
def test_a_client_reports_a_wrong_response(response, why):
    made = Dialled()
    other = Wire(Facts(Inet("127.0.0.1", 40_000), Inet("127.0.0.1", 7)))
    layer = WebSocketClient(Above, made.clock, 10.0, parse("ws://x:7/"), message=1)
    layer.begin(other)
    layer.received(response)
    assert str(other.facts.error).startswith(why)
    assert other.ended == "reset"


def test_a_client_reports_a_server_that_closes_before_its_response():
    wire = Wire(Facts(Inet("127.0.0.1", 40_000), Inet("127.0.0.1", 7)))
    layer = WebSocketClient(Above, Clock(), 10.0, parse("ws://x:7/"), message=1)
    layer.begin(wire)
    layer.received(b"HTTP/1.1 101 ")
    layer.ended()
    assert "closed the connection before its response" in str(wire.facts.error)

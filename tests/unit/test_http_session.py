"""echod.admin: requests in any pieces, limits, timeouts and permissions. Each request gets a response or a close."""

import json

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from echod.admin.access_control import AdminOptions, AdminService
from echod.admin.resources import MOST_ASKED, DaemonResources, ReloadResult
from echod.events import Counters
from echod.gate.admin_limits import MOST, admin_limits
from echod.gate.work_budget import PORTION, TURN, WorkBudget
from echod.http.messages import SLICE, Answer, error_answer, of_json
from echod.http.session import AHEAD, BODY, EVENT, HEAD, PATIENCE, PIECE, REQUEST, SILENCE, HTTPSession
from echod.model import Context, End, Peer
from echod.services.chat import Chat
from echod.services.recording import Recorder
from echod.socket_names import Inet, UnixName
from echod.telemetry.metrics import MetricsCollector, ProcessMetrics
from echod.telemetry.recent_events import RecentEvents
from tests.turns import Turns

AT_ONCE, STREAMS = MOST.at_once, MOST.streams
LOCAL = Peer("unix", UnixName("/run/admin"), UnixName(""), user=0)
REMOTE = Peer("tcp", Inet("127.0.0.1", 10090), Inet("127.0.0.1", 5))


class Client:
    """One connection, and all bytes received on it."""

    def __init__(self, handler=None, service=None, peer=LOCAL):
        self.peer = peer
        self.now = 0.0
        self.data = b""
        self.more = None
        self.reads = True
        self.end = End.NOTHING
        if service is None:
            self.session = HTTPSession(peer, self.take, handler or told, lambda: self.now)
        else:
            self.session = service.session(peer, self.take)
        self.take(self.session.opened())

    def take(self, reply):
        """A transport whose client reads everything at once, or (`reads` is False) does not read."""
        self.data += reply.data or b""
        if reply.more is not None:
            self.more = reply.more
            self.pull()
        if reply.end is not End.NOTHING:
            self.end = reply.end

    def pull(self, most=None):
        """Pull at most `most` pieces, as the transport does when it can send."""
        pulled = 0
        while self.more is not None and (self.reads if most is None else pulled < most):
            piece = next(self.more, None)
            if piece is None:
                self.more = None
            elif piece:
                self.data += piece
                pulled += 1

    def send(self, data):
        if self.end is End.NOTHING:
            self.take(self.session.received(data))

    @property
    def answers(self):
        """Status and body of each response."""
        if not self.data:
            return []
        http, found, body, status = h11.Connection(h11.CLIENT), [], b"", 0
        http.receive_data(self.data)
        while True:
            if http.our_state is h11.IDLE:
                http.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
                http.send(h11.EndOfMessage())
            event = http.next_event()
            if event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                return found
            if isinstance(event, h11.Response):
                status, body = event.status_code, b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                found.append((status, bytes(body)))
                if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                    return found
                http.start_next_cycle()


def told(request, respond):
    respond(of_json([request.method, request.path, dict(request.query), request.body.decode("latin-1")]))


def asking(target="/", method="GET", headers=(), body=b""):
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@given(st.data())
def test_requests_are_parsed_in_any_pieces(data):
    whole = asking("/a?b=1") + asking("/c", "POST", body=b"hello") + asking("/d")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    client = Client()
    for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        if begin < end:
            client.send(whole[begin:end])
    said = [json.loads(body) for status, body in client.answers if status == 200]
    assert said == [["GET", "/a", {"b": "1"}, ""], ["POST", "/c", {}, "hello"], ["GET", "/d", {}, ""]]
    assert client.end is End.NOTHING


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8))
def test_any_input_gets_a_response_waits_or_closes(pieces):
    client = Client()
    for piece in pieces:
        client.send(piece)
    assert all(status in (200, 400, 408, 413, 431, 501, 505) for status, _ in client.answers)
    client.take(client.session.ended())
    client.session.lost()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\xff\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/9\r\nHost: x\r\n\r\n", 400),
        (asking(headers=["A: " + "x" * HEAD]), 431),
        (asking(method="POST", body=b"x" * (BODY + 1)), 413),
        (asking(method="POST", headers=["Content-Length: 3", "Content-Length: 4"]), 400),
        (asking("x:1", "CONNECT"), 501),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\n\r\n", 505),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/2\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/11.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / http/1.1\r\nHost: x\r\n\r\n", 400),
    ],
)
def test_an_invalid_request_gets_an_error_and_a_close(sent, status):
    client = Client()
    client.send(sent)
    [(answered, body)] = client.answers
    assert answered == status
    assert json.loads(body)["error"]
    assert body.count(b"\n") == 1
    assert client.end is End.CLOSE


def test_another_major_version_is_not_answered_as_version_1():
    client = Client()
    client.send(b"GET /a HTTP/2.0\r\nHost: x\r\n\r\n")
    assert json.loads(client.answers[0][1]) == {"error": "HTTP/2.0 is not supported; expected HTTP/1.1 or HTTP/1.0"}
    assert client.data.startswith(b"HTTP/1.1 505 HTTP Version Not Supported\r\n")


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.9"])
def test_each_minor_version_of_version_1_is_served(version):
    client = Client()
    client.send(f"GET /a HTTP/{version}\r\nHost: x\r\n\r\n".encode())
    assert client.answers == [(200, b'["GET", "/a", {}, ""]\n')]
    assert client.end is (End.NOTHING if version != "1.0" else End.CLOSE)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"\0hi'\x1b\\\r\n\r\n", "illegal request line: \\x00hi'\\x1b\\"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nb\xff: 1\r\n\r\n", r"illegal header line: b\xff: 1"),
        (b"y" * 300 + b"\r\n\r\n", f"illegal request line: {'y' * 128}…"),
    ],
    ids=["request", "header", "long"],
)
def test_the_bytes_of_an_invalid_request_are_shown_as_text(sent, shown):
    client = Client()
    client.send(sent)
    assert json.loads(client.answers[0][1])["error"] == f"not a valid HTTP/1.1 request: {shown}"


def test_the_timeout_of_a_request_is_not_restarted_by_bytes():
    client = Client()
    for _ in range(int(PATIENCE)):
        client.send(b"GET"[:1] if not client.data else b"x")
        client.now += 1
        client.session.overdue(client.now)
    assert [status for status, _ in client.answers] == [408]
    assert client.end is End.CLOSE


def test_the_idle_timeout_starts_again_after_each_request():
    client = Client()
    client.send(asking())
    client.now = SILENCE - 1
    assert not client.session.overdue(client.now)
    client.send(asking())
    client.now += SILENCE - 1
    assert not client.session.overdue(client.now)
    client.now += 1
    assert client.session.overdue(client.now)
    assert [status for status, _ in client.answers] == [200, 200]
    assert client.end is End.CLOSE


def test_requests_after_a_delayed_response_are_bounded():
    later = []
    client = Client(lambda request, respond: later.append((request, respond)))
    client.send(asking("/slow") + asking("/next"))
    client.now = 1000.0
    assert not client.session.overdue(client.now)
    assert client.answers == []
    later[0][1](of_json("done"))
    assert [body for _, body in client.answers] == [b'"done"\n']
    assert later[1][0].path == "/next"
    client.send(b"x" * (AHEAD + 1))
    assert client.end is End.RESET
    client.session.lost()
    later[1][1](of_json("no client"))


class Events:
    """A feed whose events the test queues."""

    def __init__(self, wake, end, *queued):
        self.queue = list(queued)
        self.wake = wake
        self.end = end
        self.closed = 0

    def put(self, line):
        self.queue.append(line)
        self.wake()

    def pieces(self):
        while self.queue:
            yield self.queue.pop(0)

    def close(self):
        self.closed += 1


def streaming(*queued):
    """A client of a stream, and the feeds that were created for it."""
    feeds = []

    def attach(wake, end):
        feeds.append(Events(wake, end, *queued))
        return feeds[-1]

    return Client(lambda request, respond: respond(Answer(200, stream=attach))), feeds


def test_a_stream_continues_until_the_client_leaves():
    client, feeds = streaming()
    client.send(asking())
    [feed] = feeds
    feed.put(b"one\n")
    feed.put(b"two\n")
    client.now = 10_000.0
    assert not client.session.overdue(client.now)
    assert b"one\n" in client.data
    assert b"two\n" in client.data
    assert not feed.closed
    client.session.lost()
    assert feed.closed == 1
    feed.put(b"three\n")
    assert b"three" not in client.data


def test_events_that_the_client_does_not_read_stay_in_the_queue():
    client, feeds = streaming()
    client.send(asking())
    client.reads = False
    for number in range(100):
        feeds[0].put(b"line %d\n" % number)
    assert len(feeds[0].queue) == 100
    client.pull(3)
    assert len(feeds[0].queue) == 97
    client.reads = True
    client.pull()
    feeds[0].put(b"last\n")
    assert feeds[0].queue == []
    client.session.ended()
    assert feeds[0].closed == 1
    feeds[0].put(b"unread event\n")
    assert client.data.count(b"line") == 100
    assert b"last" in client.data


def test_the_next_request_after_a_stream_gets_a_response():
    client, feeds = streaming(b"one\n")
    client.send(asking())
    feeds[0].queue.append(b"two\n")
    feeds[0].end()
    assert client.answers == [(200, b"one\ntwo\n")]
    feeds[0].end()  # as before
    assert client.end is End.NOTHING
    client.send(asking())
    feeds[0].end()  # of a response that has left: it ends no other
    feeds[0].wake()
    assert client.answers == [(200, b"one\ntwo\n")]
    feeds[1].end()
    assert client.answers == [(200, b"one\ntwo\n"), (200, b"one\n")]
    client.session.lost()
    assert [feed.closed for feed in feeds] == [0, 0], "a feed that has ended is not closed"


def test_the_next_request_is_read_when_the_last_response_is_sent():
    """A client that sends requests and does not read causes at most one response."""
    taken = []

    def handler(request, respond):
        taken.append(request.path)
        respond(of_json(request.path))

    client = Client(handler)
    client.reads = False
    client.send(asking("/1") + asking("/2") + asking("/3"))
    client.send(asking("/4"))
    assert taken == []
    client.pull(1)
    assert taken == ["/1"], "its head has been pulled, and its body not"
    for _ in range(8):
        client.pull(1)
        assert len(taken) <= 1 + len(client.answers)
    client.reads = True
    client.pull()
    assert taken == ["/1", "/2", "/3", "/4"]
    assert [body for _, body in client.answers] == [b'"/1"\n', b'"/2"\n', b'"/3"\n', b'"/4"\n']


def test_a_body_is_created_in_pieces_as_the_client_reads():
    built = []

    def body():
        for number in range(1000):
            built.append(number)
            yield b"%d\n" % number

    client = Client(lambda request, respond: respond(Answer(200, body())))
    client.reads = False
    client.send(asking() + asking())
    client.pull(11)
    assert len(built) == 10
    client.reads = True
    client.pull()
    assert len(client.answers) == 2
    assert client.answers[0][1].count(b"\n") == 1000


def test_a_response_to_head_has_no_body():
    client = Client(service=AdminService(DaemonResources(Known())))
    client.send(asking("/healthz", "HEAD"))
    assert client.data.endswith(b"\r\n\r\n")
    assert b"content-length: 3" in client.data


@pytest.mark.parametrize("status", [204, 304])
def test_a_response_without_a_body_has_no_length(status):
    client = Client(lambda request, respond: respond(Answer(status)))
    client.send(asking() + asking())
    assert client.data.count(b"HTTP/1.1 %d" % status) == 2
    assert b"content-length" not in client.data.lower()


class Known:
    """A view with fixed values."""

    why: str | None = None
    context = Context(clock=lambda: 0.0)
    recent = RecentEvents(lambda _on: None, lambda: 0.0)
    verdict = ReloadResult(opened=1)

    def awaited(self):
        return []

    def unready(self):
        return self.why

    def status(self):
        return {"version": "1"}

    listeners: tuple[tuple[str, str, Counters], ...] = (("echo", "tcp://127.0.0.1:7", Counters(bytes_in=5)),)

    def gather(self, connections, done, order=""):
        done()

    def flush_counters(self):
        yield

    def metrics(self):
        return MetricsCollector(lambda: self.listeners, lambda: FIGURES)

    def connections(self, most, order=""):
        return iter([{"peer": "x"}] * min(most, 3))

    def has_service(self, _name):
        return False

    def faults(self, _name):
        return None

    def recorder(self, name):
        return Recorder(1000) if name == "echo" else None

    def console(self, _name):
        return None

    def reload(self, done):
        done(self.verdict)


FIGURES = ProcessMetrics(
    started=1.0,
    ready=True,
    lines_lost=2,
    lines_suppressed=6,
    events_lost=3,
    internal_errors=7,
    unsent=8,
    missed=0,
    readers_ended=0,
    reloads={"kept": 4, "refused": 5},
    last_reload_took=True,
)


def ask(request, peer=LOCAL, view=None):
    client = Client(service=AdminService(DaemonResources(view or Known())), peer=peer)
    client.send(request)
    [(status, body)] = client.answers
    return status, body


def test_each_resource_has_its_body():
    assert ask(asking("/healthz")) == (200, b"ok\n")
    assert ask(asking("/readyz")) == (200, b"ready\n")
    assert ask(asking("/api/status")) == (200, b'{"version": "1"}\n')
    assert ask(asking("/api/connections?limit=2")) == (200, b'[{"peer": "x"}, {"peer": "x"}]\n')
    figures = b'"opened": 1, "closed": 0, "changed": 0'
    reloaded = b'{"reloaded": true, %b, "changes": [], "notes": []}\n' % figures
    assert ask(asking("/api/reload", "POST")) == (200, reloaded)
    assert b"POST /api/reload" in ask(asking("/"))[1]


def test_metrics_have_both_formats():
    status, body = ask(asking("/metrics"))
    assert status == 200
    assert b'echod_received_bytes_total{address="tcp://127.0.0.1:7",service="echo"} 5.0' in body
    assert b'echod_reloads_total{verdict="refused"} 5.0' in body
    _, body = ask(asking("/metrics", headers=["Accept: application/openmetrics-text; version=1.0.0"]))
    assert body.endswith(b"# EOF\n")
    assert body.count(b"# EOF\n") == 1


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
def test_metrics_in_parts_equal_those_of_one_encoding(accept):
    view = Known()
    listeners = (
        ("echo", f"tcp://127.0.0.1:{port}", Counters(bytes_in=port, accepted=1)) for port in range(1, 1 + 3 * 64)
    )
    view.listeners = tuple(listeners)
    status, body = ask(asking("/metrics", headers=[f"Accept: {accept}"]), view=view)
    assert status == 200
    families = [line.split()[2] for line in body.decode().splitlines() if line.startswith("# TYPE")]
    assert len(families) == len(set(families)), "a family is listed once"
    for port in (1, 64, 65, 192):
        assert b'echod_received_bytes_total{address="tcp://127.0.0.1:%d",service="echo"} %d.0' % (port, port) in body
    parse = openmetrics if "openmetrics" in accept else text_string_to_metric_families
    assert len({family.name for family in parse(body.decode())}) == len(families)


def test_wrong_paths_and_methods_get_errors():
    view = Known()
    view.why = "stopping"
    view.verdict = ReloadResult(errors=("a", "b"))
    assert ask(asking("/readyz"), view=view) == (503, b"stopping\n")
    assert ask(asking("/api/reload", "POST"), view=view) == (422, b'{"reloaded": false, "errors": ["a", "b"]}\n')
    assert ask(asking("/nothing"))[0] == 404
    assert ask(asking("/api/reload"))[0] == 405
    assert ask(asking("/healthz", "DELETE"))[0] == 405


LIMITS = [
    "0",
    str(MOST_ASKED + 1),
    "9" * 5000,
    "000000001" + "9" * 9,
    "000000001" + "9" * 4400,
    "-1",
    "x",
    "",
    "%31%32x",
    "²",
]


@pytest.mark.parametrize("limit", LIMITS, ids=range(len(LIMITS)))
def test_an_invalid_limit_gets_400(limit):
    assert ask(asking(f"/api/connections?limit={limit.encode().decode('latin-1')}"))[0] in (200, 400)
    if limit:
        assert ask(asking(f"/api/connections?limit={limit.encode().decode('latin-1')}"))[0] == 400


def unix(user, *groups):
    """A client of the Unix socket."""
    return Peer("unix", UnixName("/x"), UnixName(""), user=user, groups=frozenset(groups))


@pytest.mark.parametrize("user", [None, 12345])
def test_another_user_is_forbidden_everything(user):
    for path in ("/healthz", "/metrics", "/api/reload"):
        status, body = ask(asking(path), peer=unix(user))
        assert status == 403
        assert b"run this as root or " in body
    client = Client(service=service_with(), peer=unix(user))
    client.send(asking("/healthz"))
    assert client.end is End.CLOSE, "a user that may not ask keeps no place"


def service_with(view=None, context=None, **options):
    service = AdminService(DaemonResources(view or Known()), context)
    service.options = AdminOptions(**options)
    return service


def ask_with(request, peer, **options):
    client = Client(service=service_with(**options), peer=peer)
    client.send(request)
    [(status, body)] = client.answers
    return status, body


def test_members_of_the_group_may_only_read():
    options = {"group": "ops", "gid": 77}
    member, other = unix(12345, 5, 77), unix(12345, 5, 7)
    assert ask_with(asking("/api/status"), member, **options)[0] == 200
    assert ask_with(asking("/api/status"), other, **options)[0] == 403
    assert b"or join group ops" in ask_with(asking("/api/status"), other, **options)[1]
    assert ask_with(asking("/api/reload", "POST"), member, **options)[0] == 403
    assert ask_with(asking("/api/console/console"), member, **options)[0] == 403
    assert ask_with(asking("/api/received/echo"), member, **options)[0] == 403
    assert ask_with(asking("/api/reload", "OPTIONS"), member, **options)[0] == 200
    assert ask_with(asking("/api/status"), member)[0] == 403, "without a configured group no user is a member"


def test_the_overflow_number_is_not_a_user(monkeypatch):
    """In a user namespace, users and groups of other namespaces all have the overflow number."""
    monkeypatch.setattr("echod.peercred.os.geteuid", lambda: 65_534)
    monkeypatch.setattr("echod.peercred.overflow", lambda _of: 65_534)
    assert ask(asking("/healthz"), peer=unix(65_534))[0] == 403
    assert ask(asking("/healthz"), peer=unix(0))[0] == 200
    monkeypatch.setattr("echod.peercred.overflow", lambda _of: None)
    assert ask(asking("/healthz"), peer=unix(65_534))[0] == 200
    monkeypatch.setattr("echod.admin.access_control.overflow", lambda _of: 65_534)
    assert ask_with(asking("/healthz"), unix(1, 65_534), group="nogroup", gid=65_534)[0] == 403
    monkeypatch.setattr("echod.admin.access_control.overflow", lambda _of: None)
    assert ask_with(asking("/healthz"), unix(1, 65_534), group="nogroup", gid=65_534)[0] == 200


def test_clients_over_tcp_may_only_read():
    assert ask(asking("/healthz"), peer=REMOTE)[0] == 200
    assert ask(asking("/api/reload", "POST"), peer=REMOTE)[0] == 403
    assert ask(asking("/healthz", headers=["Origin: http://evil.example"]), peer=REMOTE)[0] == 403
    assert ask(asking("/healthz", headers=["Origin: http://localhost"]), peer=REMOTE)[0] == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:10090", 200),
        ("192.0.2.7:80", 200),
        ("[::1]", 200),
        ("[::1]:10090", 200),
        ("[fe80::1%25eth0]:1", 200),
        ("::1", 200),
        ("localhost", 200),
        ("LocalHost.:99999", 200),
        ("localhost:", 200),
        ("", 200),
        ("echo.example:10090", 200),
        ("ECHO.example", 200),
        ("rebound.example:10090", 421),
        ("localhost.rebound.example", 421),
        ("127.0.0.1.rebound.example", 421),
        ("other.echo.example", 421),
        ("127.0.0.1:x", 421),
        ("localhost:80:80", 421),
    ],
)
def test_the_host_header_is_an_address_or_an_own_name(host, status):
    """A web page whose name an attacker resolves to 127.0.0.1 (DNS rebinding) is refused."""
    request = f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    assert ask_with(request, REMOTE, hosts=("echo.example",))[0] == status
    assert ask_with(request, LOCAL)[0] == 200, "a browser cannot reach a Unix socket"


def test_http_1_0_needs_no_host():
    assert ask(b"GET /readyz HTTP/1.0\r\n\r\n", peer=REMOTE) == (200, b"ready\n")


@pytest.mark.parametrize(
    ("path", "peer", "allowed"),
    [
        ("/", LOCAL, b"GET, HEAD, OPTIONS"),
        ("/api/reload", LOCAL, b"OPTIONS, POST"),
        ("/api/reload", REMOTE, b"OPTIONS"),
        ("/metrics", REMOTE, b"GET, HEAD, OPTIONS"),
        ("*", REMOTE, b"GET, HEAD, OPTIONS"),
        ("*", LOCAL, b"GET, HEAD, OPTIONS, POST"),
    ],
)
def test_options_lists_the_methods(path, peer, allowed):
    """`OPTIONS / HTTP/1.0` without a Host is the default check of HAProxy."""
    client = Client(service=service_with(), peer=peer)
    client.send(f"OPTIONS {path} HTTP/1.0\r\n\r\n".encode())
    assert client.answers == [(200, b"")]
    assert b"\r\nallow: " + allowed + b"\r\n" in client.data
    assert client.end is End.CLOSE
    assert ask(asking("/nothing", "OPTIONS"))[0] == 404


def test_idle_clients_are_closed_for_new_ones():
    service = AdminService(DaemonResources(Known()), Context(clock=lambda: 0.0))
    clients = [Client(service=service) for _ in range(AT_ONCE + 3)]
    assert [client.end for client in clients[:4]] == [End.RESET] * 3 + [End.NOTHING]
    clients[-1].send(asking("/healthz"))
    assert clients[-1].answers == [(200, b"ok\n")]
    for client in clients:
        client.session.lost()
    assert Client(service=service).end is End.NOTHING


def test_classes_of_clients_have_separate_limits():
    """Root is served although many clients of TCP or of another user are busy."""
    service = service_with(gid=77, group="ops")
    crowd = {kind: [Client(service=service, peer=peer) for _ in range(3 * AT_ONCE)] for kind, peer in CLASSES.items()}
    for clients in crowd.values():
        assert sum(client.end is End.NOTHING for client in clients) == AT_ONCE
    for clients in crowd.values():  # none of them reads its response
        for client in clients[2 * AT_ONCE :]:
            client.reads = False
            client.send(asking("/api/status"))
            client.pull(1)
        more = Client(service=service, peer=clients[0].peer)
        assert more.end is End.RESET
    for client in crowd["owners"]:
        client.session.lost()
    for _ in range(3 * AT_ONCE):
        root = Client(service=service)
        root.send(asking("/api/status"))
        assert [status for status, _ in root.answers] == [200]
    assert all(client.end is End.NOTHING for kind in ("readers", "tcp") for client in crowd[kind][2 * AT_ONCE :])


CLASSES = {"owners": LOCAL, "readers": unix(12345, 77), "tcp": REMOTE}


def test_a_browser_gets_the_status_page():
    client = Client(service=AdminService(DaemonResources(Known())), peer=REMOTE)
    client.send(asking("/", headers=("Accept: text/html,*/*;q=0.8",)))
    assert client.answers[0][1].startswith(b"<!doctype html>")
    assert b"\r\ncontent-security-policy: default-src 'none'" in client.data.lower()
    assert client.data.lower().count(b"\r\ncache-control:") == 1
    other = Client(service=AdminService(DaemonResources(Known())), peer=REMOTE)
    other.send(asking("/", headers=("Accept: */*",)))
    assert other.answers[0][1].startswith(b"echod\n")


def test_a_page_of_another_name_is_refused():
    client = Client(service=AdminService(DaemonResources(Known())), peer=REMOTE)
    client.send(b"GET / HTTP/1.1\r\nHost: evil.example\r\nAccept: text/html\r\n\r\n")
    assert client.answers[0][0] == 421


def test_few_open_files_allow_few_connections_and_streams():
    few = admin_limits(164)
    service = AdminService(DaemonResources(Known()), Context(clock=lambda: 0.0), few)
    clients = [Client(service=service, peer=REMOTE) for _ in range(10)]
    assert sum(client.end is End.NOTHING for client in clients) == few.at_once == 3
    streams = []
    for _ in range(few.streams + 1):
        streams.append(Client(service=service, peer=REMOTE))
        streams[-1].send(asking("/api/events"))
    assert [b"HTTP/1.1 200 OK" in one.data for one in streams] == [True] * few.streams + [False]
    assert json.loads(streams[-1].answers[0][1]) == {"error": "3 streams are open already"}


def test_streams_are_counted_separately():
    """Open pages of browsers do not lock out a metrics scraper, and are limited themselves."""
    service = AdminService(DaemonResources(Known()), Context(clock=lambda: 0.0))
    streams = [Client(service=service, peer=REMOTE) for _ in range(AT_ONCE)]
    for client in streams:
        client.send(asking("/api/events"))
    while len(streams) < STREAMS:
        streams.append(Client(service=service, peer=REMOTE))
        streams[-1].send(asking("/api/events"))
    more = [Client(service=service, peer=REMOTE) for _ in range(AT_ONCE)]
    more[0].send(asking("/api/events"))
    assert more[0].answers == [(503, b'{"error": "128 streams are open already"}\n')]
    more[1].send(asking("/metrics"))
    assert more[1].answers[0][0] == 200
    assert {client.end for client in (*streams, *more)} == {End.NOTHING}
    owner = Client(service=service)
    owner.send(asking("/api/events?follow=no"))
    assert owner.answers == [(200, b"")]
    streams[0].session.lost()
    more[0].send(asking("/api/events"))
    assert more[0].data.count(b"200 OK") == 1


def test_a_sweep_closes_clients_that_time_out():
    now = [0.0]
    service = AdminService(DaemonResources(Known()), Context(clock=lambda: now[0]))
    client = Client(service=service)
    now[0] = PATIENCE
    service.end_overdue_requests()
    assert client.end is End.CLOSE


def test_an_error_response_is_one_line():
    assert error_answer(400, 'a "quote"\n').body.count(b"\n") == 1


def test_pipelined_requests_are_served_one_a_turn():
    """64 KiB hold over a thousand requests of some milliseconds: other clients would wait for seconds."""
    turns = Turns()
    context = Context(clock=lambda: 0.0, work=WorkBudget(turns.later))
    client = Client(service=AdminService(DaemonResources(Known()), context))
    client.send(asking("/healthz") * 5 + asking("/readyz")[:9])
    for number in range(1, 6):
        assert client.answers == [(200, b"ok\n")] * number
        assert len(turns.calls) == 1
        turns.turn()
    turns.all()
    client.send(asking("/readyz")[9:])
    assert client.answers[5:] == [(200, b"ready\n")]
    client.send(asking("/healthz") * 2)
    client.session.lost()
    turns.all()
    assert len(client.answers) == 7


def test_a_client_that_pipelines_too_many_requests_is_reset():
    context = Context(clock=lambda: 0.0, work=WorkBudget(Turns().later))
    client = Client(service=AdminService(DaemonResources(Known()), context))
    while client.end is End.NOTHING:
        client.send(asking("/healthz") * 1_000)
    assert client.end is End.RESET
    assert len(client.answers) == 1


def test_after_a_fin_the_connection_closes_with_the_last_response():
    turns = Turns()
    context = Context(clock=lambda: 0.0, work=WorkBudget(turns.later))
    client = Client(service=AdminService(DaemonResources(Known()), context))
    client.send(asking("/healthz") * 3)
    client.take(client.session.ended())
    while turns.calls and client.end is End.NOTHING:
        turns.turn()
    assert context.work.waiting == 0
    assert client.answers == [(200, b"ok\n")] * 3
    assert client.end is End.CLOSE


class Counted(Known):
    """A view with a long list, which counts the slices that were built."""

    def __init__(self):
        self.slices = 0

    def connections(self, most, order=""):
        for number in range(most):
            self.slices += number % SLICE == 0
            yield {"peer": f"192.0.2.1:{number:05}"}


def test_all_connections_share_the_units_of_a_turn():
    """However many clients ask for however long a list: at most `TURN` units and one slice in a turn."""
    turns, view = Turns(), Counted()
    service = AdminService(DaemonResources(view), Context(clock=lambda: 0.0, work=WorkBudget(turns.later)))
    clients = [Client(service=service) for _ in range(10)]
    for client in clients:
        client.send(asking("/api/connections?limit=1000"))
    most = TURN // PIECE + 1
    assert view.slices <= most
    while turns.calls:
        assert len(turns.calls) == 1
        before = view.slices
        turns.turn()
        assert view.slices <= before + most
    assert view.slices == 10 * -(-1000 // SLICE)
    assert all(len(json.loads(client.answers[0][1])) == 1000 for client in clients)


def test_a_chat_and_the_interface_share_the_units_of_a_turn():
    """Lines and pieces of lists count in one sum, in either order, and neither keeps the other from its turn."""
    turns, view = Turns(), Counted()
    context = Context(clock=lambda: 0.0, work=WorkBudget(turns.later))
    service, chat = AdminService(DaemonResources(view), context), Chat(None, context)
    reader = Client(service=service)
    members = [chat.session(REMOTE, lambda _reply: None) for _ in range(3)]
    for member in members:
        member.opened()
    turns.all()
    reply = [member.received(b"\n" * 3 * PORTION) for member in members[:2]]
    assert all(one.held for one in reply)
    reader.send(asking("/api/connections?limit=1000"))
    assert view.slices == 0, "the lines have used up the turn"
    turns.turn()
    assert 0 < view.slices <= TURN // PIECE + 1
    assert members[2].received(b"\n").held, "the list has used up the turn"
    turns.all()
    assert len(json.loads(reader.answers[0][1])) == 1000


def test_readers_of_other_hosts_do_not_delay_root():
    turns, view = Turns(), Counted()
    service = AdminService(DaemonResources(view), Context(clock=lambda: 0.0, work=WorkBudget(turns.later)))
    readers = [Client(service=service, peer=REMOTE) for _ in range(30)]
    for reader in readers:
        reader.send(asking("/api/connections?limit=1000"))
    root = Client(service=service, peer=unix(0))
    root.send(asking("/healthz"))
    for _ in range(3):
        turns.turn()
    assert root.answers == [(200, b"ok\n")]
    assert not any(reader.answers for reader in readers)


def test_every_event_and_request_costs_units():
    """A body in chunks of one byte and an invalid request are work as well."""
    for data, least in (
        (asking("/healthz"), REQUEST + 2 * EVENT),
        (b"nonsense\r\n\r\n", REQUEST),
        (asking("/", "POST", ["Transfer-Encoding: chunked"]) + b"1\r\nx\r\n" * 50 + b"0\r\n\r\n", REQUEST + 50 * EVENT),
    ):
        work = WorkBudget(Turns().later, turn=10_000)
        Client(service=AdminService(DaemonResources(Known()), Context(clock=lambda: 0.0, work=work))).send(data)
        assert 10_000 - work.portion(whole=True)._left >= least


def test_a_lost_connection_leaves_the_queue():
    turns = Turns()
    work = WorkBudget(turns.later)
    client = Client(service=AdminService(DaemonResources(Counted()), Context(clock=lambda: 0.0, work=work)))
    client.send(asking("/api/connections?limit=10000"))
    assert work.waiting == 1
    client.session.lost()
    assert work.waiting == 0

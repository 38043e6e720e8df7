"""The admin interface as a target: bytes that may be HTTP, in any chunks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from echod.admin.access_control import AdminService
from echod.admin.resources import DaemonResources, ReloadResult
from echod.events import Counters
from echod.model import PLAIN, Context, End, Peer, Reply
from echod.services.console import Console
from echod.services.recording import Recorder
from echod.socket_names import Inet, UnixName
from echod.telemetry.metrics import MetricsCollector, ProcessMetrics
from echod.telemetry.recent_events import RecentEvents
from tests.fuzz.answering import Bugs
from tests.fuzz.draw import Draw
from tests.fuzz.target import Attempt, Target

LOCAL: Final = Peer("unix", UnixName("/run/admin"), UnixName(""), user=0)
REMOTE: Final = Peer("tcp", Inet("127.0.0.1", 10_090), Inet("127.0.0.1", 40_000))
PROCESS: Final = ProcessMetrics(
    started=1.0,
    ready=True,
    lines_lost=0,
    lines_suppressed=0,
    events_lost=0,
    internal_errors=0,
    unsent=0,
    missed=0,
    readers_ended=0,
    reloads={"kept": 0, "refused": 0},
    last_reload_took=True,
)


class _Known:
    """A daemon with little state; a reload of it ends when `ends` is called."""

    def __init__(self) -> None:
        self.ends: list[Callable[[ReloadResult], None]] = []
        self.context = Context()
        self.recent = RecentEvents(lambda _on: None, lambda: 0.0)
        self.recent.event("worker.ended", {"worker": "0", "pid": 1, "reason": "\x1b[2J"})
        self.recording = Recorder(10_000)
        self.recording.message(b"\xff\x1b[2J\n", REMOTE, PLAIN, 1e9)
        options = Console.Options(unanswered=5, unanswered_in_all=5)
        self.served = Console(options, Context(wall_clock=lambda: 1e9))
        self.served.session(REMOTE, lambda _reply: None).received(b"\xff\x1b[2J\n")

    def awaited(self) -> list[dict[str, str]]:
        return []

    def unready(self) -> None:
        return None

    def status(self) -> dict[str, Any]:
        return {"version": "1"}

    def metrics(self) -> Any:
        return MetricsCollector(lambda: [("echo", "tcp://127.0.0.1:7", Counters(bytes_in=5))], lambda: PROCESS)

    def gather(self, _connections: int, done: Callable[[], None], _order: str = "") -> None:
        done()

    def flush_counters(self) -> Iterator[None]:
        yield

    def connections(self, most: int, _order: str = "") -> Iterator[dict[str, Any]]:
        assert 1 <= most <= 10_000
        return iter([{"peer": "x"}] * min(most, 300))

    def reload(self, done: Callable[[ReloadResult], None]) -> None:
        self.ends.append(done)

    def has_service(self, name: str) -> bool:
        return name == "echo"

    def faults(self, _name: str) -> None:
        return None

    def recorder(self, name: str) -> Recorder | None:
        return self.recording if name == "echo" else None

    def console(self, name: str) -> Console | None:
        return self.served if name == "console" else None


def _requests() -> Attempt:
    bugs = Bugs()

    def attempt(data: bytes) -> bool:
        draw, now, view, said, ends = Draw(data), [0.0], _Known(), bytearray(), list[End]()
        turns: list[Callable[[], None]] = []
        context = Context(clock=lambda: now[0], later=lambda _seconds, call: turns.append(call))
        service = AdminService(DaemonResources(view), context)

        more: list[Iterator[bytes]] = []

        def hear(reply: Reply) -> None:
            nonlocal said
            if not ends:
                said += reply.data or b""
                if reply.more is not None:
                    assert not more, "two iterators at once"
                    more.append(reply.more)
                ends.extend([reply.end] if reply.end is not End.NOTHING else [])

        def pull(most: int = 2**30) -> None:
            """Read up to `most` pieces, as the transport does while the client reads."""
            nonlocal said
            while more and most and not (ends and ends[0] is End.RESET):
                piece = next(more[0], None)
                if piece is None:
                    more.clear()
                    turn()
                else:
                    said += piece
                    most -= bool(piece)

        def turn() -> None:
            """Run the calls that were deferred to another turn of the reactor."""
            due = turns[:]
            turns.clear()
            for call in due:
                call()

        local = draw.byte() % 2 == 0
        session = service.session(LOCAL if local else REMOTE, hear)
        hear(session.opened())
        cuts = [1 + draw.byte() * 4 for _ in range(draw.byte() % 6)]
        whole, at = draw.rest(), 0
        for length in (*cuts, len(whole)):
            if ends or not (piece := whole[at : at + length]):
                break
            hear(session.received(piece))
            pull(length % 7)
            at += length
            now[0] += 1
            service.end_overdue_requests()
            if length % 8 == 1 and view.ends:
                view.ends.pop()(ReloadResult(errors=("a",) if length % 16 == 1 else ()))
        assert len(said) <= 64 * (len(whole) + 1_000) + 4_000 * whole.count(b"/api/connections")
        pull()
        if not ends:
            hear(session.ended())
        for done in view.ends:
            done(ReloadResult())
        pull()
        now[0] += 1_000
        service.end_overdue_requests()
        pull()
        assert ends or view.ends, "a connection that is never closed"
        session.lost()
        service.end_overdue_requests()
        bugs.check()
        assert not said or re.match(rb"HTTP/1\.1 [1-5][0-9][0-9] [A-Za-z -]*\r\n", said)
        for fault in re.findall(rb'\{"error": .*', said):
            assert json.loads(fault)["error"].isprintable()
        assert local or not view.ends, "a change over TCP"
        hosts = re.findall(rb"(?i)\nhost:[ \t]*([^\r\n]*)", b"\n" + whole)
        foreign = bool(hosts) and all(host.startswith(b"x") for host in hosts)
        assert local or not foreign or not said.startswith(b"HTTP/1.1 200"), "answered under a foreign name"
        return b"HTTP/1.1 200" in said

    return attempt


_HTTP: Final = (
    *(b"GET ", b"HEAD ", b"POST ", b"CONNECT ", b"/", b"/api/status", b"/api/reload", b"/metrics", b"?limit=", b"%00"),
    *(
        b" HTTP/1.1\r\n",
        b" HTTP/1.0\r\n",
        b"Host: x\r\n",
        b"Host: localhost\r\n",
        b"Host: [::1]:1\r\n",
        b"OPTIONS * ",
        b"\r\n",
        b"\r\n\r\n",
        b"Content-Length: ",
        b"0\r\n\r\n",
        b"\xff",
    ),
    *(b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"ffffffff\r\n"),
    *(
        b"Upgrade: x\r\n",
        b"Origin: http://x\r\n",
        b"Host: localhost\r\n",
        b"Host: [::1]:1\r\n",
        b"OPTIONS * ",
        b"Accept: application/openmetrics-text\r\n",
        b"http://[::1",
    ),
    *(
        b"0" * 9,
        b"9" * 99,
        b"\xff",
        b"/api/console/console",
        b"/api/received/echo",
        b"/api/events?severity=debug&follow=no",
        b'{"to": 1, "text": "hi"}',
        b"null",
        b"[",
        b'"operator": 1',
    ),
)

TARGETS: Final = (Target("admin HTTP", "a reply or a close, and no change over TCP", _requests, _HTTP),)

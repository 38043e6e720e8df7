"""Targets that reply: datagrams through the gate to every service, streams to every session, replies to ping."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from twisted.logger import globalLogPublisher

from echod.client.echo_probe import Datagrams, Probes, Probing, Stream
from echod.client.probe_ledger import ProbeLedger, ProbeResult
from echod.client.stdout import Screen
from echod.gate.access import Access
from echod.gate.datagrams import DatagramGate
from echod.gate.limits import Limits, Rate
from echod.gate.refusal import Refusal
from echod.model import NOTHING, Arrival, Context, End, Peer, Reply, Service, Session
from echod.services.registry import kinds
from echod.socket_names import Inet, inet
from echod.transports.datagram import ServiceDatagrams
from tests.fastpath.reactors import Failures
from tests.fuzz.draw import Draw
from tests.fuzz.target import HERE, Attempt, Target

HOSTS: Final = (
    *(
        "127.0.0.1",
        "127.0.0.255",
        "192.0.2.1",
        "192.0.2.255",
        "198.51.100.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
    ),
    *(
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "fe80::1",
        "ff02::1",
        "2001:db8::1",
        "240.0.0.1",
    ),
)
PORTS: Final = (0, 7, 19, 1023, 1024, 2049, 10_007, 11_211, 40_000, 65_535)
LARGER: Final = ipaddress.ip_network("192.0.2.0/25")
ENDLESS: Final = 40  #: pieces that are read of an endless reply


class Bugs(Failures):
    """Collects every logged failure: an exception that is caught to protect from a peer is still a bug."""

    def __init__(self) -> None:
        super().__init__()
        globalLogPublisher.addObserver(self)

    def check(self) -> None:
        """Raises AssertionError if a failure was logged."""
        if self:
            failure = self.pop()["log_failure"]
            self.clear()
            raise AssertionError(failure.getTraceback())


def _service(kind: type[Service], chance: random.Random, shown: list[str]) -> Service:
    return kind(context=Context(random=chance, show=shown.append))


def _datagrams() -> Attempt:
    now, bugs, chance = [0.0], Bugs(), random.Random(1)
    shown: list[str] = []
    access = Access([ipaddress.ip_network(net) for net in ("127.0.0.0/8", "192.0.2.0/24", "::1/128", "2001:db8::/32")])
    gates = [
        DatagramGate(
            access,
            Limits(rate=rate),
            lambda: now[0],
            own_ports={10_007},
            broadcasts={bytes([192, 0, 2, 255])},
            larger_answers_to=Access([LARGER]),
        )
        for rate in (Rate(0, 0), Rate(200, 400), Rate(5, 10))
    ]
    services = [
        _service(kind, chance, shown) for kind in kinds().values() if kind.datagrams and not kind.conversational
    ]
    served = [ServiceDatagrams(service, gate=gate) for service in services for gate in gates]

    def attempt(data: bytes) -> bool:
        draw = Draw(data)
        protocol, host, port = draw.choice(served), draw.choice(HOSTS), draw.choice(PORTS)
        packed = ipaddress.ip_address(host).packed
        now[0] += draw.byte() / 256
        ttl, traffic_class, received_ns = draw.byte(), draw.byte(), draw.byte()
        refusal = Refusal.DESTINATION if draw.byte() == 1 else None
        arrival = Arrival(None, ttl, traffic_class, received_ns)
        datagram = draw.rest() * (64 if draw.byte() else 1)
        before = protocol.counters.datagrams_out
        sent: list[bytes] = []
        if protocol.admits(datagram, packed, port, refusal):
            protocol.serve(datagram, Peer("udp", HERE, inet(host, port)), arrival, packed, sent.append)
        answer = sent[0] if sent else None
        bugs.check()
        assert all(line.isprintable() for line in shown)
        shown.clear()
        assert protocol.counters.datagrams_out - before == (answer is not None)
        if answer is None:
            return False
        assert refusal is None
        assert port >= 1024
        assert len(answer) <= len(datagram) or ipaddress.ip_address(host) in LARGER
        transform = type(protocol.service).transform
        assert transform is None or answer == transform(datagram)
        return True

    return attempt


def _converse(session: Session, pieces: list[bytes]) -> tuple[bytes, End]:
    """All output of a session for these pieces followed by a FIN, and how the session ends."""
    said, end = bytearray(), End.NOTHING
    questions: list[Callable[[], Reply]] = [session.opened]
    questions += [partial(session.received, piece) for piece in pieces]
    for question in (*questions, session.ended):
        reply = question()
        assert isinstance(reply, Reply)
        if end is End.NOTHING:
            said += reply.data or b""
            for _, piece in zip(range(ENDLESS), reply.more or (), strict=False):
                said += piece
            end = reply.end
    session.lost()
    return bytes(said), end


def _sessions() -> Attempt:
    bugs, shown = Bugs(), list[str]()
    services = [kind for kind in kinds().values() if kind.streams]

    def attempt(data: bytes) -> bool:
        draw = Draw(data)
        kind, peer = draw.choice(services), Peer("tcp", HERE, Inet(draw.choice(HOSTS), 40_000))
        cuts = [draw.piece()[:1] for _ in range(draw.byte() % 8)]
        whole = draw.rest() * (64 if draw.byte() == 1 else 1)
        pieces, at = [], 0
        for cut in cuts:
            length = 1 + (cut[0] if cut else 0) * len(whole) // 256
            pieces.append(whole[at : at + length])
            at += length
        pieces = [piece for piece in (*pieces, whole[at:]) if piece]
        said = []
        for way in (pieces, [whole] if whole else []):
            context = Context(random=random.Random(1), wall_clock=lambda: 1e9, clock=lambda: 1.0, show=shown.append)
            said.append(_converse(kind(context=context).session(peer, lambda reply: None), way))
        assert said[0] == said[1], "the output depends on the chunks"
        if kind.transform is not None:
            assert said[0] == (kind.transform(whole), End.CLOSE)
        assert all(line.isprintable() for line in shown)
        shown.clear()
        bugs.check()
        return bool(said[0][0])

    return attempt


def _pings() -> Attempt:
    ways: Mapping[type[Probing], bool] = {Datagrams: True, Stream: False}

    def attempt(data: bytes) -> bool:
        draw = Draw(data)
        kind, size, chance = draw.choice(tuple(ways)), 16 + draw.byte(), random.Random(draw.byte())
        now, found = [0.0], list[ProbeResult]()
        account = ProbeLedger(1.0, remembered=8)
        probes = Probes(size, Peer("udp", HERE, HERE), chance, marked=ways[kind])
        session = kind(probes, account, lambda: now[0], lambda: None, found.append)
        session.opened()
        while draw:
            what = draw.byte() % 6
            now[0] += draw.byte() / 512
            if what == 0:
                session.ask()
            elif what == 1:
                session.received(probes.answer(1 + draw.below(1 + account.sent)))
            elif what == 2:
                right, at = probes.answer(1 + draw.byte() % 16), draw.byte()
                session.received(right[:at] + draw.piece()[:3] + right[at:])
            else:
                reply = session.received(draw.piece() or b"?")
                if reply is not NOTHING:
                    break
            assert account.awaited(now[0]) <= account.sent
            account.settled(now[0])
        session.ended()
        session.lost()
        counted = account.received + account.duplicated + account.late + account.wrong
        assert counted == len(found)
        assert account.received <= account.sent
        for finding in found:
            assert not finding.error or finding.error.isprintable()
        return account.received > 0

    return attempt


class _Terminal(Screen):
    """Keeps the lines that would be printed."""

    def __init__(self, *, in_hex: bool) -> None:
        super().__init__(in_hex=in_hex)
        self._on_terminal = True
        self.printed = bytearray()

    def _put(self, data: bytes) -> None:
        self.printed += data
        self._midway = bool(data) and not data.endswith(b"\n")


def _terminal(data: bytes) -> bool:
    draw = Draw(data)
    screen = _Terminal(in_hex=draw.byte() % 4 == 0)
    while draw:
        what: Any = screen.line if draw.byte() % 4 == 0 else screen.write
        what(draw.piece())
    screen.end_line()
    text = screen.printed.decode("utf-8")
    assert text.replace("\n", "").replace("\t", "").isprintable()
    return bool(text)


_LINES: Final = (
    b"\n",
    b"\r\n",
    b"/nick ",
    b"/join ",
    b"/msg ",
    b"/who\n",
    b"/me ",
    b"/quit\n",
    b"/help\n",
    b"\0",
    b"\xff",
)

TARGETS: Final = (
    Target(
        "datagrams",
        "at most one reply, never larger than the request, never to a forbidden peer",
        _datagrams,
        (*_LINES, b"\0" * 44, b"x" * 600),
    ),
    Target("streams", "the same reply for any chunks, and no exception", _sessions, _LINES),
    Target("ping", "every reply judged, and counted once", _pings, (b"0123ABCD00000001", b"\x01", b"\0" * 40)),
    Target(
        "terminal",
        "no terminal sequence from a peer",
        lambda: _terminal,
        (b"\x1b[2J", b"\xe2\x80\xae", b"\xc2", b"\x85"),
    ),
)

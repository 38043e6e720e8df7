"""Targets of measurement: requests to a reflector in every mode, and replies to the STAMP probes of ping."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Final

from echod.client.direction_loss import DirectionLoss
from echod.client.probe_ledger import ProbeLedger, ProbeResult
from echod.client.stamp_probe import StampProbes
from echod.client.stamp_session import StampSession
from echod.in_place_replies import Placed
from echod.measurement.clock_quality import CachedClockQuality, ClockQuality
from echod.measurement.stamp import AUTHENTICATED_BASE, BASE, Authenticated, Request, Unauthenticated
from echod.measurement.stamp_tlvs import hmac_tlv
from echod.model import Arrival, Context, End, Peer
from echod.services.reflector import Reflector, ReflectorOptions
from echod.services.sockperf import Sockperf
from echod.services.udpechoplus import UDPEchoPlus
from echod.socket_names import Inet
from tests.fuzz.draw import Draw
from tests.fuzz.target import Attempt, Target

KEY: Final = b"sixteen or more bytes"
PEER: Final = Peer("udp", Inet("127.0.0.1", 862), Inet("127.0.0.1", 40_000))
STREAM: Final = Peer("tcp", Inet("127.0.0.1", 862), Inet("127.0.0.1", 40_000))
_TLVS: Final = (
    b"\x80\x01\x00\x04abcd",
    b"\x80\x03\x00\x04\0\0\0\0",
    b"\x80\x04\x00\x04\xb8\0\0\0",
    b"\x80\x05\x00\x0c" + bytes(12),
    b"\x80\x08\x00\x10" + bytes(16),
    b"\x80\xff\xff\xff",
)


def _reflectors() -> Attempt:
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(KEY)
    context = Context(clock=lambda: 0.0, wall_clock_ns=lambda: 10**18)
    services = [
        Reflector(ReflectorOptions(stateful=stateful, sessions=3, key=key, timestamps=timestamps), context)
        for stateful in (False, True)
        for key in (None, Path(file.name))
        for timestamps in ("ntp", "ptp")
    ]
    twins = {service: Reflector(service.options, context) for service in services}
    Path(file.name).unlink()

    def attempt(data: bytes) -> bool:
        draw = Draw(data)
        service = draw.choice(services)
        authenticated = service.options.key is not None
        base = AUTHENTICATED_BASE if authenticated else BASE
        arrival = Arrival(None, draw.byte(), draw.byte(), draw.byte() * 10**9)
        ssid, what = draw.byte(), draw.byte() % 4
        rest = draw.rest()
        request = rest
        if what:
            packet = Request(draw.byte(), 1, 1, ssid)
            whole = Authenticated(KEY).request(packet) if authenticated else Unauthenticated().request(packet)
            signed = hmac_tlv(KEY, packet.sequence, rest) if what == 2 and authenticated else b""
            request = whole + rest + signed
        replies: list[bytes] = []
        service.datagram(request, PEER, arrival, replies.append)
        assert len(replies) <= 1
        assert _by_twin(twins[service], request, arrival) == replies
        if not replies:
            assert not what
            return False
        assert len(replies[0]) == max(len(request), base)
        format_ = Authenticated(KEY) if authenticated else Unauthenticated()
        assert format_.parse_answer(replies[0]) is not None
        return True

    return attempt


def _by_twin(service: Reflector, request: bytes, arrival: Arrival) -> list[bytes]:
    """The reply of an equal reflector, written over the request if that is possible."""
    replies = service.in_place()
    data = bytearray(request)
    if replies is None or not replies.fits(memoryview(data), 0, len(data)):
        came: list[bytes] = []
        service.datagram(request, PEER, arrival, came.append)
        return came
    assert arrival.received_ns is not None
    assert arrival.ttl is not None
    seconds, nanoseconds = divmod(arrival.received_ns, 10**9)
    placed = Placed(0, len(data), seconds, nanoseconds, arrival.ttl, (PEER.remote, PEER.local))
    with memoryview(data) as memory:
        replies.write(memory, [placed])
        replies.stamp(memory, [0])
    return [bytes(data)]


def _small_servers() -> Attempt:
    services = (UDPEchoPlus(), Sockperf())

    def attempt(data: bytes) -> bool:
        replies: list[bytes] = []
        for service in services:
            service.datagram(data, PEER, Arrival(), replies.append)
        assert all(len(reply) == len(data) for reply in replies)
        draw, session = Draw(data), Sockperf().session(STREAM, lambda _: None)
        sent = came = 0
        while draw and (piece := draw.piece()):
            reply = session.received(piece)
            sent, came = sent + len(piece), came + len(reply.data or b"")
            assert came <= sent
            if reply.end is not End.NOTHING:
                break
        return len(replies) == len(services)

    return attempt


def _probes() -> Attempt:
    def attempt(data: bytes) -> bool:
        draw = Draw(data)
        size, key = 16 + draw.byte(), KEY if draw.byte() % 4 == 0 else None
        size = max(size, AUTHENTICATED_BASE) if key else size
        mono, wall, found = [0.0], [10**18], list[ProbeResult]()
        account = ProbeLedger(1.0, remembered=8)
        quality = CachedClockQuality(lambda: mono[0], lambda: ClockQuality(True, 0.1))
        probes = StampProbes((size,), random.Random(1), quality, remembered=8, key=key)
        session = StampSession(
            probes, account, lambda: mono[0], lambda: wall[0], lambda: None, found.append, remembered=8
        )
        context = Context(clock=lambda: mono[0], wall_clock_ns=lambda: wall[0])
        service = Reflector(ReflectorOptions(stateful=True), context)
        packets = [b""]
        while draw:
            what = draw.byte() % 6
            mono[0] += draw.byte() / 512
            wall[0] += (draw.byte() - 64) * 10**7  # it steps back too
            if what == 0:
                packets.append(session.ask().data or b"")
            elif what == 1:
                session.sent(draw.byte() % 16 + 1, wall[0] - draw.byte() * 10**6)
            elif what == 2:
                service.datagram(draw.choice(packets), PEER, Arrival(received_ns=wall[0]), packets.append)
            elif what == 3:
                session.received(draw.choice(packets), Arrival(received_ns=wall[0]))
            elif what == 4:
                right, at = draw.choice(packets), draw.byte()
                session.received(right[:at] + draw.piece()[:3] + right[at:], Arrival())
            else:
                session.received(draw.piece() or b"?", Arrival())
        assert account.received + account.duplicated + account.late + account.wrong == len(found)
        assert account.received <= account.sent
        lost = session.loss.lost(account.sent)
        assert all(count is None or count >= 0 for count in lost.values())
        if session.directions.forward.count:
            assert session.directions.forward.figures()["jitter_ms"] >= 0
        assert all(not one.error or one.error.isprintable() for one in found)
        return account.received > 0

    return attempt


def _numbers() -> Attempt:
    def attempt(data: bytes) -> bool:
        draw, loss, sent = Draw(data), DirectionLoss(), 0
        while draw:
            probe, reply = draw.byte(), draw.byte() << draw.byte() % 25
            sent = max(sent, probe + 1)
            loss.add(probe, reply, probe if draw.byte() % 2 else None)
        lost = loss.lost(sent)
        assert all(count is None or 0 <= count <= sent for count in lost.values())
        return loss.is_known

    return attempt


TARGETS: Final = (
    Target("reflector", "a reply of the request's size, or the base packet, in every mode", _reflectors, _TLVS),
    Target("udpechoplus and sockperf", "replies have the size of the request", _small_servers, (b"\0" * 24, _TLVS[0])),
    Target("stamp replies", "every reply judged, and counted once", _probes, (*_TLVS, b"\0" * 44)),
    Target("direction of losses", "no count is negative, or more than was sent", _numbers, (b"\0\1\2\3",)),
)

"""Requests of `bin` as a target: over a stream, in a datagram, in a query and in a server name."""

from __future__ import annotations

from typing import Any, Final

from echod.faults.settings import Faults
from echod.model import End, Peer
from echod.services.bin import Bin, BinOptions
from echod.services.bin_request import Bounds
from echod.socket_names import Inet
from tests.fuzz.draw import Draw
from tests.fuzz.target import HERE, Target, assert_plain

CLIENT: Final = Inet("192.0.2.1", 40_000)
BOUNDS: Final = Bounds()


def _requests(data: bytes) -> bool:
    draw = Draw(data)
    way, cut = draw.byte() % 4, draw.byte()
    text = draw.rest()
    chosen: list[Faults] = []
    shown = text.decode("utf-8", "backslashreplace")
    learned: list[dict[str, object]] = [
        {},
        {"websocket": {"query": shown}},
        {"tls": {"server_name": shown}},
    ]
    service = Bin(BinOptions())
    if way == 3:
        reply = service.answer(text, Peer("udp", HERE, CLIENT, choose_faults=chosen.append)) or b""
        assert len(reply) <= max(len(text), BOUNDS.size)
        _check(chosen)
        return bool(chosen)
    for layer in ("tls", "websocket"):
        early = service.chosen_faults(layer, shown)
        _check([] if early is None else [early])
    scheme = ("tcp", "ws", "tls")[way]
    session = service.session(
        Peer(scheme, HERE, CLIENT, learned=learned[way], choose_faults=chosen.append), lambda _reply: None
    )
    sent, closed = b"", False
    calls: list[Any] = [session.opened, *(_receive(session, part) for part in (text[:cut], text[cut:]) if part)]
    for call in (*calls, session.ended):
        if not closed:
            reply = call()
            sent += (reply.data or b"") + b"".join(reply.more or ())
            closed = reply.end is End.CLOSE
    session.lost()
    assert len(sent) <= len(text) + BOUNDS.size + 2_000
    if sent.startswith(b"error: ") and not chosen:
        assert closed
        assert_plain(sent.decode().removesuffix("\n"))
    _check(chosen)
    return bool(chosen)


def _receive(session: Any, part: bytes) -> Any:
    return lambda: session.received(part)


def _check(chosen: list[Faults]) -> None:
    for faults in chosen:
        assert max(faults.delay, faults.jitter, faults.delay_close) <= BOUNDS.delay
        assert not faults.refuse
        assert faults.script is None


_TOKENS: Final = (
    *(b"delay=200ms", b"reset-after=1KiB", b"size=1MiB", b"tls-stall.", b"websocket=masked", b"drop=0.5", b"seed=42"),
    *(b",", b"&", b"=", b"\n", b"\r\n", b"%0a", b".localhost", b"jitter=24d", b"clients=::/0", b"script=/dev/zero"),
)

TARGETS: Final = (
    Target("bin", "faults within the bounds, or one line that is safe to print", lambda: _requests, _TOKENS),
)

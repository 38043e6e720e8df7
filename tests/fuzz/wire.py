"""Random bytes, in any chunks, into every socket of a daemon process."""

from __future__ import annotations

import random
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Final

from echod.services.registry import kinds
from tests.daemon import SECONDS, Daemon, Place, eventually, is_waiting, place_of
from tests.fuzz.answering import TARGETS
from tests.fuzz.draw import Draw
from tests.fuzz.engine import Tried, inputs

RESET: Final = struct.pack("ii", 1, 0)
ENOUGH: Final = 1 << 18  #: bytes that are read of an endless reply
A_VOLLEY: Final = 64  #: datagrams between two that must have a reply

_DATAGRAMS, _STREAMS = TARGETS[:2]
_CHANGES: Final[dict[str, Callable[[bytes], bytes]]] = {"echo": bytes, "upper": bytes.upper}


def config(plane: str) -> str:
    """A configuration with every kind on every plain transport."""
    lines = ["[daemon]", f'plane = "{plane}"', 'drain = "2s"', "[defaults.limits]", 'rate = "0"']
    for name, kind in kinds().items():
        listen = ['"tcp://127.0.0.1:0"', f'"unix://{{dir}}/{name}"'] if kind.streams else []
        listen += ['"udp://127.0.0.1:0"', f'"unix-dgram://{{dir}}/{name}.d"'] if kind.datagrams else []
        listen += ['"http://127.0.0.1:0"'] if kind.requests else []
        lines += [f"[services.{name}]", f"listen = [{', '.join(listen)}]"]
    return "\n".join(lines) + "\n"


def hammer(plane: str, seed: int, seconds: float, most: int = 1 << 62) -> Tried:
    """Try inputs for so many seconds, streams and datagrams in turn; the first failure ends it."""
    chance, tried = random.Random(f"wire {plane} {seed}"), Tried()
    streams, datagrams = inputs(_STREAMS, chance), inputs(_DATAGRAMS, chance)
    began = time.monotonic()
    data = b""
    with Daemon(config(plane)) as daemon:
        places = [(name, url, place_of(url)) for name, url in daemon.urls]
        named = [one for one in places if one[1].startswith(("tcp:", "unix:", "http:"))]
        volley = Volley([one for one in places if one not in named])
        try:
            while time.monotonic() - began < seconds and tried.inputs < most:
                data = next(streams)
                tried.accepted += _stream(Draw(data), named)
                for data, _ in zip(datagrams, range(A_VOLLEY), strict=False):
                    volley.fire(Draw(data))
                tried.accepted += volley.check()
                tried.inputs += 1 + A_VOLLEY
            volley.close()
            assert eventually(lambda: is_waiting(daemon.process.pid))  # it has read the last volley
            daemon.check()
            counters = daemon.counters()
            daemon.check()
            assert not [name for name, one in counters.items() if one.get("closed:failed")], counters
            seen = sum(one.get("datagrams_in", 0) + one.get("refused:kernel", 0) for one in counters.values())
            assert seen >= volley.sent
        except Exception as error:
            tried.crashes.append((data, error))
            volley.close()
    tried.seconds = time.monotonic() - began
    return tried


def _stream(draw: Draw, places: list[tuple[str, str, Place]]) -> bool:
    """One connection; returns whether its reply was correct and complete."""
    name, _, place = draw.choice(places)
    ends, many = draw.byte() % 4, 16 if draw.byte() % 8 == 0 else 1
    sent = bytearray()
    with socket.socket(socket.AF_UNIX if isinstance(place, str) else socket.AF_INET) as client:
        client.settimeout(SECONDS)
        client.connect(place)
        try:
            while draw:
                piece = (draw.piece() or draw.rest()) * many
                sent += piece
                if name in _CHANGES:
                    client.sendall(piece)
                elif select.select([], [client], [], 0)[1]:  # a service may pause while its replies are not read
                    client.send(piece)
            if ends == 0 and client.family == socket.AF_INET:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            if ends < 2:
                return False
            client.shutdown(socket.SHUT_WR)
            if name == "console":  # it waits for an operator, and none is connected
                return False
            answer = bytearray()
            while len(answer) < ENOUGH and (part := client.recv(65_536)):
                answer += part
        except (ConnectionResetError, BrokenPipeError):
            assert name not in _CHANGES, f"{name} resets"
            return False
    if name in _CHANGES:
        assert answer == _CHANGES[name](bytes(sent)), f"{name}: {len(answer)} bytes of {len(sent)}, or different bytes"
        return True
    return False


class Volley:
    """Send datagrams to every service, and at intervals one to an echo that must reply."""

    def __init__(self, places: list[tuple[str, str, Place]]) -> None:
        self.sent = 0
        self._places = places
        self._inet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._unix = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._unix.bind("")
        self._echo = next(place for name, url, place in places if name == "echo" and url.startswith("udp"))
        for one in (self._inet, self._unix):
            one.setblocking(False)

    def fire(self, draw: Draw) -> None:
        """Send one datagram; replies that wait are read and dropped."""
        _, _, place = draw.choice(self._places)
        many = draw.byte()
        sender = self._unix if isinstance(place, str) else self._inet
        try:
            sender.sendto(draw.rest() * (16 if many % 8 == 0 else 1), place)
            self.sent += 1
        except BlockingIOError:  # its queue is full of replies that were not read
            self._drop()

    def check(self) -> bool:
        """Check that the daemon still replies correctly."""
        self._drop()
        question = b"still there? %d" % self.sent
        for _ in range(3):  # a datagram may be dropped if a volley filled the queue
            if select.select([], [self._inet], [], SECONDS)[1]:
                self._inet.sendto(question, self._echo)
                self.sent += 1
            while select.select([self._inet], [], [], SECONDS / 3)[0]:
                if self._inet.recv(65_536) == question:
                    return True
        raise AssertionError("the datagram echo does not reply")

    def close(self) -> None:
        """Close the sockets."""
        self._inet.close()
        self._unix.close()

    def _drop(self) -> None:
        for one in (self._inet, self._unix):
            try:
                while True:
                    one.recv(65_536)
            except BlockingIOError:
                pass

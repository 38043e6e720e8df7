"""Attacks with connections: slow readers, bursts, resets; and clients that half-close, idle or stay connected."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from tests.chaos import probe
from tests.chaos.connect_burst import Crowd, Fate, reset_at_once, served
from tests.chaos.lab import Lab, Place, Server
from tests.chaos.report import Figure, Scenario, Subject, many
from tests.daemon import eventually
from tests.gate.configurations import taken

ECHOD, PLAIN, STOCK, XINETD, *_ = Subject
SERVICE = '[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\nlimits = { per-client = 10000 }\n'

# 9

KIB, MIB = 1 << 10, 1 << 20
OFFERED = 256 * MIB


def slow_reader(lab: Lab) -> Iterator[Figure]:
    source = bytes(OFFERED)
    for server in lab.each(ECHOD, PLAIN, STOCK, XINETD, services=SERVICE):
        with _connected(server.tcp["echo"]) as client:
            taken(client, source[: 8 * MIB], still=0.1)
        time.sleep(0.2)
        before = server.memory()
        with _connected(server.tcp["echo"]) as client:
            sent = taken(client, source)
            grown = server.memory() - before
        blocked = sent < OFFERED
        text = f"accepted {sent / MIB:.0f} MiB {'and was paused' if blocked else 'without a pause'}"
        text += f", memory {grown / KIB:+,.0f} KiB"
        kept = blocked and grown <= 192 * KIB if server.ours else None
        yield Figure(server.subject, text, kept, {"taken": sent, "memory": grown})


def _has_at_most(server: Server, descriptors: int) -> bool:
    return server.descriptors() <= descriptors


def _connected(place: Place) -> socket.socket:
    return socket.create_connection(place, 20)


# 12

LENGTHS = {1: 20, 1_000: 20, 64 * KIB: 20, MIB: 10, 8 * MIB: 3, 32 * MIB: 2}
"""Bytes that are sent before a client shuts down sending, and how often that is tried."""


def half_close(lab: Lab) -> Iterator[Figure]:
    for server in lab.each(ECHOD, PLAIN, STOCK, XINETD, services=SERVICE):
        tries = [_ended_early(server.tcp["echo"], length) for length, often in LENGTHS.items() for _ in range(often)]
        whole, slowest = sum(right for right, _ in tries), max(seconds for _, seconds in tries)
        text = f"{whole} of {len(tries)} complete; the FIN at most {slowest * 1000:.0f} ms after the last byte"
        kept = whole == len(tries) and slowest <= 0.1 if server.ours else None
        yield Figure(server.subject, text, kept, {"whole": whole, "tries": len(tries), "slowest": slowest})


def _ended_early(place: Place, length: int) -> tuple[bool, float]:
    """Whether a client that shut down sending at once got everything, and the time from the last byte to the FIN."""
    payload = random.Random(length).randbytes(length)
    with _connected(place) as client:
        client.settimeout(20)
        sending = threading.Thread(target=_send_and_end, args=(client, payload), daemon=True)
        sending.start()
        came, last = bytearray(), time.monotonic()
        try:
            while piece := client.recv(MIB):
                came += piece
                last = time.monotonic()
        except OSError:
            pass
        ended = time.monotonic()
        sending.join(20)
    return came == payload, ended - last


def _send_and_end(client: socket.socket, payload: bytes) -> None:
    try:
        client.sendall(payload)
        client.shutdown(socket.SHUT_WR)
    except OSError:
        pass


# 13

IDLE, AT_ONCE = 10_000, 40  #: connections; and connects at once, few enough for a small backlog
NOISE = 2.0  #: milliseconds of p99 within measurement noise on a machine with other work
ROOMY = SERVICE.replace("per-client = 10000", "connections = 12000, per-client = 12000")


def idle(lab: Lab) -> Iterator[Figure]:
    for server in lab.each(ECHOD, PLAIN, STOCK, services=ROOMY):
        place = server.tcp["echo"]
        quiet, before = probe.stream(place, 2.0), server.memory()
        with ExitStack() as stack:
            held = 0
            for _ in range(IDLE // AT_ONCE):
                held += stack.enter_context(Crowd(place, AT_ONCE)).wait(20)[Fate.SERVED]
            each = (server.memory() - before) / max(held, 1) / KIB
            beside = probe.stream(place, 3.0)
        text = (
            f"{held:,} open, {each:.2f} KiB each; another client's p99 {quiet.p99} ms before, {beside.p99} ms with them"
        )
        kept = held == IDLE and each <= 3 and (beside.p99 <= 2 * quiet.p99 or beside.p99 <= NOISE) and not beside.lost
        values = {"held": held, "kib": round(each, 2), "quiet": vars(quiet), "beside": vars(beside)}
        yield Figure(server.subject, text, kept if server.ours else None, values)


# 20

ENDED, PAUSED = 1_000, 100
AFTER = 7.0  #: seconds: five that a peer has to close, and two sweeps
ACK = '[services.ack]\nlisten = ["tcp://127.0.0.1:0"]\nshow = "no"\n'


def ended(lab: Lab) -> Iterator[Figure]:
    """Clients that stay connected after the service's FIN, and clients that leave while the service does not read."""
    for subject in (ECHOD, PLAIN, STOCK):
        with lab.server(subject, SERVICE + ACK, stock=("ack",)) as server:
            place, told = server.tcp["echo"], server.tcp.get("ack", server.tcp["echo"])
            served(place)
            time.sleep(0.2)
            before = server.descriptors()
            with ExitStack() as stack:
                paused = [stack.enter_context(_connected(place)) for _ in range(PAUSED)] if server.ours else []
                for client in paused:
                    client.setblocking(False)
                while sum(_offer(client) for client in paused):
                    pass
                answered = 0
                for _ in range(ENDED // AT_ONCE):
                    answered += stack.enter_context(Crowd(told, AT_ONCE)).wait(20)[Fate.SERVED]
                for client in paused:
                    client.close()
                began = time.monotonic()
                over = eventually(partial(_has_at_most, server, before), seconds=AFTER)
                seconds, left = time.monotonic() - began, server.descriptors() - before
            text = f"{answered:,} ignored the FIN; {len(paused)} left while paused; {left:+} descriptors after"
            text += f" {seconds:.1f} s"
            kept = over and answered == ENDED if server.ours else None
            yield Figure(subject, text, kept, {"answered": answered, "left": left, "seconds": round(seconds, 2)})


def _offer(client: socket.socket) -> int:
    try:
        return client.send(bytes(256 * KIB))
    except BlockingIOError:
        return 0


# 14

BURST = 2_000


def burst(lab: Lab) -> Iterator[Figure]:
    for server in lab.each(ECHOD, PLAIN, STOCK, services=SERVICE):
        with Crowd(server.tcp["echo"], BURST) as crowd:
            fates = crowd.wait(15)
            slow = sum(caller.seconds > 0.5 for caller in crowd.callers)
            slowest = max(caller.seconds for caller in crowd.callers)
        missing = BURST - fates[Fate.SERVED]
        text = f"{slow:,} slower than 0.5 s, the slowest {slowest:.2f} s"
        text += f", {missing:,} never served" if missing else ""
        yield Figure(
            server.subject, text, not slow and not missing if server.ours else None, {"slow": slow, "slowest": slowest}
        )


# 21

STORM = 20_000


def resets(lab: Lab) -> Iterator[Figure]:
    for server in lab.each(ECHOD, PLAIN, STOCK, services=SERVICE):
        place = server.tcp["echo"]
        served(place)
        time.sleep(0.2)
        before, lines, began = server.descriptors(), server.lines(), time.monotonic()
        done = reset_at_once(place, STORM, seconds=15)
        seconds = time.monotonic() - began
        alive = served(place)
        time.sleep(1.0)
        more, said = server.descriptors() - before, server.lines() - lines
        text = f"{done:,} in {seconds:.1f} s, {many(said, 'line')}, {more:+} descriptors"
        kept = alive and done == STORM and not said and more <= 0 if server.ours else None
        values = {"resets": done, "seconds": round(seconds, 2), "lines": said, "descriptors": more}
        yield Figure(server.subject, text, kept, values)


SCENARIOS = (
    Scenario(9, "one client that does not read", "it is paused, with at most 192 KiB of memory", slow_reader),
    Scenario(12, "clients that shut down sending at once", "every byte, then the FIN within 100 ms", half_close),
    Scenario(13, "10,000 idle connections", f"3 KiB each; another client's p99 at most 2×, or {NOISE:g} ms", idle),
    Scenario(
        20,
        f"{ENDED:,} clients that ignore the FIN of the service, {PAUSED} that leave while they are paused",
        f"no descriptor is left after {AFTER:g} s",
        ended,
    ),
    Scenario(14, "2,000 connects at once", "none slower than 0.5 s", burst),
    Scenario(21, "20,000 connections that the client resets at once", "no log line, no descriptor is left", resets),
)

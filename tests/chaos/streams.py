"""Attacks by connections: slow readers, bursts, resets."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

from tests.chaos.crowd import Crowd, Fate, reset_at_once, served
from tests.chaos.field import Field, Place
from tests.chaos.report import Figure, Scenario, Subject, many
from tests.gate.room import taken

ECHOD, PLAIN, STOCK, XINETD, _ = Subject
SERVICE = '[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\nlimits = { per-client = 10000 }\n'

# 9

KIB, MIB = 1 << 10, 1 << 20
OFFERED = 256 * MIB


def slow_reader(field: Field) -> Iterator[Figure]:
    source = bytes(OFFERED)
    for server in field.each(ECHOD, PLAIN, STOCK, XINETD, services=SERVICE):
        with _connected(server.tcp["echo"]) as client:
            taken(client, source[: 8 * MIB], still=0.1)
        time.sleep(0.2)
        before = server.memory()
        with _connected(server.tcp["echo"]) as client:
            sent = taken(client, source)
            grown = server.memory() - before
        blocked = sent < OFFERED
        text = f"took {sent / MIB:.0f} MiB {'and stopped' if blocked else 'of all that was offered'}"
        text += f", memory {grown / KIB:+,.0f} KiB"
        kept = blocked and grown <= 192 * KIB if server.ours else None
        yield Figure(server.subject, text, kept, {"taken": sent, "memory": grown})


def _connected(place: Place) -> socket.socket:
    return socket.create_connection(place, 20)


# 14

BURST = 2_000


def burst(field: Field) -> Iterator[Figure]:
    for server in field.each(ECHOD, PLAIN, STOCK, services=SERVICE):
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


def resets(field: Field) -> Iterator[Figure]:
    for server in field.each(ECHOD, PLAIN, STOCK, services=SERVICE):
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
    Scenario(9, "one reader that never reads", "it is stopped, for at most 192 KiB", slow_reader),
    Scenario(14, "2,000 connects at once", "none slower than 0.5 s", burst),
    Scenario(21, "20,000 connections that are reset at once", "no line, no descriptor", resets),
)

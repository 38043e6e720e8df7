"""Attacks on accept: no free descriptors, a reserve that is closed from outside, errors of the kernel."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.chaos.connect_burst import Crowd, Fate
from tests.chaos.faults import ACCEPT_ERRORS, STOCK_THIEF, THIEF, Injected, connections, descriptors, leave_descriptors
from tests.chaos.lab import Lab, Server
from tests.chaos.report import Figure, Scenario, Subject, many
from tests.daemon import eventually

ECHOD, PLAIN, STOCK, XINETD, *_ = Subject
SERVICE = '[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\n'
LEFT, CLIENTS = 40, 200
HOLD = 4.0  #: seconds


def no_descriptors(lab: Lab) -> Iterator[Figure]:
    for server in lab.each(ECHOD, PLAIN, STOCK, services=SERVICE):
        yield _starved(server)


def _starved(server: Server, more: str = "", kept: bool = True) -> Figure:
    place = server.tcp["echo"]
    eventually(lambda: not connections(server.pid, place), seconds=5)
    lines = server.lines()
    leave_descriptors(server.pid, LEFT)
    began, before = time.monotonic(), server.cpu()
    with Crowd(place, CLIENTS) as crowd:
        fates = crowd.wait(2)
        refusals = [caller.seconds for caller in crowd.callers if caller.fate in (Fate.RESET, Fate.CLOSED)]
        time.sleep(HOLD - 2)
        cpu = (server.cpu() - before) / (time.monotonic() - began)
        said = server.lines() - lines
    released = time.monotonic()
    back = eventually(lambda: _served(server), seconds=5)
    recovery = time.monotonic() - released
    slowest = max(refusals, default=0.0)
    text = f"{fates[Fate.SERVED]} served, {len(refusals)} refused within {slowest:.2f} s, {fates[Fate.WAITING]} left"
    text += f" waiting; {cpu:.1%} of a processor, {many(said, 'line')}; recovered after {recovery:.2f} s"
    good = not fates[Fate.WAITING] and slowest <= 1 and cpu <= 0.02 and said <= 2 and back and recovery <= 1
    values = {"fates": dict(fates), "slowest": slowest, "cpu": cpu, "lines": said, "recovery": recovery}
    return Figure(server.subject, text + more, (good and kept) if server.ours else None, values)


def _served(server: Server) -> bool:
    with Crowd(server.tcp["echo"], 1) as one:
        return one.wait(1)[Fate.SERVED] == 1


def stolen_reserve(lab: Lab) -> Iterator[Figure]:
    for subject in (ECHOD, PLAIN, STOCK):
        command = STOCK_THIEF if subject is STOCK else THIEF
        with lab.server(subject, SERVICE, command=command) as server:
            if not _served(server):
                raise AssertionError(f"{subject} serves no client")
            folder, before = Path(f"/proc/{server.pid}/cwd").resolve(), _reserved(server)
            (folder / "steal").touch()
            eventually((folder / "stolen").exists)
            stolen = time.monotonic()
            again = eventually(partial(_has_reserved, server, before), seconds=2)
            seconds = time.monotonic() - stolen
            more = f"; reserved again after {seconds:.2f} s" if again else "; never reserved again"
            yield _starved(server, more, again and seconds <= 1)


def _has_reserved(server: Server, count: int) -> bool:
    """Whether the descriptor is there after one more client."""
    return _served(server) and _reserved(server) >= count


def _reserved(server: Server) -> int:
    return descriptors(server.pid).count("/dev/null")


# 16

WINDOW = 2.0  #: seconds


def accept_errors(lab: Lab) -> Iterator[Figure]:
    for server in lab.each(ECHOD, PLAIN, STOCK, XINETD, services=SERVICE):
        found = {error: _failing(server, error) for error in ACCEPT_ERRORS}
        worst = {
            name: max((each[name], error) for error, each in found.items())
            for name in ("calls", "cpu", "lines", "recovery")
        }
        text = ", ".join(
            (
                f"{worst['calls'][0]:,.0f} calls a second ({worst['calls'][1]})",
                f"{worst['cpu'][0]:.1%} of a processor ({worst['cpu'][1]})",
                f"{many(int(worst['lines'][0]), 'line')} ({worst['lines'][1]})",
                f"recovered after {worst['recovery'][0]:.2f} s",
            )
        )
        bounds = {"calls": 20, "cpu": 0.02, "lines": 2, "recovery": 1}
        kept = all(worst[name][0] <= bound for name, bound in bounds.items()) if server.ours else None
        yield Figure(server.subject, "at worst " + text, kept, found)


def _failing(server: Server, error: str) -> dict[str, Any]:
    """Accept fails for WINDOW while one client waits."""
    # A signal interrupts a call now and then; Python's accept expects that, and repeats the call without end.
    when = "1..30" if error == "EINTR" else "1+"
    lines, before = server.lines(), server.cpu()
    with Injected(server.pid, error, when=when) as injected:
        began = time.monotonic()
        crowd = Crowd(server.tcp["echo"], 1)
        crowd.wait(WINDOW)
        time.sleep(max(0.0, WINDOW - (time.monotonic() - began)))
        cpu, seconds = server.cpu() - before, time.monotonic() - began
    released = time.monotonic()
    with crowd:
        crowd.wait(5)
    time.sleep(0.1)
    recovery = time.monotonic() - released - 0.1
    calls = min(injected.calls, injected.injected) if error == "EINTR" else injected.calls
    return {
        "calls": round(calls / seconds, 1),
        "cpu": round(cpu / seconds, 4),
        "lines": server.lines() - lines,
        "recovery": round(recovery, 2),
    }


SCENARIOS = (
    Scenario(
        15,
        "no free descriptors, 200 clients",
        "each refused within 1 s, at most 2 % of a processor and 2 log lines, recovered within 1 s",
        no_descriptors,
    ),
    Scenario(
        16,
        "accept fails, in seven ways",
        "at most 20 calls a second, 2 % of a processor and 2 log lines, recovered within 1 s",
        accept_errors,
    ),
    Scenario(
        17, "the reserve descriptor is closed from outside", "as 15, and reserved again within 1 s", stolen_reserve
    ),
)

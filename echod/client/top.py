"""`echoctl top`: what the running daemon does just now, drawn anew every second; `q` or Ctrl-C leaves."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import select
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator, Mapping
from typing import Any, Final

from echod.client.admin import Administrator, Refused, Unanswered, place, understanding
from echod.client.status import size, span, table
from echod.client.terminal import fail
from echod.text import escaped

EVERY: Final = 1.0  #: seconds
HEADINGS: Final = ("SERVICE", "ADDRESS", "OPEN", "NEW/s", "DGRAM/s", "IN/s", "OUT/s", "REFUSED/s")
CLEAR, HOME, REST, HIDE, SHOW = "\x1b[2J", "\x1b[H", "\x1b[J", "\x1b[?25l", "\x1b[?25h"
ENDING: Final = (signal.SIGINT, signal.SIGTERM)  #: by default they would leave the terminal as it is just now
ALTERNATE, BACK = "\x1b[?1049h", "\x1b[?1049l"

Counters = Mapping[tuple[str, str], Mapping[str, int]]


def run(arguments: argparse.Namespace) -> int:
    """Draw until somebody has seen enough, and return 0; or say why there is no answer, and return 1."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        fail("top needs a terminal; `echoctl status --json` is for programs")
        return 1
    try:
        address = place(arguments)
        with Administrator(address, patience=5.0) as administrator, understanding(address):
            status = administrator.ask("/api/status")  # before the screen changes: what is wrong stays readable
            counters(status)
            with screen():
                watch(administrator, status)
    except (Unanswered, Refused) as error:
        fail(escaped(str(error)))
        return 1
    return 0


def watch(administrator: Administrator, status: Mapping[str, Any]) -> None:
    """Draw and wait, until `q` is pressed. Raises Unanswered once the daemon is gone."""
    before, then = counters(status), time.monotonic()
    while True:
        now = time.monotonic()
        after = counters(status)
        draw(status, rates(before, after, max(now - then, 1e-3)))
        before, then = after, now
        if pressed(EVERY) in (b"q", b"Q", b"\x03", b"\x04", b""):
            return
        status = administrator.ask("/api/status")


def counters(status: Mapping[str, Any]) -> Counters:
    """What only grows, by service and address."""
    return {
        (service["name"], one["address"]): {
            "open": one["open"],
            "new": one["accepted"],
            "datagrams": one["datagrams_in"],
            "in": one["bytes_in"],
            "out": one["bytes_out"],
            "refused": sum(one["refused"].values()),
        }
        for service in status["services"]
        for one in service["listeners"]
    }


def rates(before: Counters, after: Counters, seconds: float) -> Iterator[tuple[str, ...]]:
    """A row for each listener, the busiest first; one that has just come has no rate yet."""

    def busy(item: tuple[tuple[str, str], Mapping[str, int]]) -> tuple[int, str]:
        was = before.get(item[0], item[1])
        return -(item[1]["in"] - was["in"] + item[1]["refused"] - was["refused"]), item[0][0]

    for (name, address), figures in sorted(after.items(), key=busy):
        was = before.get((name, address), figures)
        a_second = {key: (figures[key] - was[key]) / seconds for key in figures}
        yield (
            escaped(name),
            escaped(address),
            f"{figures['open']:,}",
            f"{a_second['new']:,.0f}",
            f"{a_second['datagrams']:,.0f}",
            size(a_second["in"]),
            size(a_second["out"]),
            f"{a_second['refused']:,.0f}",
        )


def draw(status: Mapping[str, Any], lines: Iterator[tuple[str, ...]]) -> None:
    """Write one screen, cut to its size."""
    columns, rows = shutil.get_terminal_size((80, 24))
    state = "ready" if status["ready"] else "NOT READY"
    version = escaped(str(status["version"]))
    head = f"echod {version}  {state}  process {status['pid']:d}  up {span(status['uptime'])}   q leaves"
    listed = list(lines)
    shown = list(table(HEADINGS, listed))
    if max(map(len, shown)) > columns:  # what is at its end tells the addresses of a service apart
        shown = list(table(HEADINGS, [(name, short(address), *figures) for name, address, *figures in listed]))
    text = [head, "", *shown][: rows - 1]
    sys.stdout.write(HOME + "".join(f"{line[:columns]}\x1b[K\r\n" for line in text) + REST)
    sys.stdout.flush()


def short(address: str) -> str:
    """An address without its scheme and host, or without its directory."""
    return re.sub(r"^\w+://.*(?=:\d+$)|^.*/(?=[^/])", "", address)


def pressed(seconds: float) -> bytes | None:
    """The key that is pressed within so many seconds, or None; b"" is a terminal that has gone."""
    if not select.select([sys.stdin], [], [], seconds)[0]:
        return None
    return os.read(sys.stdin.fileno(), 1)


@contextlib.contextmanager
def screen() -> Iterator[None]:
    """A screen of our own, with keys as they are pressed; the terminal is as before afterwards, also where a signal
    ends it, which is no error."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        for number in ENDING:
            signal.signal(number, signal.default_int_handler)
        tty.setcbreak(descriptor)
        sys.stdout.write(ALTERNATE + HIDE + CLEAR)
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)  # a second one would leave half of this undone
        sys.stdout.write(SHOW + BACK)
        sys.stdout.flush()
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

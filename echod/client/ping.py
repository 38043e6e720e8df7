"""`echoctl ping`: probes on a fixed schedule, each answer verified, and what became of them all.

A probe leaves when it is due, whatever became of those before it: a late answer delays no later probe, and so hides
none of the time that others would have taken.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterable
from typing import IO, Any, Final

from echod.address import Address
from echod.client.account import Account, Finding, Verdict
from echod.client.commandline import MOST_PROBES
from echod.client.connecting import Connections
from echod.client.dialogue import Dialogue, Failed
from echod.client.plot import Plot
from echod.client.probe import Datagrams, Probes, Probing, Stream
from echod.client.statistics import Times
from echod.client.summary import figures, lines
from echod.client.terminal import INTERRUPTED, Screen, colored, fail, put_text
from echod.config.values import duration_text
from echod.model import Peer, Say
from echod.shape import Shape
from echod.text import counted, escaped, system_error

BEHIND: Final = 1.0
"""Seconds of the schedule that are made up for. Whoever was stopped for longer goes on with what is due now."""
UNSENT: Final = 64 * 1024 * 1024
"""Octets that may wait to be sent on a stream: four of the largest probes. A peer behind more will never catch up."""

NOTES: Final = {
    Verdict.RECEIVED: "",
    Verdict.REORDERED: " (reordered)",
    Verdict.DUPLICATED: " (duplicate)",
    Verdict.LATE: " (late)",
}


RED, YELLOW, PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[0m"
COLORS: Final = {
    Verdict.WRONG: RED,
    Verdict.LATE: YELLOW,
    Verdict.DUPLICATED: YELLOW,
    Verdict.REORDERED: YELLOW,
}


class Ping:
    """Asks until COUNT is reached, somebody interrupts, or nothing can be asked any more."""

    def __init__(
        self,
        reactor: Any,
        arguments: argparse.Namespace,
        finish: Callable[[int], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._reactor = reactor
        self._arguments = arguments
        self._finish = finish
        self._clock = clock
        self._address: Address = arguments.url
        self._place = escaped(self._address.place)
        self._count: int = arguments.count or MOST_PROBES
        self._screen = Screen()
        self._account = Account(arguments.timeout)
        self._times = Times()
        self._plot = Plot()
        self._colored = colored(arguments.color)
        self._schedule: Schedule | None = None
        self._begun = clock()
        self._done = False
        self._picture: IO[str] | None = None
        if arguments.plot is not None:
            try:
                self._picture = open(arguments.plot, "w", encoding="utf-8")  # noqa: SIM115 - it is written at the end
            except OSError as error:  # now, not after the hours that were to be drawn
                self._done = True
                fail(f"{escaped(arguments.plot)}: {system_error(error)}")
                finish(1)
                return
        self._way: Connections | Conversing = (
            Connections(reactor, self._address, self._account, clock, self._opened, self._heard, self._over)
            if arguments.connect
            else Conversing(reactor, arguments, self._account, clock, self._opened, self._heard, self._over)
        )

    def interrupted(self) -> int:
        """Say what is known by now; what may still be answered is not lost."""
        self._end(awaited=self._account.awaited(self._clock()), code=INTERRUPTED)
        return INTERRUPTED

    def _opened(self) -> None:
        self._reactor.callLater(0, self._start)

    def _start(self) -> None:
        if self._done:
            return
        arguments = self._arguments
        what = "a connection" if arguments.connect else counted(arguments.size, "octet", "octets")
        self._say(f"{self._place}: {what} every {duration_text(arguments.interval)}")
        self._schedule = Schedule(self._reactor, self._clock, arguments.interval, self._ask)
        self._begun = self._clock()
        self._schedule.start()

    def _ask(self) -> None:
        self._way.ask()
        if self._account.sent >= self._count and self._schedule is not None:
            self._schedule.stop()
            self._reactor.callLater(self._account.patience, self._end)

    def _heard(self, finding: Finding) -> None:
        if self._done:
            return
        if finding.verdict in (Verdict.RECEIVED, Verdict.REORDERED) and finding.seconds is not None:
            self._times.add(finding.seconds)
            if self._picture is not None and finding.number is not None:
                self._plot.add(finding.number, finding.seconds)
        self._say(self._line(finding), COLORS.get(finding.verdict, ""))
        if self._account.sent >= self._count and self._account.settled(self._clock()):
            self._end()

    def _over(self, failed: Failed | None) -> None:
        if not self._done:
            failed = failed or Failed(f"{self._place}: the peer has ended the conversation")
            fail(str(failed))
            self._end(failed)

    def _end(self, failed: Failed | None = None, awaited: int = 0, code: int | None = None) -> None:
        """Say everything, once, and leave."""
        if self._done:
            return
        self._done = True
        seconds = self._clock() - self._begun
        if self._schedule is not None:
            self._schedule.stop()
        found = figures(self._account, self._times, awaited)
        if self._arguments.json:
            self._print(json.dumps(self._facts(failed, seconds) | found))
        elif self._account.sent or not failed:
            self._say("")
            counts, *times = lines(found, connecting=self._arguments.connect)
            self._print(f"--- {self._place} ---")
            self._print(counts, RED if found["lost"] or found["wrong"] else "")
            for line in times:
                self._print(line)
        drawn = self._draw(lines(found, connecting=self._arguments.connect))
        wrong = not drawn or failed or self._account.wrong or not self._account.received
        self._finish(int(bool(wrong)) if code is None else code)

    def _draw(self, said: Iterable[str]) -> bool:
        """Write the picture, where one is wanted; whether that went well."""
        if self._picture is None:
            return True
        try:
            with self._picture as file:
                file.write(self._plot.svg(self._place, "\n".join(said)))
        except OSError as error:
            fail(f"{escaped(self._arguments.plot)}: {system_error(error)}")
            return False
        return True

    def _facts(self, failed: Failed | None, seconds: float) -> dict[str, Any]:
        arguments = self._arguments
        return {
            "url": str(self._address),
            "connect": arguments.connect,
            "size_octets": None if arguments.connect else arguments.size,
            "interval_ms": round(arguments.interval * 1000, 6),
            "timeout_ms": round(arguments.timeout * 1000, 6),
            "duration_ms": round(seconds * 1000, 3),
            "error": None if failed is None else str(failed),
            "exact": self._times.exact,
        }

    def _line(self, finding: Finding) -> str:
        # A Unix socket calls itself by the path that it was bound to, whatever became of that.
        remote = escaped(self._address.path if self._address.has_path else str(self._way.remote))
        octets = counted(finding.octets, "octet", "octets")
        said = f"connected to {remote}:" if self._arguments.connect else f"{octets} from {remote}:"
        if finding.number is not None:
            said += f" seq={finding.number}"
        if finding.verdict is Verdict.WRONG:
            return f"{said} wrong: {finding.fault}"
        if finding.seconds is not None:
            said += f" time={finding.seconds * 1000:.3f} ms"
        return said + NOTES[finding.verdict]

    def _say(self, line: str, color: str = "") -> None:
        if not (self._arguments.quiet or self._arguments.json):
            self._print(line, color)

    def _print(self, line: str, color: str = "") -> None:
        if color and self._colored:
            put_text(f"{color}{escaped(line)}{PLAIN}\n")
        else:
            self._screen.write(f"{line}\n".encode())


class Schedule:
    """Calls `turn` at once and then every `interval` seconds, counted from the first time and not from the last."""

    def __init__(self, reactor: Any, clock: Callable[[], float], interval: float, turn: Callable[[], None]) -> None:
        self._reactor = reactor
        self._clock = clock
        self._interval = interval
        self._turn = turn
        self._begun = 0.0
        self._turns = 0  # that are over, or were left out
        self._next: Any = None

    def start(self) -> None:
        """The first turn is now."""
        self._begun = self._clock()
        self._next = self._reactor.callLater(0, self._now)

    def stop(self) -> None:
        """No turn comes any more."""
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None

    def _now(self) -> None:
        self._turns += 1
        late = self._clock() - self._begun - self._turns * self._interval
        if late > BEHIND:
            self._turns += int(late / self._interval)
        due = self._begun + self._turns * self._interval
        self._next = self._reactor.callLater(max(0.0, due - self._clock()), self._now)
        self._turn()


class Conversing:
    """One conversation for all probes."""

    def __init__(
        self,
        reactor: Any,
        arguments: argparse.Namespace,
        account: Account,
        clock: Callable[[], float],
        opened: Callable[[], None],
        heard: Callable[[Finding], None],
        over: Callable[[Failed | None], None],
    ) -> None:
        self._address: Address = arguments.url
        self._size: int = arguments.size
        self._account = account
        self._clock = clock
        self._opened = opened
        self._heard = heard
        self._over = over
        self._session: Probing
        self._say: Say
        self._dialogue = Prompt(reactor, self._address, self._begin, over)

    def ask(self) -> None:
        """Send the next probe."""
        if self._dialogue.unsent > UNSENT:
            self._over(Failed(f"{self._address.place}: the peer takes less than it is asked"))
            return
        if not self._account.sent:
            self._dialogue.hurry()
        self._say(self._session.ask())
        self._dialogue.flush()

    def _begin(self, peer: Peer, say: Say) -> Probing:
        datagram = self._address.shape.keeps_messages
        self.remote = peer.remote
        self._say = say
        probes = Probes(self._size, peer, random.Random(), marked=datagram)
        kind = Datagrams if datagram else Stream
        self._session = kind(probes, self._account, self._clock, self._opened, self._hear)
        return self._session

    def _hear(self, finding: Finding) -> None:
        self._heard(finding)
        if finding.number is None and self._address.shape is Shape.STREAM:
            self._over(Failed(f"{self._address.place}: {finding.fault}"))


class Prompt(Dialogue):
    """A dialogue in which nothing waits that could leave: a probe's time has begun."""

    def hurry(self) -> None:
        """Before the first probe: no answer waits until every probe has left."""
        if self._conversation is not None:
            self._conversation.never_pause()

    def flush(self) -> None:
        """Send what was said in this turn of the reactor, and not in its next."""
        if self._conversation is not None and self._conversation.begun:
            self._conversation.below.flush()

    @property
    def unsent(self) -> int:
        """Octets that the kernel has not taken."""
        return 0 if self._conversation is None else self._conversation.unsent


COMMAND = Ping

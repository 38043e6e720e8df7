"""`ping --live`: the last minute as a graph that is drawn again four times a second, and the summary at the end."""

from __future__ import annotations

import argparse
import shutil
from typing import Any

from echod.client.live_screen import EVERY, LiveScreen
from echod.client.ping_output import Text, seconds
from echod.client.plots.last_minute import LastMinute
from echod.client.probe_ledger import ProbeResult, ReplyClass


class LiveOutput(Text):
    """Draws the last minute while the ping runs. The summary is printed as without it."""

    def __init__(self, arguments: argparse.Namespace, reactor: Any) -> None:
        super().__init__(argparse.Namespace(**{**vars(arguments), "quiet": True}), seconds)
        self._reactor = reactor
        self._screen_of_its_own = LiveScreen(arguments.color)
        self._minute: LastMinute | None = None
        self._timer: Any = None

    def started(self, label: str, what: str, interval: float) -> None:
        self._minute = LastMinute(f"{label}: {what}   (Ctrl-C ends)")
        self._screen_of_its_own.begin()
        self._draw()

    def reply(self, finding: ProbeResult, remote: str, *, connecting: bool) -> None:
        if self._minute is None:
            return
        if finding.kind in (ReplyClass.RECEIVED, ReplyClass.REORDERED) and finding.seconds is not None:
            self._minute.received(self._reactor.seconds() - finding.seconds, finding.seconds)
        if finding.kind is ReplyClass.WRONG:
            self._minute.notice = f"wrong reply from {remote}: {finding.error}"

    def lost(self, number: int, why: str, remote: str, *, told: bool = False) -> None:
        if self._minute is not None:
            self._minute.lost(self._reactor.seconds())
            self._minute.notice = f"seq={number} lost: {why}"

    def ended(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._screen_of_its_own.end()

    def _draw(self) -> None:
        assert self._minute is not None, "drawn before the start"
        columns, rows = shutil.get_terminal_size((80, 24))
        self._screen_of_its_own.plot(self._minute.lines(self._reactor.seconds(), columns, rows))
        self._timer = self._reactor.callLater(EVERY, self._draw)

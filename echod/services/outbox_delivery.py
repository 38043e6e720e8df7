"""Delivery: sends the queued lines of all members of a service in this process, within the work budget."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from echod.model import Context, Say
from echod.services.outbox import ReplyOutbox

COST: Final = 4  #: units of work of a delivery to one member: a system call


class Delivery:
    """The outboxes with lines to send. All lines of a turn are sent together, so a delivery costs less under load."""

    def __init__(self, context: Context) -> None:
        self.waiting: dict[MemberOutbox, None] = {}
        self._context = context
        self._scheduled = False

    def add(self, outbox: MemberOutbox) -> None:
        """Send the lines of an outbox soon."""
        self.waiting[outbox] = None
        if not self._scheduled:
            self._scheduled = True
            self._context.later(0, self._deliver)

    def remove(self, outbox: MemberOutbox) -> None:
        """Do not send the lines of an outbox: its session sends them, or its reader is gone."""
        self.waiting.pop(outbox, None)

    def _deliver(self) -> None:
        """Send the lines of as many outboxes as the work budget allows in this turn."""
        portion = self._context.work.portion(whole=True)
        while self.waiting and portion.take():
            portion.spend(COST - 1)
            outbox = next(iter(self.waiting))
            del self.waiting[outbox]
            outbox.flow()
        self._scheduled = bool(self.waiting)
        if self._scheduled:
            self._context.work.wait(self._deliver)


class MemberOutbox(ReplyOutbox):
    """The outbox of a session whose lines are sent by a Delivery."""

    def __init__(
        self, context: Context, say: Say, missed: Callable[[int], bytes], delivery: Delivery, *, joined: bool
    ) -> None:
        super().__init__(context, say, missed, joined=joined)
        self._delivery = delivery

    def put(self, line: bytes) -> None:
        """Add a line, with its line end; it is sent soon."""
        super().put(line)
        if self._lines:  # otherwise it was closed: its reader stayed behind
            self._delivery.add(self)

    def put_all(self, lines: Collection[bytes]) -> None:
        """Add several lines, each with its line end."""
        super().put_all(lines)
        if self._lines:
            self._delivery.add(self)

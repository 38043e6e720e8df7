"""Console: a service whose replies an operator types. Messages of clients are shown to operators only."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from echod.membership import OperatorQueue
from echod.model import NOTHING, PLAIN, Arrival, Context, End, Peer, Reply, Say, Service, Session
from echod.services.in_process_membership import membership_of
from echod.services.line_buffer import HINT, LineHint, LineInput
from echod.services.outbox import ReplyOutbox

GOODBYE: Final = b"-- goodbye\n"
LONGEST: Final = 4096  #: characters of a message that are shown; the rest is only counted


@dataclass(frozen=True)
class ConsoleOptions:
    """The keys of a console service."""

    away: str = field(default="", metadata={"help": "sent to a client if no operator is connected; empty: nothing"})
    unanswered: int = field(
        default=100,
        metadata={"least": 1, "most": 10_000, "help": "maximum of waiting messages of one client"},
    )
    unanswered_in_all: int = field(
        default=1000,
        metadata={"least": 1, "most": 100_000, "help": "maximum of waiting messages of all clients"},
    )


class Console(Service):
    """Each read of a stream and each datagram is shown line by line, with its peer and time.

    Operators of `queue` answer: `twistd echod --console` on the daemon's own terminal, `echoctl console` on others.
    """

    kind = "console"
    summary = "shows messages of clients to an operator, and sends the typed answers"
    Options = ConsoleOptions
    conversational = True

    def __init__(self, options: Any = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        own = self.options
        self.queue = membership_of(self.context).queue(own.away, own.unanswered, own.unanswered_in_all)

    def take_over_from(self, predecessor: Console) -> None:
        """Continue with the operators and waiting messages of the service before a reload."""
        own, self.queue = self.options, predecessor.queue
        self.queue.reconfigure(own.away, own.unanswered, own.unanswered_in_all)

    def retire(self) -> None:
        """Disconnect the operators, because a reload has removed the service."""
        self.queue.close()

    def session(self, peer: Peer, say: Say) -> Session:
        return Asking(self.queue, peer, say, self.context)


class ClientOutbox(ReplyOutbox):
    """The outbox of one client. While the session handles the peer's end, `end` is part of its reply."""

    def __init__(self, context: Context, say: Say, *, joined: bool) -> None:
        super().__init__(context, say, _missed, joined=joined)
        self._finishing = self._ends = False

    def end(self) -> None:
        """Send what waits, and close."""
        if self._finishing:
            self._ends = True
        else:
            super().end()

    def last_reply(self, finish: Callable[[], None]) -> Reply:
        """The reply to the peer's end: `finish` reports it to the queue, which may call `end` now or later."""
        self._finishing = True
        finish()
        self._finishing = False
        return self.reply()._replace(end=End.CLOSE if self._ends else End.NOTHING)


def _missed(count: int) -> bytes:
    return f"-- {count} answers are missing here: you read too slowly\n".encode()


class Asking:
    """The session of one client."""

    def __init__(self, queue: OperatorQueue, peer: Peer, say: Say, context: Context) -> None:
        self._whole = peer.keeps_messages
        self._input = LineInput(context, messages=self._whole)
        self._outbox = ClientOutbox(context, say, joined=not self._whole)
        self._client = queue.add_client(f"{peer.scheme} {peer.remote}", peer.share, self._outbox)
        self._last = b""  # the last byte of a stream: text without LF is shown as it comes
        self._hint = LineHint(context, self._ends_with_cr, self._hear_hint)
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")  # a read may end within a character

    def opened(self) -> Reply:
        """Send nothing at the start."""
        return NOTHING

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        """Show the data as messages, one for each line that is not empty."""
        if not self._input.add(data):
            self._client.refuse()
        return self.proceed()

    def proceed(self) -> Reply:
        """Process as many lines as the work budget allows now."""
        for piece in self._input.pieces():
            self._last = piece[-1:]
            self._hear(self._decoder.decode(piece, final=self._whole))
        self._hint.check()
        return self._outbox.reply()._replace(held=self._input.held)

    def ended(self) -> Reply:
        """The client half-closed, and may wait for an answer. Over datagrams it is removed, and gets a goodbye."""
        self._hear_rest()
        if self._whole:
            self._outbox.put(GOODBYE)
        return self._outbox.last_reply(self._client.finish)

    def lost(self) -> None:
        """The connection was lost: show the last lines, and remove the client."""
        self._hear_rest()
        self._input.close()
        self._outbox.close()
        self._client.leave()

    def _ends_with_cr(self) -> bool:
        return self._last.endswith(b"\r")

    def _hear_hint(self) -> None:
        self._outbox.put(f"{HINT}\n".encode())
        self._outbox.flow()

    def _hear_rest(self) -> None:
        for piece in self._input.rest():
            self._hear(self._decoder.decode(piece))
        self._hear(self._decoder.decode(b"", final=True))

    def _hear(self, text: str) -> None:
        """Show a line or a part of one, which has at most one LF, at its end."""
        shown = text.removesuffix("\n").rstrip("\r")
        if shown.strip():
            more = f"… ({len(shown)} characters)" if len(shown) > LONGEST else ""
            self._client.ask(shown[:LONGEST] + more)

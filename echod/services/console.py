"""Console: a service whose replies an operator types. Messages of clients are shown to operators only."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field
from typing import Any, Final

from echod.model import NOTHING, PLAIN, Arrival, Context, Peer, Reply, Say, Service, Session
from echod.services.line_buffer import HINT, LineHint, LineInput
from echod.services.operator_queue import Desk

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

    Operators of `desk` answer: `twistd echod --console` on the daemon's own terminal, `echoctl console` on others.
    """

    kind = "console"
    summary = "shows messages of clients to an operator, and sends the typed answers"
    Options = ConsoleOptions
    conversational = True

    def __init__(self, options: Any = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        own = self.options
        self.desk = Desk(self.context, away=own.away, most=own.unanswered, most_in_all=own.unanswered_in_all)

    def take_over_from(self, predecessor: Console) -> None:
        """Take over the operators and waiting messages from the service before a reload."""
        own, self.desk = self.options, predecessor.desk
        self.desk.reconfigure(own.away, own.unanswered, own.unanswered_in_all)

    def retire(self) -> None:
        """Disconnect the operators, because a reload has removed the service."""
        self.desk.close()

    def session(self, peer: Peer, say: Say) -> Session:
        return Asking(self.desk, peer, say, self.context)


class Asking:
    """The session of one client."""

    def __init__(self, desk: Desk, peer: Peer, say: Say, context: Context) -> None:
        self._desk = desk
        self._whole = peer.keeps_messages
        self._input = LineInput(context, messages=self._whole)
        self._client = desk.come(f"{peer.scheme} {peer.remote}", peer.share, say, joined=not self._whole)
        self._last = b""  # the last byte of a stream: text without LF is shown as it comes
        self._hint = LineHint(context, self._ends_with_cr, self._hear_hint)
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")  # a read may end within a character

    def opened(self) -> Reply:
        """Send nothing at the start."""
        return NOTHING

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        """Show the data as messages, one for each line that is not empty."""
        if not self._input.add(data):
            self._desk.refuse(self._client)
        return self.proceed()

    def proceed(self) -> Reply:
        """Process as many lines as the work budget allows now."""
        for piece in self._input.pieces():
            self._last = piece[-1:]
            self._hear(self._decoder.decode(piece, final=self._whole))
        self._hint.look()
        return self._client.outbox.reply()._replace(held=self._input.held)

    def ended(self) -> Reply:
        """The client half-closed, and may wait for an answer. Over datagrams it is removed, and gets a goodbye."""
        self._hear_rest()
        if self._whole:
            self._client.outbox.put(GOODBYE)
        end = self._desk.end(self._client)
        return self._client.outbox.reply()._replace(end=end.end)

    def lost(self) -> None:
        """The connection was lost: show the last lines, and remove the client."""
        self._hear_rest()
        self._input.close()
        self._desk.leave(self._client)

    def _ends_with_cr(self) -> bool:
        return self._last.endswith(b"\r")

    def _hear_hint(self) -> None:
        self._client.outbox.put(f"{HINT}\n".encode())
        self._client.outbox.flow()

    def _hear_rest(self) -> None:
        for piece in self._input.rest():
            self._hear(self._decoder.decode(piece))
        self._hear(self._decoder.decode(b"", final=True))

    def _hear(self, text: str) -> None:
        """Show a line or a part of one, which has at most one LF, at its end."""
        shown = text.removesuffix("\n").rstrip("\r")
        if shown.strip():
            more = f"… ({len(shown)} characters)" if len(shown) > LONGEST else ""
            self._desk.hear(self._client, shown[:LONGEST] + more)

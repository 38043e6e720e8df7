"""`echoctl chat`: a member of a chat room. Received lines do not disturb the line that is being typed.

Over datagrams it answers challenges: one to join, then one about every ten seconds to stay. It also sends a blank line
every 20 seconds. This repeats a lost challenge, and a member that sends nothing for `idle` is disconnected.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final

from echod.client.challenges import padded_answer
from echod.client.client_connection import Dialogue, Failed
from echod.client.stdout import INTERRUPTED, fail, put_text, unreadable
from echod.escaping import decoded, escaped
from echod.lineedit.interactive_input import InteractiveInput
from echod.model import CLOSE, NOTHING, PLAIN, Arrival, Peer, Quiet, Reply, Say, Session
from echod.shape import Shape
from echod.stdio import report

KNOCK: Final = b" " * 32  #: a blank line that joins, long enough for a challenge in reply
WELCOME: Final = b"-- welcome: "
TAKEN: Final = {"nick": b"-- you are now ", "join": b"-- you are in "}  #: replies to a successful command
GOODBYE: Final = b"-- goodbye"  #: over datagrams the only sign of the end
KNOCKS: Final = 5  #: attempts, a second apart: a datagram may be lost
STILL_HERE: Final = 20.0  #: seconds: less than the 30 s of a challenge, and far below the default `idle`
LAST_WORDS: Final = 2.0  #: seconds to wait for the goodbye
INTRODUCED: Final = 1.0  #: seconds between introductions: a peer that sends a welcome each time gets no more
LONGEST: Final = 1 << 16  #: bytes of a received line: a longer line is shown in pieces


class Chat(Quiet):
    """Sends each typed line, and shows each received line above it. `/quit` or the end of input leaves."""

    def __init__(self, reactor: Any, arguments: argparse.Namespace, finish: Callable[[int], None]) -> None:
        self._reactor = reactor
        self._finish = finish
        self._address = arguments.url
        self._datagrams = self._address.shape is Shape.DATAGRAM
        commands = (("nick", arguments.nick), ("join", arguments.room))
        self._introduction = {word: name for word, name in commands if name}
        self._refused = dict(self._introduction)  # until the service confirms it
        self._introduced: float | None = None  # time of the last introduction
        self._welcomed = False
        self._rest = b""
        self._knocks = 0
        self._joined = False
        self._leaving = False
        self._over = False
        self._say: Say = lambda _reply: None
        self._typing = InteractiveInput(reactor, put_text, self._typed, self._leave, failed=self._unreadable)
        self._dialogue = Dialogue(reactor, arguments, self._begin, self._ended)

    def interrupted(self) -> int:
        """Leave at once. Over datagrams, tell the service first."""
        if self._joined and self._datagrams:
            self._say(Reply(b"/quit"))
        self._over = True
        self._dialogue.abandon()
        self._typing.stop()
        return INTERRUPTED

    def _begin(self, _peer: Peer, say: Say) -> Session:
        self._say = say
        return self

    def opened(self) -> Reply:
        """Connected, or ready to send datagrams: join."""
        if self._datagrams:
            self._knock()
        else:
            self._joined = True
            self._introduce()
            self._typing.start()
            self._reactor.callLater(STILL_HERE, self._knock)
        return NOTHING

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        """Show received lines. A line of a stream may arrive in parts; a datagram ends its line."""
        if self._datagrams and (answer := padded_answer(data)) is not None:
            return Reply(answer)
        if self._datagrams and (data.startswith(WELCOME) or not self._joined):  # again if the service has dropped us
            self._joined = True
            self._introduce()
            self._typing.start()
        *lines, self._rest = (self._rest + data).split(b"\n")
        if self._rest and (self._datagrams or len(self._rest) > LONGEST):
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._note(line)
            self._typing.show(decoded(line.removesuffix(b"\r")))
        return self.ended() if self._datagrams and GOODBYE in lines else NOTHING

    def ended(self) -> Reply:
        """The service has ended the conversation."""
        if not self._leaving:
            self._typing.stop()
            report(f"{self._address.label} has ended the conversation")
        return CLOSE

    def _knock(self) -> None:
        """Send a blank line: every second until the service replies, then every STILL_HERE seconds."""
        if self._over or self._leaving:
            return
        if not self._joined:
            self._knocks += 1
            if self._knocks > KNOCKS:
                self._dialogue.abandon()
                self._ended(Failed(f"{self._address.label}: no reply within {KNOCKS} s (ETIMEDOUT)"))
                return
        self._say(Reply(KNOCK if self._datagrams else KNOCK + b"\n"))
        self._reactor.callLater(STILL_HERE if self._joined else 1.0, self._knock)

    def _introduce(self) -> None:
        now = self._reactor.seconds()
        if self._introduced is None or now - self._introduced >= INTRODUCED:
            self._introduced = now
            for word, name in self._introduction.items():
                self._send(f"/{word} {name}")

    def _note(self, line: bytes) -> None:
        """Note a welcome, or the confirmation of a command."""
        self._welcomed = self._welcomed or line.startswith(WELCOME)
        for word in [word for word in self._refused if line.startswith(TAKEN[word])]:
            del self._refused[word]

    def _unfit(self) -> Failed | None:
        """The error of a conversation that ended normally, or None. On a terminal the user has seen refusals."""
        if not self._welcomed:
            return Failed(f"{self._address.label} is not a chat service: it sent no welcome")
        if self._refused and not self._typing.edits:
            names = " and ".join(f"/{word} {escaped(name)}" for word, name in self._refused.items())
            return Failed(f"{self._address.label}: the service refused {names}")
        return None

    def _typed(self, line: str) -> None:
        if line.strip() == "/quit":
            self._leave()
        elif line.strip():
            if self._typing.edits:
                self._typing.show(f"> {escaped(line)}")
            self._send(line)

    def _send(self, line: str) -> None:
        data = line.encode("utf-8", "surrogateescape")
        self._say(Reply(data if self._datagrams else data + b"\n"))

    def _leave(self) -> None:
        if not self._leaving:
            self._leaving = True
            self._send("/quit")
            self._reactor.callLater(LAST_WORDS, self._ended, None)

    def _unreadable(self, error: OSError) -> None:
        self._dialogue.abandon()
        self._ended(Failed(unreadable(error)))

    def _ended(self, failed: Failed | None) -> None:
        if self._over:
            return
        self._over = True
        self._typing.stop()
        if self._rest:
            put_text(f"{decoded(self._rest)}\n")
        failed = failed or self._unfit()
        if failed is not None:
            fail(str(failed))
        self._finish(0 if failed is None else 1)


COMMAND = Chat

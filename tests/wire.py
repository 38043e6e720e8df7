"""The lowest level of a stack, of a test: it keeps what is done to it."""

from typing import Any

from echod.socket_names import Inet
from echod.transports.layers.layer_interface import LINGER, Facts

FACTS = Facts(Inet("127.0.0.1", 7), Inet("127.0.0.1", 40_000))


class Wire:
    """A StreamTransport that takes everything, or as much as `room` says, and whose receiver a test calls."""

    def __init__(self, facts=FACTS, room=None):
        self.facts = facts
        self.receiver: Any = None
        self.room = room
        self.sent = b""
        self.unsent = self.dropped = 0
        self.reads = True
        self.ended = ""
        self.reason = None
        self.calls = []
        self.texts = []  # of each write

    def write(self, data, text=None):
        self.calls.append(("write", data))
        self.texts.append(text)
        took = len(data) if self.room is None else min(len(data), self.room)
        self.sent += data[:took]
        self.unsent += len(data) - took

    def flush(self):
        self.calls.append(("flush",))

    def pause(self):
        self.reads = False

    def resume(self):
        self.reads = True

    def read_at_once(self, size):
        self.calls.append(("read_at_once", size))

    def clamp(self):
        self.calls.append(("clamp",))

    def keep_alive(self):
        self.calls.append(("keep_alive",))

    def finish(self):
        self.ended = "half"

    def close(self, linger=LINGER):
        self.ended = "closed"
        self.reads = True

    def abort(self, reason=None):
        self.ended, self.reason = "reset", reason

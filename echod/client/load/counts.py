"""The counts of a load: messages by their fates, failures by their causes, and latencies. Pure."""

from __future__ import annotations

import errno
from collections import Counter
from typing import Final

from echod.client.histogram import Histogram

REFUSED, RESET, TIMED_OUT = "refused", "reset", "timed out"
WRONG, CLOSED, TOO_LARGE = "wrong bytes", "closed early", "message too large"
HANDSHAKE, PROTOCOL = "handshake failed", "protocol error"
CAUSES: Final = {
    errno.ECONNREFUSED: REFUSED,
    errno.ECONNRESET: RESET,
    errno.EPIPE: RESET,
    errno.ECONNABORTED: RESET,
    errno.ETIMEDOUT: TIMED_OUT,
    errno.EMSGSIZE: TOO_LARGE,
}
"""The names of causes by errno; other errors have their symbolic names."""


def cause_of(error: OSError) -> str:
    """The cause to count for an error of the system."""
    number = error.errno or 0
    return CAUSES.get(number) or errno.errorcode.get(number, "unknown error")


class LoadCounts:
    """The counts since `reset`.

    Each sent message has one fate, or is awaited: sent = received + wrong + lost + abandoned + awaited. A message is
    `lost` if no reply arrived in time or a datagram was refused. It is `abandoned` if its connection ended because of
    another message or of the peer.
    """

    def __init__(self, digits: int = 3) -> None:
        self._digits = digits
        self.failures: Counter[str] = Counter()  #: by cause; never reset: a failure in the warm-up is one, too
        self.first: dict[str, str] = {}  #: a description of the first failure of each cause
        self.reset()

    def reset(self) -> None:
        """Begin to count. All messages so far must have their fate."""
        self.sent = self.received = self.wrong = self.lost = self.abandoned = 0  #: messages
        self.bytes_sent = self.bytes_received = 0  #: of messages, without headers of layers
        self.duplicated = self.reordered = self.late = 0  #: replies of datagrams
        self.connections = 0  #: opened
        self.latencies = Histogram(self._digits)  #: in nanoseconds, up to the last `turn`
        self.recent = Histogram(self._digits)  #: since then
        self.connecting = Histogram(self._digits)  #: from connect(2) until the handshakes of all layers are complete
        self.lateness = Histogram(self._digits)  #: how late messages of a schedule were sent, if a connection was free

    def fail(self, cause: str, detail: str) -> bool:
        """Count one failure. Returns whether it is the first of its cause."""
        self.failures[cause] += 1
        if self.failures[cause] > 1:
            return False
        self.first[cause] = detail
        return True

    def turn(self) -> Histogram:
        """The latencies since the last call; they are added to `latencies`."""
        recent, self.recent = self.recent, Histogram(self._digits)
        self.latencies.merge(recent)
        return recent

    @property
    def awaited(self) -> int:
        """Messages that can still get a reply."""
        return self.sent - self.received - self.wrong - self.lost - self.abandoned

    @property
    def failed(self) -> int:
        """All failures."""
        return sum(self.failures.values())

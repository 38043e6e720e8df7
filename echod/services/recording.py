"""Records what clients send to a service, up to a number of bytes, for tests that ask for it later.

`recording` wraps the service of any kind. The wrapper has no `transform`, so its listeners do not use the fast path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from echod.model import PLAIN, Arrival, Context, Peer, Reply, Say, Service, Session

ENTRY: Final = 256  #: bytes that an entry counts besides its data: about the memory of its objects


@dataclass
class Recorded:
    """One datagram or message, or everything that was received on one connection of a stream."""

    peer: Peer
    time: float  #: of the arrival, or of the begin of the connection: seconds since 1970
    text: bool | None = None  #: whether the message came as text, on a transport that distinguishes
    data: bytearray = field(default_factory=bytearray)


class Recorder:
    """The recording of one service: the first `limit` bytes, ENTRY for each entry included; the rest is counted."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.entries: list[Recorded] = []
        self.dropped = 0  #: datagrams, messages, connections and pieces of streams that were not recorded as a whole
        self.generation = 0  #: changes when the entries are cleared
        self._room = limit

    def clear(self) -> None:
        """Forget everything. Open connections are recorded again from their next bytes on."""
        self.entries.clear()
        self.dropped = 0
        self.generation += 1
        self._room = self.limit

    def begin(self, peer: Peer, time: float, text: bool | None = None) -> Recorded | None:
        """A new entry without data, or None if no room is left; that is counted."""
        if self._room < ENTRY:
            self.dropped += 1
            return None
        self._room -= ENTRY
        entry = Recorded(peer, time, text)
        self.entries.append(entry)
        return entry

    def append(self, entry: Recorded, data: bytes) -> None:
        """Add bytes to an entry, as many as there is room for."""
        if len(data) > self._room:
            self.dropped += 1
        entry.data += data[: self._room]
        self._room -= min(len(data), self._room)

    def message(self, data: bytes, peer: Peer, arrival: Arrival, time: float) -> None:
        """Record one datagram or message."""
        entry = self.begin(peer, time, arrival.text)
        if entry is not None:
            self.append(entry, data)


def recording(service: Service, recorder: Recorder | None) -> Service:
    """A service that replies as `service` does and records what its clients send; `service` itself without recorder."""
    return service if recorder is None else RecordingService(service, recorder)


class RecordingService(Service):
    """Records each message, then passes it to another service. Only transports call it."""

    def __init__(self, service: Service, recorder: Recorder) -> None:
        super().__init__(service.options, service.context)
        self.kind = service.kind  # type: ignore[misc]  # of this wrapper only
        self.conversational = service.conversational  # type: ignore[misc]  # the same
        self._service = service
        self._recorder = recorder

    def session(self, peer: Peer, say: Say) -> Session:
        return RecordingSession(self._service.session(peer, say), peer, self._recorder, self.context)

    def datagram(self, request: bytes, peer: Peer, arrival: Arrival, reply: Callable[[bytes], object]) -> None:
        self._recorder.message(request, peer, arrival, self.context.wall_clock())
        self._service.datagram(request, peer, arrival, reply)

    def answer(self, datagram: bytes, peer: Peer) -> bytes | None:
        self._recorder.message(datagram, peer, PLAIN, self.context.wall_clock())
        return self._service.answer(datagram, peer)


class RecordingSession:
    """Records the bytes of a stream as one entry, which also exists if the client sends nothing; or each message."""

    __slots__ = ("_context", "_entry", "_generation", "_peer", "_recorder", "_session", "ended", "lost", "proceed")

    def __init__(self, session: Session, peer: Peer, recorder: Recorder, context: Context) -> None:
        self._session, self._peer, self._recorder, self._context = session, peer, recorder, context
        self._entry: Recorded | None = None
        self._generation = -1  # of the entry
        self.proceed, self.ended, self.lost = session.proceed, session.ended, session.lost

    def opened(self) -> Reply:
        if not self._peer.keeps_messages:
            self._append(b"")
        return self._session.opened()

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        if self._peer.keeps_messages:
            self._recorder.message(data, self._peer, arrival, self._context.wall_clock())
        else:
            self._append(data)
        return self._session.received(data, arrival)

    def _append(self, data: bytes) -> None:
        """Add a piece of the stream to its entry, or to another one if the entries were cleared."""
        recorder = self._recorder
        if self._entry is None or self._generation != recorder.generation:
            self._entry = recorder.begin(self._peer, self._context.wall_clock())
            self._generation = recorder.generation
        if self._entry is not None:
            recorder.append(self._entry, data)

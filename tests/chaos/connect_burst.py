"""Many clients that connect at once, each with one request: which are served, which are refused, and after how long."""

from __future__ import annotations

import errno
import os
import resource
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import cycle, islice
from typing import Final, Self

IP_BIND_ADDRESS_NO_PORT: Final = 24  # ip(7): connect chooses the port, which avoids ports that are in use
RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close sends a reset
QUESTION: Final = b"?"


class Fate(StrEnum):
    """The result of a client."""

    WAITING = "waiting"  #: no result yet
    SERVED = "served"  #: the reply arrived
    RESET = "reset"  #: accepted and reset, or not accepted
    CLOSED = "closed"  #: closed without a reply


class Caller:
    """One client: its start, its result, and the time until then."""

    def __init__(self, place: tuple[str, int], host: str | None) -> None:
        self.fate = Fate.WAITING
        self.seconds = 0.0
        self._asked = False
        self.socket = socket.socket(socket.AF_INET6 if ":" in place[0] else socket.AF_INET)
        self.socket.setblocking(False)
        if host is not None:
            self.socket.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            self.socket.bind((host, 0))
        self._began = time.monotonic()
        if (error := self.socket.connect_ex(place)) not in (0, errno.EINPROGRESS):
            raise OSError(error, os.strerror(error), str(place))

    def go_on(self) -> None:
        """The socket is ready: send the request, or receive the reply."""
        try:
            if not self._asked:
                if error := self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise OSError(error, os.strerror(error))
                self.socket.send(QUESTION)
                self._asked = True
                return
            self._is_over(Fate.SERVED if self.socket.recv(1) else Fate.CLOSED)
        except BlockingIOError:
            pass
        except OSError:
            self._is_over(Fate.RESET)

    @property
    def events(self) -> int:
        """The epoll events it waits for."""
        return select.EPOLLIN if self._asked else select.EPOLLOUT

    def _is_over(self, fate: Fate) -> None:
        self.fate = fate
        self.seconds = time.monotonic() - self._began


class Crowd:
    """`count` clients that connect at once, from `hosts` in turn; they stay connected until the block ends."""

    def __init__(self, place: tuple[str, int], count: int, hosts: Sequence[str | None] = (None,)) -> None:
        more_descriptors()
        self._epoll = select.epoll()
        self.callers: list[Caller] = []
        self._by_descriptor: dict[int, Caller] = {}
        try:
            for host in islice(cycle(hosts), count):
                caller = Caller(place, host)
                self.callers.append(caller)
                self._by_descriptor[caller.socket.fileno()] = caller
                self._epoll.register(caller.socket, caller.events)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, callers: Iterable[Caller] | None = None, *, reset: bool = False) -> None:
        """Close all clients, or these; with `reset` by a reset."""
        for caller in self.callers if callers is None else callers:
            if reset and caller.socket.fileno() >= 0:
                caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            caller.socket.close()
        if callers is None:
            self._epoll.close()  # may be called twice

    def wait(self, seconds: float) -> Counter[Fate]:
        """Wait until each client has a result, for at most so many seconds."""
        ends = time.monotonic() + seconds
        left = sum(caller.fate is Fate.WAITING for caller in self.callers)
        while left and time.monotonic() < ends:
            for descriptor, _ in self._epoll.poll(max(0.0, min(0.1, ends - time.monotonic()))):
                caller = self._by_descriptor[descriptor]
                caller.go_on()
                if caller.fate is Fate.WAITING:
                    self._epoll.modify(descriptor, caller.events)
                else:
                    self._epoll.unregister(descriptor)
                    left -= 1
        return self.fates

    @property
    def fates(self) -> Counter[Fate]:
        """The number of clients with each result."""
        return Counter(caller.fate for caller in self.callers)

    def those(self, fate: Fate) -> list[Caller]:
        """The clients with this result."""
        return [caller for caller in self.callers if caller.fate is fate]


def more_descriptors() -> None:
    """Raise the limit of open files to its maximum: each client needs a descriptor."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def reset_at_once(place: tuple[str, int], count: int, seconds: float = 60) -> int:
    """Connect and reset, one after the other, for at most so many seconds; returns the number of connections."""
    ends = time.monotonic() + seconds
    for done in range(count):
        if time.monotonic() > ends:
            return done
        with socket.create_connection(place, 60) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    return count


def served(place: tuple[str, int], seconds: float = 60) -> bool:
    """Whether one client gets its reply."""
    with Crowd(place, 1) as one:
        return one.wait(seconds)[Fate.SERVED] == 1

"""The path MTU by probes that may not be fragmented: `echoctl ping -M probe`.

Probes of different sizes are sent with DF, one after another. The largest size whose reply arrives is found by
bisection (RFC 8899 5.3.2). No ICMP message is needed or believed: a router that drops silently is found too. A size
fails after ATTEMPTS probes without a reply, or if the kernel refuses to send it.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.python.failure import Failure

from echod.client.client_connection import family_of
from echod.client.ping_options import SEARCH
from echod.client.stamp_probe import Recognized, StampProbes
from echod.client.stdout import INTERRUPTED, fail, put_text
from echod.client.summary_head import given_options, head
from echod.escaping import counted, escaped, system_error
from echod.measurement.clock_quality import CachedClockQuality
from echod.socket_names import inet_name
from echod.transports.lookup import Target, look_up
from echod.transports.sockets import IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, prepare_client

PROBE: Final = 3  #: a value of IP_MTU_DISCOVER: set DF, and ignore the path MTU that the kernel knows; <linux/in.h>
IPV6_DONTFRAG: Final = 62  # ipv6(7)
HEADERS: Final = {socket.AF_INET: 28, socket.AF_INET6: 48}  #: bytes of the IP header without options, and of UDP
SMALLEST: Final = 512  #: bytes of the first probe; less than every path carries (RFC 791: 576 with headers)
LARGEST: Final = 65_507
COMMON: Final = (1472, 1452, 1392)  #: Ethernet with IPv4, and with IPv6 or PPPoE; tunnels
ATTEMPTS: Final = 3
WAIT: Final = 1.0  #: seconds for a reply


class SizeSearch:
    """Finds the largest size that works. Pure. Sizes that are common are tried first."""

    def __init__(self, smallest: int = SMALLEST, largest: int = LARGEST) -> None:
        self.works = smallest - 1  #: the largest size that is known to work
        self.fails = largest + 1  #: the smallest size that is known not to work
        self._first = smallest
        self._hints = [*COMMON, *(size + 1 for size in COMMON)]

    def next(self) -> int | None:
        """The size to try next; None when the result is known."""
        if self.works < self._first:
            return None if self.fails <= self._first else self._first
        if self.fails - self.works <= 1:
            return None
        hint = next((size for size in self._hints if self.works < size < self.fails), None)
        return (self.works + self.fails) // 2 if hint is None else hint

    def note(self, size: int, works: bool) -> None:
        """Note whether a size works."""
        if works:
            self.works = max(self.works, size)
        else:
            self.fails = min(self.fails, size)

    @property
    def found(self) -> int | None:
        """The largest size that works; None if even the smallest has no reply."""
        return self.works if self.works >= self._first else None


class MtuSearch(FileDescriptor):
    """Searches the path MTU of one target, and prints it. `finish` is called with the exit code."""

    def __init__(self, reactor: Any, arguments: argparse.Namespace, finish: Callable[[int], None]) -> None:
        super().__init__(reactor)
        self._reactor = reactor
        self._arguments = arguments
        self._finish = finish
        self.label = escaped(arguments.url.label)
        self.failed: str | None = None
        self._search = SizeSearch()
        quality = CachedClockQuality(time.monotonic)
        self._probes = StampProbes((LARGEST,), random.Random(), quality, remembered=1024)
        self._sent = 0
        self._attempt = 0
        self._size = 0
        self._waiting: Any = None
        self._done = False
        self._begun = time.monotonic()
        self._started = time.time_ns() / 1e9
        self._seconds = 0.0  # the duration
        self._remote: str | None = None
        self._socket: socket.socket | None = None
        reactor.callLater(0, self._look_up)  # no callback before the caller has this object

    def facts(self) -> dict[str, Any]:
        """The result for JSON."""
        size = self._search.found
        mtu = None if size is None or self._socket is None else size + HEADERS[self._socket.family]
        options = given_options(self._arguments, ("interface", "dscp", "ttl", "source"))
        remote = None if size is None else self._remote
        url, program = str(self._arguments.url), f"echoctl ping -M {SEARCH}"
        found = head(program, url, remote, self._started, self._seconds, options, self.failed)
        return found | {"sent": self._sent, "path_mtu": mtu, "largest_size": size}

    def summary(self) -> list[str]:
        """The state of the search."""
        return [f"{self.label}: probes of {self._search.works} bytes arrive, and none of {self._search.fails}"]

    def interrupted(self) -> None:
        """End without a result."""
        self._end(INTERRUPTED)

    def fileno(self) -> int:
        """The descriptor that the reactor watches."""
        return -1 if self._socket is None else self._socket.fileno()

    def _look_up(self) -> None:
        url = self._arguments.url
        found = look_up(self._reactor, url.host, url.port, socket.SOCK_DGRAM, family_of(self._arguments))
        found.addCallback(self._begin).addErrback(self._unknown)

    def _begin(self, targets: list[Target]) -> None:
        if self._done:
            return
        family, name = targets[0]
        opened = self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            prepare_client(opened, self._arguments.url)
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PROBE)
                opened.setsockopt(socket.IPPROTO_IPV6, IPV6_DONTFRAG, 1)
            else:
                opened.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PROBE)
            opened.connect(name)
            opened.setblocking(False)
            self._remote = str(inet_name(name))
        except OSError as error:
            self._end(1, system_error(error))
            return
        self.connected = 1
        self.startReading()
        self._try_next()

    def _unknown(self, failure: Failure) -> None:
        wrong = failure.value
        self._end(1, system_error(wrong) if isinstance(wrong, OSError) else escaped(str(wrong)))

    def _try_next(self) -> None:
        """Send the next size, or end with the result."""
        size = self._search.next()
        if size is None:
            self._end(0 if self._search.found is not None else 1)
            return
        self._size, self._attempt = size, 0
        self._send()

    def _send(self) -> None:
        assert self._socket is not None, "no target is connected"
        self._attempt += 1
        self._sent += 1
        self._probes.sizes = (self._size,)
        # The next send would return the error of an earlier probe (udp(7)), such as a router's late "too large".
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code not in (0, errno.EMSGSIZE):
            self._end(1, system_error(OSError(code, os.strerror(code))))
            return
        try:
            self._socket.send(self._probes.request(self._sent, time.time_ns()))
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                self._result(works=False)
                return
            if error.errno not in (errno.EAGAIN, errno.ENOBUFS):  # the probe is lost in our own queue
                self._end(1, system_error(error))
                return
        self._waiting = self._reactor.callLater(min(WAIT, self._arguments.timeout), self._silent)

    def _silent(self) -> None:
        if self._attempt < ATTEMPTS:
            self._send()
        else:
            self._result(works=False)

    def doRead(self) -> None:
        """Receive a reply."""
        while self._socket is not None and not self._done:
            try:
                data = self._socket.recv(LARGEST + 1)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.EMSGSIZE:  # a router's message; the missing reply is what counts
                    self._end(1, system_error(error))
                return
            if isinstance(self._probes.recognize(data, self._sent), Recognized) and len(data) >= self._size:
                self._result(works=True)

    def _result(self, *, works: bool) -> None:
        if self._waiting is not None and self._waiting.active():
            self._waiting.cancel()
        if not (self._arguments.quiet or self._arguments.json):
            put_text(f"{counted(self._size, 'byte', 'bytes')}: {'a reply' if works else 'too large'}\n")
        self._search.note(self._size, works)
        self._reactor.callLater(0, self._go_on)

    def _go_on(self) -> None:
        if not self._done:
            self._try_next()

    def _end(self, code: int, error: str = "") -> None:
        if self._done:
            return
        self._done = True
        if self._waiting is not None and self._waiting.active():
            self._waiting.cancel()
        self._seconds = time.monotonic() - self._begun
        found = self.facts()
        if code == 1:
            waited = f"no reply to probes of {SMALLEST} bytes"
            self.failed = f"{self.label}: {error or waited}"
            fail(self.failed)
        elif code == 0 and not self._arguments.json:
            text = f"probes of {found['largest_size']} bytes arrive, and none of {self._search.fails}"
            put_text(f"{self.label}: path MTU {found['path_mtu']} bytes: {text}\n")
        if self._socket is not None:
            if self.connected:
                self.connected = 0
                self.stopReading()
            self._socket.close()
        self._finish(code)

    def connectionLost(self, reason: object) -> None:
        """The kernel reports an error, which the next call returns; or the reactor ends."""
        if self.connected and not self._done:
            self.startReading()

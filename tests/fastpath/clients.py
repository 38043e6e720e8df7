"""Helpers of the fast path's tests: both paths, clients that read only on request, and the descriptors of a process.

"The plain path" means `plane = "off"`: every byte goes through Twisted and a session. Clients and counters must not be
able to tell the paths apart.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.contract.matrix import data
from tests.daemon import ECHOD, SECONDS, TOP, Daemon, Place, is_waiting

PLANES: Final = ("auto", "off")
SCHEMES: Final = ("tcp", "unix")
RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST, and drops data that was not sent
BIND_ADDRESS_NO_PORT: Final = 24  # <linux/in.h>: the port is chosen at connect, so that each address has all of them
SEGMENT: Final = 1000
QUIET: Final = 0.5
NARROW: Final = 4096  # bytes of a client's receive buffer, so that it stalls soon


def configuration(plane: str, *services: str, daemon: str = "", **limits: str | int) -> str:
    """A configuration that serves each of these kinds (or `name:kind`) over TCP and over a Unix socket."""
    lines = [f'[daemon]\nplane = "{plane}"\n{daemon}']
    values = ", ".join(f"{key.replace('_', '-')} = {value!r}".replace("'", '"') for key, value in limits.items())
    for service in services:
        name, _, kind = service.partition(":")
        lines.append(f'[services.{name}]\nkind = "{kind or name}"\nlimits = {{ {values} }}')
        lines.append(f'listen = ["tcp://127.0.0.1:0", "unix://{{dir}}/{name}.sock"]')
    return "\n".join(lines)


@contextmanager
def both(*services: str, daemon: str = "", **limits: str | int) -> Iterator[dict[str, Daemon]]:
    """A daemon of each plane with the same services."""
    with ExitStack() as stack:
        yield {
            plane: stack.enter_context(Daemon(configuration(plane, *services, daemon=daemon, **limits)))
            for plane in PLANES
        }


def counted(daemon: Daemon, service: str, scheme: str = "tcp") -> dict[str, int]:
    """The counters of one address; the daemon is stopped for it."""
    return next(figures for key, figures in daemon.counters().items() if key.startswith(f"{service} {scheme}:"))


# clients


def connect(place: Place, *, narrow: bool = False, host: str | None = None) -> socket.socket:
    """A client. `narrow` makes it stall soon; `host` is the source of an IPv4 client."""
    opened = socket.socket(socket.AF_UNIX if isinstance(place, str) else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # With a timeout of Python's own, a Unix socket would not wait for room in a full backlog, but fail.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(SECONDS), 0))
        if narrow:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, NARROW)
            if opened.family == socket.AF_INET:  # otherwise each segment exceeds the window, and waits for a timer
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
        if opened.family == socket.AF_INET:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if host is not None:
                opened.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
                opened.bind((host, 0))
        opened.connect(place)
        opened.settimeout(SECONDS)
    except BaseException:
        opened.close()
        raise
    return opened


def ended(client: socket.socket, seconds: float = SECONDS) -> bool:
    """Whether the daemon closes the connection in time, independent of unread bytes."""
    poll = select.poll()
    poll.register(client, select.POLLRDHUP)
    return bool(poll.poll(seconds * 1000))


def reset(client: socket.socket) -> None:
    """Close a connection by RST. A Unix socket has none: there it is a close."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.close()


class Talker:
    """A client that never blocks: it sends its data as the socket accepts it, and reads only on request."""

    def __init__(self, client: socket.socket) -> None:
        self.socket = client
        self.waiting = bytearray()
        self._finishing = False
        self._finished = False
        client.setblocking(False)

    def say(self, words: bytes | memoryview) -> None:
        """Queue data and send as much as the kernel accepts."""
        self.waiting += words
        self.push()

    def finish(self) -> None:
        """Shut down sending after the queued data."""
        self._finishing = True
        self.push()

    def push(self) -> int:
        """Send queued data; returns the number of bytes that the kernel accepted."""
        sent = 0
        try:
            while self.waiting:
                went = self.socket.send(memoryview(self.waiting)[:65_536])
                del self.waiting[:went]
                sent += went
        except BlockingIOError:
            pass
        if self._finishing and not self.waiting and not self._finished:
            self._finished = True
            self.socket.shutdown(socket.SHUT_WR)
        return sent

    def hear(self, size: int) -> bytes:
        """Read the next `size` bytes, or fewer if the other end closes; sends queued data meanwhile."""
        parts: list[bytes] = []
        poll = select.poll()
        while size:
            self.push()
            poll.register(self.socket, select.POLLIN | (select.POLLOUT if self.waiting else 0))
            if not poll.poll(SECONDS * 1000):
                raise AssertionError(f"no data arrives: {size} bytes missing, {len(self.waiting)} wait to be sent")
            try:
                part = self.socket.recv(min(size, 1 << 20))
            except BlockingIOError:
                continue
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def rest(self) -> bytes:
        """Shut down sending, read until the other end closes, and close."""
        self.finish()
        with self.socket:
            return self.hear(sys.maxsize)


class Crowd:
    """Clients that all send and do not read, until `read_on` is called. Each sends different data."""

    def __init__(self, clients: Iterable[socket.socket], transform: Callable[[bytes], bytes] = bytes) -> None:
        self.clients = list(clients)
        self.sent = [0] * len(self.clients)
        self._source = memoryview(data())
        self._transform = transform
        self._numbers = {client.fileno(): number for number, client in enumerate(self.clients)}
        for client in self.clients:
            client.setblocking(False)

    def __len__(self) -> int:
        return len(self.clients)

    def fill(self, daemon: Daemon, most: int = 1 << 40) -> None:
        """Send until nothing is accepted for QUIET seconds, or each client has sent `most`, and the daemon waits."""
        with select.epoll() as poll:
            for client in self.clients:
                poll.register(client, select.EPOLLOUT)
            left = len(self.clients)
            while (ready := poll.poll(QUIET if left else 0.01)) or not is_waiting(daemon.process.pid):
                for descriptor, _ in ready:
                    number = self._numbers[descriptor]
                    begin = self._begin(number)
                    piece = self._source[begin : begin + min(16_384, most - self.sent[number])]
                    self.sent[number] += self.clients[number].send(piece)
                    if self.sent[number] >= most:
                        poll.unregister(descriptor)
                        left -= 1

    def read_on(self) -> None:
        """Shut down sending, and read until the daemon has closed every connection; everything must be complete."""
        heard = [0] * len(self.clients)
        with select.epoll() as poll:
            for client in self.clients:
                client.shutdown(socket.SHUT_WR)
                poll.register(client, select.EPOLLIN)
            left = len(self.clients)
            while left:
                ready = poll.poll(SECONDS)
                assert ready, f"the daemon does not close {left} connections"
                for descriptor, _ in ready:
                    number = self._numbers[descriptor]
                    came = self.clients[number].recv(1 << 18)
                    begin = self._begin(number) - self.sent[number] + heard[number]
                    due = self._transform(bytes(self._source[begin : begin + len(came)]))
                    assert came == due, f"client {number} received different data"
                    heard[number] += len(came)
                    if not came:
                        poll.unregister(descriptor)
                        left -= 1
        assert heard == self.sent

    def close(self) -> None:
        """Close, with or without unread data."""
        for client in self.clients:
            client.close()

    def _begin(self, number: int) -> int:
        return number * 1021 + self.sent[number]


# processes


def kinds_of(*texts: str) -> Counter[str]:
    """How many of each kind these descriptors are, by their links in /proc."""
    return Counter(text if text.startswith("anon_inode") else text.partition(":")[0] for text in texts)


def descriptors(pid: int) -> Counter[str]:
    """The descriptors of a process by their links in /proc: a socket and a pipe by number, a file by path."""
    found: Counter[str] = Counter()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # closed meanwhile
            found[os.readlink(entry.path)] += 1
    return found


def held(pid: int) -> Counter[str]:
    """The descriptors of a process by kind: socket, pipe, anon_inode:[eventpoll], and the path of each file."""
    return kinds_of(*descriptors(pid).elements())


def pipes(pid: int) -> int:
    """The number of pipes that a process has an end of."""
    return len({link for link in descriptors(pid) if link.startswith("pipe:")})


def pipe_sizes(pid: int) -> set[int]:
    """The capacities of the pipes of a process."""
    found = set()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # closed meanwhile
            if os.readlink(entry.path).startswith("pipe:"):
                descriptor = os.open(entry.path, os.O_RDONLY | os.O_NONBLOCK)
                found.add(fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ))
                os.close(descriptor)
    return found


def processor_time(pid: int) -> float:
    """Processor seconds that a process has used (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


WITHIN: Final = """
import ctypes, os, resource, sys
files, unprivileged, *command = sys.argv[1:]
if int(files):
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(files), int(files)))
if int(unprivileged):
    for capability in (21, 24):  # CAP_SYS_ADMIN and CAP_SYS_RESOURCE, out of the bounding set
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(command[0], command)
"""


def within(files: int = 0, unprivileged: bool = False) -> tuple[str, ...]:
    """The command of a daemon with a limit of open files, or with the pipe limits of an unprivileged user."""
    return (sys.executable, "-c", WITHIN, str(files), str(int(unprivileged)), *ECHOD)


# third-party kinds


def installed(folder: Path, module: str, kinds: Mapping[str, str]) -> dict[str, str]:
    """Make a package of `kinds`, the classes by their names, from the text of its module; returns the environment."""
    (folder / "other_kinds.py").write_text(module)
    about = folder / "other_kinds-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: other-kinds\nVersion: 1\n")
    lines = [f"{kind} = other_kinds:{name}" for kind, name in kinds.items()]
    (about / "entry_points.txt").write_text("\n".join(["[echod.services]", *lines, ""]))
    return first_on_the_path(folder)


def first_on_the_path(folder: Path) -> dict[str, str]:
    """An environment in which Python searches this folder first."""
    rest = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(TOP), *([rest] if rest else [])])}

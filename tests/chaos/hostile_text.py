"""Clients that send the hostile corpus wherever echod accepts text, and read the results.

Each function that sends returns the number of texts, so that the caller can count the lines.
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, Self

from tests.chaos.corpus import CORPUS, MIB, NAMES, illegible
from tests.chaos.network import Lacking, program
from tests.daemon import ECHOD, SECONDS, Daemon, Place, eventually, free_port, place_of

SCHEMES: Final = ("tcp", "udp", "unix", "unix-dgram")
KINDS: Final = ("echo", "ack", "chat", "console")
PACE: Final = 0.002  #: seconds between two connections: the log allows 1,000 `debug` lines of a class a second
COMMANDS: Final = (b"", b"/me ", b"/msg guest1 ", b"/nick ", b"/join ", b"/")
OPTIONS: Final = {
    "ack": 'close = false\nshow = "text"',
    "chat": "lines-per-second = 0\nroom-lines-per-second = 0\nhistory = 10",
    "console": "unanswered = 10000\nunanswered-in-all = 100000",
}
LONGEST_PATH: Final = 107  #: bytes, of struct sockaddr_un

Places = Mapping[tuple[str, str], Place]


def configuration(plane: str, form: str = "text") -> tuple[str, dict[tuple[str, str], str]]:
    """A configuration with every kind that accepts text, on every transport; and their URLs, with `{dir}` in them."""
    text = f'[daemon]\nplane = "{plane}"\ndrain = "1s"\nlog-level = "debug"\nlog-format = "{form}"\n'
    text += '[admin]\nlisten = ["unix://{dir}/admin.sock", "tcp://127.0.0.1:0"]\n'
    urls_of: dict[tuple[str, str], str] = {}
    for kind in KINDS:
        urls = {
            "tcp": f"tcp://127.0.0.1:{free_port()}",
            "udp": f"udp://127.0.0.1:{free_port()}",
            "unix": f"unix://{{dir}}/{kind}.sock",
            "unix-dgram": f"unix-dgram://{{dir}}/{kind}.dgram",
        }
        text += f"[services.{kind}]\n{OPTIONS.get(kind, '')}\nlisten = {json.dumps([*urls.values()])}\n"
        urls_of |= {(kind, scheme): url for scheme, url in urls.items()}
    return text, urls_of


def located(urls: Mapping[tuple[str, str], str], daemon: Daemon) -> Places:
    """The addresses to connect to, after the daemon's directory is known."""
    return {key: place_of(url.replace("{dir}", str(daemon.dir))) for key, url in urls.items()}


def client(scheme: str, name: str | bytes = "") -> socket.socket:
    """A socket for a scheme; `name` is the name of a Unix socket, as it is for datagrams."""
    family = socket.AF_UNIX if scheme.startswith("unix") else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_DGRAM if scheme in ("udp", "unix-dgram") else socket.SOCK_STREAM)
    opened.settimeout(SECONDS)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MIB)
    if scheme == "unix-dgram" or name:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MIB)
        opened.bind(name)
    return opened


class Ear(threading.Thread):
    """A connected client that collects everything it receives."""

    def __init__(self, scheme: str, place: Place) -> None:
        super().__init__(daemon=True)
        self.came = bytearray()
        self.socket = client(scheme)
        self.socket.connect(place)
        self._over = threading.Event()
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        self.socket.close()

    def run(self) -> None:
        while not self._over.is_set():
            # a short time limit of the socket would end a send() to a full queue, too
            if not select.select([self.socket], [], [], 0.1)[0]:
                continue
            try:
                piece = self.socket.recv(MIB)
            except OSError:
                return
            if not piece and self.socket.type == socket.SOCK_STREAM:
                return
            self.came += piece

    def say(self, data: bytes) -> None:
        """Send all of it; a text that is too long for a datagram is cut."""
        if self.socket.type == socket.SOCK_STREAM:
            self.socket.sendall(data)
        else:
            self.socket.send(data[:65_507])

    def wait_for(self, said: bytes, again: Callable[[], None] | None = None) -> None:
        """Wait until this was received. `again` repeats it each second, because a full queue drops datagrams."""
        for _ in range(int(SECONDS) if again else 1):
            if again:
                again()
            if eventually(lambda: said in self.came, 1.0 if again else SECONDS):
                return
        raise AssertionError((said, bytes(self.came[-300:])))

    @property
    def lines(self) -> list[bytes]:
        """The received lines."""
        return bytes(self.came).split(b"\n")


def chat(places: Places, schemes: Iterable[str] = SCHEMES) -> tuple[int, list[Ear]]:
    """Send every text as a line, a nick, a room and a command, by each transport; returns the members."""
    with ExitStack() as stack:
        ears = [stack.enter_context(Ear(scheme, places["chat", scheme])) for scheme in SCHEMES]
        for ear in ears:
            if ear.socket.type == socket.SOCK_DGRAM:
                ear.say(b" ")
            ear.wait_for(b"-- welcome: you are guest")
        texts = 0
        for scheme in schemes:
            mouth = stack.enter_context(Ear(scheme, places["chat", scheme]))
            ears.append(mouth)
            for number, text in enumerate(CORPUS):
                mouth.say(b"%s-%d-%s\n" % (scheme.encode(), number, text))
                for command in COMMANDS:
                    mouth.say(command + text + b"\n")
                    mouth.say(b"/join lobby\n")
                texts += 1 + len(COMMANDS)
                if number % 5 == 0:  # the client's buffer and the daemon's hold only a few of them
                    mouth.say(b"/synchronised-%d\n" % number)
                    mouth.wait_for(b"/synchronised-%d;" % number)
            for command in (b"/nick ", b"/join "):
                mouth.say(command + b"\x1b" * MIB + b"\n")
                texts += 1
            mouth.say(b"/join lobby\n")
            for ear in ears[: len(SCHEMES)]:
                ear.wait_for(
                    b": that was %s\n" % scheme.encode(), partial(mouth.say, b"that was %s\n" % scheme.encode())
                )
            mouth.say(b"/quit\n")
            mouth.wait_for(b"-- goodbye")
        return texts, ears


def lines_of_each(ears: Iterable[Ear], schemes: Sequence[str] = SCHEMES) -> bool:
    """Whether the first client received each text as exactly one line."""
    heard = re.findall(rb"(?m)^[^ :]+: ([a-z-]+-\d+)-", bytes(next(iter(ears)).came))
    return sorted(heard) == sorted(b"%s-%d" % (one.encode(), at) for one in schemes for at in range(len(CORPUS)))


def shown(places: Places) -> int:
    """Send every text to be printed, by each transport: one line each, because each waits for its receipt."""
    for scheme in SCHEMES:
        with client(scheme) as mouth:
            mouth.connect(places["ack", scheme])
            for number, text in enumerate(CORPUS):
                mouth.sendall(b"%s-%d-%s" % (scheme.encode(), number, text))
                assert mouth.recv(100) == b"received"
    return len(SCHEMES) * len(CORPUS)


def operated(places: Places) -> int:
    """Send every text to the operators, by each transport."""
    for scheme in SCHEMES:
        with client(scheme) as mouth:
            mouth.connect(places["console", scheme])
            for number, text in enumerate(CORPUS):
                mouth.sendall(b"%s-%d-%s\n" % (scheme.encode(), number, text))
                if scheme == "udp":
                    time.sleep(PACE)
    return len(SCHEMES) * len(CORPUS)


@contextmanager
def named(places: Places, folder: Path, kind: str = "echo") -> Iterator[int]:
    """Connect with each name that a file can have, and with each abstract name, until the block ends."""
    with ExitStack() as stack:
        count = 0
        for name in _names(folder):
            one = stack.enter_context(client("unix", name))
            one.connect(places[kind, "unix"])
            one.sendall(b"x")
            assert kind != "echo" or one.recv(1) == b"x"
            count += 1
            time.sleep(PACE)
        yield count


def named_datagrams(places: Places, folder: Path) -> int:
    """Send a datagram from each of those names, to be printed and to the operators."""
    count = 0
    for number, name in enumerate(_names(folder)):
        with client("unix-dgram", name) as one:
            one.sendto(b"by-name-%d-" % number, places["ack", "unix-dgram"])
            assert one.recv(100) == b"received"
            one.sendto(b"by-name-%d-" % number, places["console", "unix-dgram"])
            one.sendto(b"/quit", places["chat", "unix-dgram"])
        count += 1
    return count


def _names(folder: Path) -> Iterator[bytes]:
    own = os.fsencode(folder)
    for number, text in enumerate(NAMES):
        path = own + b"/%d-%s" % (number, text.replace(b"\0", b"").replace(b"/", b""))
        yield path[:LONGEST_PATH]
        os.unlink(path[:LONGEST_PATH])
        yield (b"\0%d-%d-%s" % (os.getpid(), number, text))[: LONGEST_PATH + 1]


def requested(place: Place) -> tuple[int, list[bytes]]:
    """Send every text in each part of a request to the admin interface; returns the responses."""
    answers = []
    for text in (*NAMES, b"\x1b" * MIB):
        for request in (
            b"%s / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % text,
            b"GET /%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % text,
            b"GET /api/connections?limit=%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % text,
            b"PUT /api/console/%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % text,
            b"GET / %s\r\nHost: localhost\r\nConnection: close\r\n\r\n" % text,
            b"GET /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s: %s\r\n\r\n" % (text, text),
            b"GET /api/status HTTP/1.1\r\nHost: %s\r\nOrigin: %s\r\nConnection: close\r\n\r\n" % (text, text),
        ):
            answers.append(_asked(place, request))
    return len(answers), answers


def _asked(place: Place, request: bytes) -> bytes:
    answer = b""
    with client("unix" if isinstance(place, str) else "tcp") as asking:
        asking.connect(place)
        try:
            asking.sendall(request)
            asking.shutdown(socket.SHUT_WR)
            while piece := asking.recv(65_536):
                answer += piece
        except (ConnectionResetError, BrokenPipeError):  # a head far larger than the limit
            pass
    return answer


def illegible_answers(answers: Iterable[bytes]) -> list[bytes]:
    """The responses with characters that are not printable; every request must have a response."""
    return [one for one in answers if illegible(one.replace(b"\r\n", b"\n"))]


class Journal(threading.Thread):
    """A private journal: its entries, as received (Native Journal Protocol of systemd)."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.entries: list[bytes] = []
        self.folder = folder
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "socket"))
        self.start()

    def run(self) -> None:
        while True:
            entry, files, _, _ = socket.recv_fds(self._socket, MIB, 1)
            for file in files:
                with open(file, "rb") as opened:
                    opened.seek(0)
                    entry += opened.read()
            if not entry:
                return
            self.entries.append(entry)

    def close(self) -> None:
        """Stop receiving, after everything that was sent has arrived."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(self.folder / "socket"))
        self.join(SECONDS)
        self._socket.close()

    def command(self) -> list[str]:
        """The command for echod with this journal, in its own mount namespace. Raises Lacking."""
        if os.geteuid() != 0:
            raise Lacking("a private journal needs root")
        mounts = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && mount --bind "
        script = mounts + '"$0" /run/systemd/journal && exec "$@"'
        return [program("unshare"), "--mount", "sh", "-c", script, str(self.folder), *ECHOD]

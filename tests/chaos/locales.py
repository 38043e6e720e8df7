"""Locales and the encodings that Python takes from them: every reply is identical in all of them, in every byte."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Final, NamedTuple

from echod.services.daytime import DAYS, MONTHS
from tests.chaos.lab import LOOPBACK, Lab, Server
from tests.chaos.network import Lacking, program
from tests.chaos.report import Figure, Scenario, Subject, many
from tests.daemon import ECHOCTL, ECHOD, SECONDS, Daemon, Place, environment, eventually, free_port, run

LOCALES: Final = ("C", "POSIX", "C.UTF-8", "tr_TR.UTF-8", "de_DE.ISO-8859-1")
EVERY: Final = bytes(range(256))
LETTERS: Final = EVERY + "ıİiIßẞéÿﬃΐ".encode() + "éÿß".encode("latin-1")
"""Every byte, and letters whose upper case is longer, or different in Turkish, or in another encoding."""
PATH: Final = b"w\xf6rld \xff.sock"  #: not UTF-8
QUOTES: Final = "Übung macht den Meister: ıİ\n"
SERVICES: Final = """
[services.echo]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unix://{dir}/w%F6rld%20%FF.sock"]
[services.upper]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unix://{dir}/Größe/ö.sock"]
[services.qotd]
listen = ["tcp://127.0.0.1:0"]
quotes = "{dir}/Sprüche"
[services.chat]
listen = ["tcp://127.0.0.1:0"]
[services.ack]
show = "text"
listen = ["udp://127.0.0.1:0", "unix-dgram://{dir}/ack.dgram"]
[services.chargen]
listen = ["udp://127.0.0.1:0"]
[services.daytime]
listen = ["tcp://127.0.0.1:0"]
[services.whoami]
listen = ["tcp://127.0.0.1:0", "unix://{dir}/wer%20öö.sock", "unix-dgram://{dir}/wer.dgram"]
"""
SAID: Final = "/nick ÇELİK\n/nick ıstanbul\n/nick IŞIK\n/msg ışık naïve\n/me ßéﬃ\n/join ÖÄÜ\n/who\n/quit\n".encode()
SHOWN: Final = "naïve ıİ \x1b[31m\u202e".encode() + b"\xff"


class Environment(NamedTuple):
    """A locale, and whether Python is in its UTF-8 mode (PEP 540): 0 takes encodings from the locale."""

    locale: str
    utf8: str

    def words(self) -> tuple[str, ...]:
        """The prefix of a command that runs it in this environment."""
        return ("env", *(f"{name}={value}" for name, value in self.variables().items()))

    def variables(self) -> dict[str, str]:
        """The same as variables. LC_ALL also keeps Python from changing C to C.UTF-8 by itself (PEP 538)."""
        return {"LC_ALL": self.locale, "LANG": self.locale, "LANGUAGE": "", "PYTHONUTF8": self.utf8}

    def __str__(self) -> str:
        return f"{self.locale} with PYTHONUTF8={self.utf8}"


USUAL: Final = Environment("C.UTF-8", "1")


@cache
def installed() -> frozenset[str]:
    """The locales of this machine, as `normal` writes them."""
    try:
        said = subprocess.run(["locale", "-a"], check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError):
        said = b""
    return frozenset(normal(line) for line in said.decode("utf-8", "replace").split()) | {"c", "posix"}


def normal(name: str) -> str:
    """A locale's name in a form for comparison: `locale -a` writes encodings differently from people."""
    return name.lower().replace("-", "")


def environments() -> Iterator[Environment]:
    """Every environment that this machine has."""
    return (Environment(name, utf8) for name in LOCALES if normal(name) in installed() for utf8 in ("0", "1"))


def lacking() -> str:
    """The locales that are not installed, as a part of the figure."""
    gone = [name for name in LOCALES if normal(name) not in installed()]
    return f"; not installed: {', '.join(gone)}" if gone else ""


# echod


def answers(daemon: Daemon) -> dict[str, bytes]:
    """Every service's replies, and the printed messages; without the parts that differ from start to start."""
    own = os.fsencode(daemon.dir)
    found = {"start": b"\n".join(sorted(f"{name} {url}".encode() for name, url in daemon.urls))}
    for kind, sent in (("echo", LETTERS), ("upper", LETTERS), ("qotd", b""), ("daytime", b""), ("chat", SAID)):
        found[f"{kind} tcp"] = stream(daemon.inet(kind, "tcp"), sent)
    found["whoami tcp"] = stream(daemon.inet("whoami", "tcp"), b"")
    found["echo unix"] = stream(own + b"/" + PATH, LETTERS)
    found["upper unix"] = stream(own + "/Größe/ö.sock".encode(), LETTERS)
    for kind, sent in (("echo", LETTERS), ("upper", LETTERS), ("ack", SHOWN), ("chargen", bytes(500))):
        found[f"{kind} udp"] = datagram(daemon.inet(kind, "udp"), sent)
    for number, name in enumerate(("käfer".encode(), b"k\xe4fer")):
        found[f"whoami unix, {number}"] = stream(own + "/wer öö.sock".encode(), b"", own + b"/" + name)
        for kind in ("whoami", "ack"):
            place = own + (b"/wer.dgram" if kind == "whoami" else b"/ack.dgram")
            found[f"{kind} unix-dgram, {number}"] = datagram(place, b"me too", own + b"/dgram-" + name)
    daemon.stdout.wait_for(": na")
    assert eventually(lambda: len(daemon.stdout.raw) == 3)
    found["shown"] = b"\n".join(daemon.stdout.raw)
    return {name: _alike(said.replace(own, b"DIR")) for name, said in found.items()}


def _alike(said: bytes) -> bytes:
    """Without numbers and without English days and months; a day in another language stays."""
    words = "|".join((*DAYS, *MONTHS)).encode()
    return re.sub(rb"\d+", b"0", re.sub(words, b"DAY", said))


def stream(place: bytes | Place, sent: bytes, name: bytes = b"", *, stay: bool = False) -> bytes:
    """Everything received for this, from a client of that name; with `stay` until as much was received as sent."""
    came = b""
    with _client(place, socket.SOCK_STREAM, name) as client:
        client.connect(place)
        try:
            client.sendall(sent)
            if not stay:
                client.shutdown(socket.SHUT_WR)
            while not (stay and len(came) >= len(sent)) and (piece := client.recv(65_536)):
                came += piece
        except ConnectionError:  # bytes received after it may vary
            pass
    return came


def datagram(place: bytes | Place, sent: bytes, name: bytes = b"") -> bytes:
    """The reply to this datagram."""
    with _client(place, socket.SOCK_DGRAM, name) as client:
        client.connect(place)
        client.send(sent)
        return client.recv(65_536)


@contextmanager
def _client(place: bytes | Place, kind: socket.SocketKind, name: bytes) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET if isinstance(place, tuple) else socket.AF_UNIX, kind) as client:
        client.settimeout(SECONDS)
        if name:
            client.bind(name)
        yield client
    if name:
        os.unlink(name)


def config(plane: str) -> str:
    """A configuration for `answers`; the file of quotations is beside it."""
    return f'[daemon]\nplane = "{plane}"\nlandlock = true\n{SERVICES}'


@contextmanager
def serving(plane: str, where: Environment) -> Iterator[Daemon]:
    """A daemon in such an environment."""
    daemon = Daemon(config(plane), command=(*where.words(), *ECHOD))
    (daemon.dir / "Sprüche").write_text(QUOTES, "utf-8")
    (daemon.dir / "Größe").mkdir()
    with daemon:
        yield daemon
        daemon.check()


def of_client(where: Environment, daemon: Daemon) -> dict[str, bytes]:
    """The behaviour of the two programs with arguments that are not UTF-8: exit codes and output."""
    own = os.fsencode(daemon.dir)
    folder = own + b"/\xff\xfe"
    os.makedirs(folder, exist_ok=True)
    with open(folder + b"/w\xf6rld.toml", "w", encoding="utf-8") as file:
        file.write('[services.echo]\nlisten = ["tcp://127.0.0.1:0", "unix:///w%F6rld-ö"]\n')
    word = b"na\xc3\xafve \xff\xfe"
    found = {}
    for name, words in (
        ("send", (*ECHOCTL, "send", daemon.url("echo", "tcp"), word)),
        ("send to a path", (*ECHOCTL, "send", b"unix://" + own + b"/" + PATH.replace(b" ", b"%20"), word)),
        ("check", (*ECHOD, "--config", folder + b"/w\xf6rld.toml", "--check-config")),
    ):
        ended = run(*words, env=environment(**where.variables()))
        found[name] = b"%d " % ended.returncode + ended.stdout + ended.stderr.replace(own, b"DIR")
    return found


def echod(subject: Subject) -> Figure:
    """Compare each environment with the usual one."""
    plane = "auto" if subject is Subject.ECHOD else "off"

    def said(where: Environment) -> dict[str, bytes]:
        with serving(plane, where) as daemon:
            return answers(daemon) | (of_client(where, daemon) if subject is Subject.ECHOD else {})

    due = said(USUAL)
    right = due["upper tcp"] == due["upper udp"] == _alike(LETTERS.upper())
    return _compared(subject, due, said, right, promised=True)


def _compared(
    subject: Subject,
    due: dict[str, bytes],
    say: Callable[[Environment], dict[str, bytes]],
    right: bool = True,
    *,
    promised: bool = False,
) -> Figure:
    wrong: dict[Environment, list[str]] = {}
    whole = list(environments())
    for where in whole:
        try:
            said = say(where)
        except (AssertionError, OSError, Lacking) as error:
            wrong[where] = [f"it does not serve: {error}"]
        else:
            if others := [name for name in due if said.get(name) != due[name]]:
                wrong[where] = others
    alike = len(whole) - len(wrong)
    text = f"the same {many(len(due), 'reply')} in {alike} of {many(len(whole), 'environment')}"
    text += f", not in {', '.join(dict.fromkeys(one.locale for one in wrong))}" if wrong else ""
    text += ("" if right else "; upper is WRONG") + lacking()
    values = {"environments": [str(one) for one in whole], "wrong": {str(one): what for one, what in wrong.items()}}
    return Figure(subject, text, (not wrong and right) if promised else None, values)


# others


def stock(lab: Lab) -> Figure:
    """Twisted's echo, over TCP and at a path that is not UTF-8."""

    def said(where: Environment) -> dict[str, bytes]:
        with tempfile.TemporaryDirectory(prefix="stock-") as folder:
            path = os.fsencode(folder) + b"/" + PATH
            command = (*where.words(), sys.executable, "-W", "error")
            with lab.server(Subject.STOCK, command=command, stock=("unix", os.fsdecode(path), "0660")) as server:
                return _of_stock(server, path)

    return _compared(Subject.STOCK, said(USUAL), said)


def _of_stock(server: Server, path: bytes) -> dict[str, bytes]:
    """Replies to clients that stay connected: pending data of clients that half-close is another promise."""
    return {"echo tcp": stream(server.tcp["echo"], EVERY, stay=True), "echo unix": stream(path, EVERY, stay=True)}


def socat() -> Figure:
    """socat and tr(1), the usual way to build upper from installed programs. Raises Lacking."""
    words = (program("socat"), "-t", "5")
    return _compared(Subject.SOCAT, _upper(words, USUAL), partial(_upper, words))


def _upper(words: Sequence[str], where: Environment) -> dict[str, bytes]:
    port = free_port()
    listen = f"TCP-LISTEN:{port},bind={LOOPBACK},reuseaddr,fork"
    answer = r"EXEC:tr [\:lower\:] [\:upper\:]"
    with subprocess.Popen(
        [*words, listen, answer],
        env=environment(**where.variables()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            assert eventually(lambda: Path(f"/proc/{process.pid}").exists() and _listens(port))
            return {"upper tcp": stream((LOOPBACK, port), LETTERS)}
        finally:
            process.terminate()
            process.wait(SECONDS)


def _listens(port: int) -> bool:
    """Whether a server listens (proc(5), net/tcp): a connection would start a tr."""
    lines = [line.split() for line in Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]]
    return any(line[1].endswith(f":{port:04X}") and line[3] == "0A" for line in lines)


def every_locale(lab: Lab) -> Iterator[Figure]:
    for subject in (Subject.ECHOD, Subject.PLAIN):
        yield echod(subject)
    yield stock(lab)
    try:
        yield socat()
    except Lacking:
        return


SCENARIOS = (
    Scenario(
        42,
        "C, POSIX, Turkish and German, with and without Python's UTF-8 mode; words and paths that are not UTF-8",
        "it starts, each reply is identical in every byte, and upper is that of ASCII",
        every_locale,
    ),
)

"""Text of a peer and the outputs that show it: other members, operators, a terminal, the log in each of its formats."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from echod.testing.output import Output
from tests.chaos import hostile_text
from tests.chaos.corpus import CORPUS, illegible, illegible_entries, illegible_json, illegible_texts
from tests.chaos.hostile_text import SCHEMES, Ear, Journal
from tests.chaos.lab import LOOPBACK, Lab
from tests.chaos.network import Lacking, program
from tests.chaos.report import Figure, Scenario, Subject, many
from tests.daemon import ECHOCTL, ECHOD, SECONDS, TOP, Daemon, environment, eventually, free_port, run

STOCK_CHAT: Final = TOP / "tests/chaos/peers/stock_chat.py"
WORDS: Final = (b"\x1b[31mred\x1b[0m", b"one\ntwo", b"\xff\xc2\x9b", "\u202e\u2028".encode())
"""The texts for command lines: each needs a process."""


class Account:
    """The numbers of texts sent and lines printed, and the lines that are not printable."""

    def __init__(self) -> None:
        self.texts = 0
        self.lines = 0
        self.bad: list[bytes] = []
        self.wrong: list[str] = []  #: events that were not exactly one line
        self.forms: list[str] = []  #: the log formats that were tried

    def read(self, lines: int, bad: list[bytes]) -> None:
        """Add so many lines, of which these are not printable."""
        self.lines += lines
        self.bad += bad

    def expect(self, what: str, found: int, due: int) -> None:
        """Record an error unless the number of lines is the expected one."""
        if found != due:
            self.wrong.append(f"{what}: {found} lines for {due}")

    def figure(self, subject: str) -> Figure:
        """The figure."""
        text = f"{many(self.texts, 'text')} sent, {len(self.bad):,} of {many(self.lines, 'line')} not printable; "
        text += "; ".join(self.wrong) or f"each event is one line in the log as {', '.join(self.forms)}"
        values = {"texts": self.texts, "lines": self.lines, "bad": [ascii(one) for one in self.bad[:20]]}
        return Figure(subject, text, not self.bad and not self.wrong, {**values, "wrong": self.wrong})


def echod(subject: Subject) -> Figure:
    """Every output with the log as text; then the log lines about the sender, in the other formats."""
    account = Account()
    plane = "auto" if subject is Subject.ECHOD else "off"
    everywhere(account, plane)
    if subject is Subject.ECHOD:  # a command line has no plane
        command_lines(account)
    as_json(account, plane)
    try:
        as_entries(account, plane)
    except Lacking:
        pass  # the forms say which were tried
    return account.figure(subject)


def everywhere(account: Account, plane: str, schemes: Sequence[str] = SCHEMES) -> None:
    """Chat (over these schemes), console, printed messages, socket names, the admin interface; the log is text."""
    config, urls = hostile_text.configuration(plane)
    with Daemon(config) as daemon, ExitStack() as stack:
        places = hostile_text.located(urls, daemon)
        admin = f"unix://{daemon.dir}/admin.sock"
        operator = stack.enter_context(_echoctl("console", "--admin", admin, "console"))
        member = stack.enter_context(_echoctl("chat", f"unix://{daemon.dir}/chat.sock"))
        member.wait_for("-- welcome: you are guest1")
        texts, ears = hostile_text.chat(places, schemes)
        account.texts += texts
        if not hostile_text.lines_of_each(ears, schemes):
            account.wrong.append("chat: a text is not one line")
        for ear in ears:
            account.read(len(ear.lines), illegible(bytes(ear.came)))
        messages = hostile_text.shown(places)
        names = hostile_text.named_datagrams(places, daemon.dir)
        account.texts += messages + 3 * names + hostile_text.operated(places)
        for kind in ("echo", "console"):  # echo first: clients of console do not wait, and the log has a rate
            with hostile_text.named(places, daemon.dir, kind) as connections:
                told = _told_of(places_of(daemon)[0], kind, connections)
            account.texts += connections
            account.expect(f"connections of {kind}", sum(map(_named(kind), told)), connections)
            account.read(len(told), [text.encode("utf-8", "replace") for text in illegible_texts(told)])
        for place in places_of(daemon):
            asked, answers = hostile_text.requested(place)
            account.texts += asked
            account.read(sum(one.count(b"\n") for one in answers), hostile_text.illegible_answers(answers))
        operator.wait_for(f"by-name-{names - 1}-")
        member.wait_for(f": that was {schemes[-1]}$")
        status = run(*ECHOCTL, "status", "--admin", admin)
        account.read(status.stdout.count(b"\n"), illegible(status.stdout + status.stderr))
        assert daemon.stop() == 0
        pattern = r" debug echo  unix://\S+/echo\.sock from "
        _count(account, "text", [line for line in daemon.stderr.text if re.search(pattern, line)], names)
        more = sum(int(number) for number in re.findall(r"(?m)^… (\d+) more lines", "\n".join(daemon.stdout.text)))
        lines = [line for line in daemon.stdout.text if not line.startswith("… ")]
        account.expect("shown", len(lines) + more, messages + names)
    for output in (daemon.stdout, daemon.stderr, operator, member):
        account.read(len(output.raw), illegible(b"\n".join(output.raw)))
    account.forms.append("text")


def _told_of(admin: str, kind: str, connections: int) -> list[Any]:
    """The connections that the admin interface reports, when it reports so many of named clients, or in the end."""
    told: list[Any] = []

    def complete() -> bool:  # the kernel completes a connection before the daemon accepts it
        told[:] = json.loads(_body(_get(admin, "/api/connections?limit=10000")))
        return sum(map(_named(kind), told)) >= connections

    eventually(complete)
    return told


def _named(kind: str) -> Callable[[Any], bool]:
    """Whether a connection is one of a named client of that kind."""
    return lambda one: one["service"] == kind and one["peer"].startswith(("/", "@"))


def _count(account: Account, form: str, lines: list[str], connections: int) -> None:
    """Check the lines of a service's connections: each was opened and closed."""
    ended = sum(" ended: " in line for line in lines)
    account.expect(f"{form}: connections opened", len(lines) - ended, connections)
    account.expect(f"{form}: connections ended", ended, connections)


def as_json(account: Account, plane: str) -> None:
    """Socket names in a JSON log: each line is an object, and every text in it is as printable as in a text log."""
    config, urls = hostile_text.configuration(plane, "json")
    daemon = Daemon(config)
    try:
        daemon.launch()
        daemon.stderr.wait_for('"ready: ')
        connections = _write_names(account, hostile_text.located(urls, daemon), daemon)
        assert daemon.stop() == 0
        lines = daemon.stderr.raw
        account.read(len(lines), illegible_json(lines))
        told = [json.loads(line) for line in lines]
        _count(
            account,
            "JSON",
            [one["message"] for one in told if one.get("service") == "echo" and "peer" in one],
            connections,
        )
        daemon.check_for_bugs()
    finally:
        daemon.close()
    account.forms.append("JSON")


def as_entries(account: Account, plane: str) -> None:
    """The same in the entries of a journal. Raises Lacking."""
    config, urls = hostile_text.configuration(plane, "journal")
    with tempfile.TemporaryDirectory(prefix="journal-") as folder:
        journal = Journal(Path(folder))
        daemon = Daemon(config, command=journal.command())
        try:
            daemon.launch()
            if not eventually(lambda: any(b"MESSAGE=ready: " in one for one in journal.entries)):
                raise Lacking("a private journal cannot be used")
            connections = _write_names(account, hostile_text.located(urls, daemon), daemon)
            assert daemon.stop() == 0
        finally:
            daemon.close()
            journal.close()
    account.read(len(journal.entries), illegible_entries(journal.entries))
    of_echo = [one.decode("utf-8", "replace") for one in journal.entries if b"\nECHOD_SERVICE=echo\n" in one]
    _count(account, "journal", [one for one in of_echo if "\nECHOD_PEER=" in one], connections)
    account.forms.append("journal")


def _write_names(account: Account, places: hostile_text.Places, daemon: Daemon) -> int:
    with hostile_text.named(places, daemon.dir) as connections:
        account.texts += connections
    return connections


def command_lines(account: Account, words: Sequence[bytes] = WORDS) -> None:
    """Arguments that another party chose, as a script passes a name: one line reports what is wrong with them."""
    for word in words:
        for command in (
            (*ECHOD, "--listen", b"echo=" + word),
            (*ECHOD, "--config", b"/nowhere/" + word),
            (*ECHOD, b"--" + word),
            (*ECHOCTL, "send", b"unix:///nowhere/" + word, "x"),
            (*ECHOCTL, "status", "--admin", word),
        ):
            ended = run(*command)
            account.texts += 1
            account.read(ended.stderr.count(b"\n"), illegible(ended.stdout + ended.stderr))
            account.expect(f"a command line with {word!a}", ended.stderr.count(b"\n"), 1)
            assert ended.returncode, command


def places_of(daemon: Daemon) -> tuple[str, tuple[str, int]]:
    """The admin interface, over a Unix socket and over TCP."""
    return str(daemon.dir / "admin.sock"), daemon.inet("admin", "tcp")


def _get(place: str, path: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(SECONDS)
        asking.connect(place)
        asking.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())  # 1.0: no chunks
        answer = b""
        while piece := asking.recv(65_536):
            answer += piece
    return answer


def _body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


@contextmanager
def _echoctl(*words: str) -> Iterator[Output]:
    """Its output through a pipe, until the end of the block."""
    with subprocess.Popen(
        [*ECHOCTL, *words], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        lines = Output(process.stdout)
        try:
            yield lines
        finally:
            process.kill()
            process.wait(SECONDS)
            lines.close()


# others


def others(subject: Subject, words: list[str], port: int) -> Figure:
    """A server whose members read each other: the texts that reach another member, and the log."""
    place = (LOOPBACK, port)
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            words, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        ) as process,
    ):
        try:
            with _member(place, process) as ear:
                ear.say(b"anna\n")
                for number, text in enumerate(CORPUS):
                    _say_one(place, b"bob%d\ntcp-%d-%s\n" % (number, number, text))
                _say_one(place, b"bob\nthat was all\n")
                ear.wait_for(b"that was all")
                heard = {line for line in illegible(bytes(ear.came)) if b"tcp-" in line}
            os.killpg(process.pid, signal.SIGTERM)
        finally:
            process.kill()
            process.wait(SECONDS)
        log.seek(0)
        logged = illegible(log.read().replace(b"\t", b" "))  # a traceback is indented
    said = f"{len(heard)} of {many(len(CORPUS), 'text')} reach another member unchanged"
    said += f", {many(len(logged), 'line')} of the log are not printable"
    return Figure(subject, said, None, {"heard": len(heard), "log": len(logged)})


def _say_one(place: tuple[str, int], said: bytes) -> None:
    """A client that connects, sends that, and leaves; the server may close it earlier."""
    with socket.create_connection(place, SECONDS) as mouth:
        try:
            mouth.sendall(said)
            mouth.shutdown(socket.SHUT_WR)
            while mouth.recv(65_536):
                pass
        except OSError:
            pass


def _member(place: tuple[str, int], process: subprocess.Popen[bytes]) -> Ear:
    """The first client, once the server listens: ncat exits if a connection is reset at once."""
    ends = time.monotonic() + SECONDS
    while True:
        try:
            return Ear("tcp", place)
        except ConnectionRefusedError:
            if process.poll() is not None or time.monotonic() > ends:
                raise
            time.sleep(0.05)


def injected(_field: Lab) -> Iterator[Figure]:
    for subject in (Subject.ECHOD, Subject.PLAIN):
        yield echod(subject)
    port = free_port()
    yield others(Subject.STOCK, [sys.executable, "-W", "error", str(STOCK_CHAT), LOOPBACK, str(port)], port)
    try:
        words = [program("ncat"), "-4", "-v", "--listen", LOOPBACK, str(port := free_port()), "--chat"]
    except Lacking:
        return
    yield others(Subject.NCAT, words, port)


SCENARIOS = (
    Scenario(
        41,
        "hostile text: control characters, invisible and reordering characters, invalid UTF-8, a line of 1 MiB",
        "all output and the log in each format are printable, and one event is one line",
        injected,
    ),
)

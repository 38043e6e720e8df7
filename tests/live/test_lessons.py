"""The exercises of `echoctl lesson`: each is solved by its program, and a typical wrong one fails with the reason.

The attempts run on the reactor of the test, and the programs as processes.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from echod.client.lessons import chat_bot, half_close, lossy_datagrams, many_clients, request_reply, restartable_server
from echod.client.lessons.attempt_run import AttemptRun
from echod.client.lessons.catalogue import EXERCISES
from echod.client.lessons.program import LINES
from echod.client.lessons.texts import LANGUAGES
from tests.daemon import SECONDS, TOP, eventually, free_port

reactor = installed
SOLUTIONS = TOP / "examples" / "lesson_solutions"
TCP = """
import socket, sys
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
"""
STAYS = "; import time; time.sleep(99)"  #: its end would reset the connection, with what the attempt has not read yet
UDP = """
import socket, sys
client = socket.socket(type=socket.SOCK_DGRAM)
client.connect(("127.0.0.1", int(sys.argv[1])))
"""
LISTENS = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
"""


def has_ended(pid: str) -> bool:
    """Whether a process has ended; nothing may have waited for it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


class Outcome:
    """The output of an attempt, and its verdict."""

    def __init__(self) -> None:
        self.notes = []
        self.lines = []
        self.wrong = None


def begun(number: int, command: Sequence[str] = (), port: int | None = None, seconds: float = SECONDS):
    """An attempt, its outcome, and a Deferred that fires at the verdict."""
    outcome, over = Outcome(), Deferred()

    def take(wrong):
        outcome.wrong = wrong
        over.callback(outcome)

    run = AttemptRun(
        reactor,
        EXERCISES[number - 1],
        command=command,
        port=port,
        seconds=seconds,
        note=lambda statement: outcome.notes.append(statement.of("en")),
        line=outcome.lines.append,
        over=take,
    )
    return run, outcome, over


async def verdict(number: int, *command: object, seconds: float = SECONDS):
    """The outcome of an attempt with a program. Nothing of the attempt is left after it."""
    port = free_port() if EXERCISES[number - 1].learner_serves else None
    run, outcome, over = begun(number, [str(word) for word in command], port, seconds)
    await over
    assert not os.path.exists(run.directory)
    return outcome


async def lines_of(outcome: Outcome, count: int) -> None:
    """Wait for so many lines of the program."""
    while len(outcome.lines) < count:
        await deferLater(reactor, 0.01)


async def verdict_of(number: int, code: str, seconds: float = SECONDS):
    """The outcome of an attempt with this Python program."""
    return await verdict(number, sys.executable, "-S", "-c", code, seconds=seconds)


@pytest.mark.parametrize("number", range(1, 11))
@pytest_twisted.ensureDeferred
async def test_the_solution_of_each_exercise_passes(number):
    outcome = await verdict(number, sys.executable, "-W", "error", SOLUTIONS / f"lesson_{number}.py")
    assert outcome.wrong is None, outcome.wrong.of("en")


def test_each_solution_has_at_most_twenty_lines_of_code():
    for number in range(1, 11):
        lines = (SOLUTIONS / f"lesson_{number}.py").read_text("utf-8").splitlines()
        code = [line for line in lines[1:] if line.strip() and not line.startswith("import ")]
        assert len(code) <= 20, number


WRONG = {
    "closes before the reply": (1, TCP + "client.sendall(b'anna')", "before it had read the reply ANNA"),
    "sends nothing": (1, TCP, "sent nothing; expected a message"),
    "prints nothing": (1, TCP + "client.sendall(b'anna'); client.recv(99)", "replied ANNA; expected it in the output"),
    "prints bytes": (
        1,
        TCP + "client.sendall('Jürgen'.encode()); print(client.recv(99)); client.close()",
        r"printed b'J\xc3\xbcRGEN', the bytes of the reply; expected its text, JüRGEN: use decode()",
    ),
    "prints the bytes of three replies": (
        9,
        (SOLUTIONS / "lesson_9.py").read_text("utf-8").replace(".decode()", ""),
        ", SOCK_STREAM: your program printed b'HELLO', the bytes of the reply",
    ),
    "closes one connection before the reply": (
        9,
        (SOLUTIONS / "lesson_9.py").read_text("utf-8").replace("print(client.recv(1024).decode())", ""),
        ", SOCK_STREAM: your program sent hello, and ended the connection before it had read the reply",
    ),
    "closes before the reply over TLS": (
        8,
        (SOLUTIONS / "lesson_8.py").read_text("utf-8").replace("print(client.recv(1024).decode())", ""),
        "sent hello, and ended the connection before it had read the reply HELLO",
    ),
    "crashes": (1, TCP + "client.sendall(b'a'); print(client.recv(9)); client.close(); 1/0", "exit code is 1"),
    "sends a megabyte": (
        1,
        TCP + "client.sendall(b'\\x1b[2J' * 250000)",
        r"more than 200 bytes, beginning with \x1b[2J",
    ),
    "sends escapes": (1, TCP + "client.sendall(b'\\x1b[2J')", r"sent \x1b[2J, and ended"),
    "does not connect": (1, "print('hello')", "has ended with exit code 0: no program has connected"),
    "counts bytes": (
        2,
        TCP + "d = b''.join(iter(lambda: client.recv(99), b'')); client.sendall(b'%d' % len(d))",
        "the number of bytes; expected",
    ),
    "reads one piece": (2, TCP + "client.sendall(b'%d\\n' % len(client.recv(16)))" + STAYS, "has not read the whole"),
    "decodes each piece": (
        2,
        TCP + "n = 0\nwhile d := client.recv(7): n += len(d.decode())\nclient.sendall(b'%d' % n)",
        "without a number",
    ),
    "replaces cut characters": (
        2,
        TCP + "n = 0\nwhile d := client.recv(7): n += len(d.decode(errors='replace'))\nclient.sendall(b'%d' % n)",
        "not counted twice",
    ),
    "sends endless digits": (2, TCP + "client.sendall(b'7' * 5000)" + STAYS, "expected a number in digits"),
    "sends no number": (2, TCP + "client.sendall(b'twelve\\n')" + STAYS, r"sent twelve\n; expected a number in digits"),
    "reads one piece of a line": (
        3,
        LISTENS + "c, _ = server.accept(); c.recv(1024); c.sendall(b'received'); c.close()",
        ("reset the connection", "after 2800 of 5608 bytes"),
    ),
    "cannot start again": (
        3,
        "import socket, sys\nserver = socket.socket(); server.bind(('127.0.0.1', int(sys.argv[1]))); server.listen()\n"
        "c, _ = server.accept(); c.makefile().readline(); c.sendall(b'received'); c.close()",
        "did not start again at once: Address already in use",
    ),
    "serves for ever": (
        3,
        LISTENS + "while True:\n c, _ = server.accept(); c.makefile().readline(); c.sendall(b'received'); c.close()",
        "did not end within 0.3 s after its first client",
    ),
    "another receipt": (
        3,
        LISTENS + "c, _ = server.accept(); c.makefile().readline(); c.sendall(b'ok'); c.close()",
        "replied ok; expected received",
    ),
    "one client at a time": (
        4,
        LISTENS + "while True:\n c, _ = server.accept()\n while d := c.recv(99): c.sendall(d.upper())",
        "the client second got no reply within 3 s",
    ),
    "no upper case": (
        4,
        LISTENS + "import threading\ndef f(c):\n while d := c.recv(99): c.sendall(d)\n"
        "while True: threading.Thread(target=f, args=(server.accept()[0],), daemon=True).start()",
        r"got hello from the second\n; expected HELLO FROM THE SECOND\n",
    ),
    "sends all before it reads": (5, TCP + "client.sendall(bytes(33554432))", "stuck after"),
    "sends too few bytes": (
        5,
        TCP + "client.send(bytes(1000)); client.shutdown(1); client.recv(999)",
        "sent 1000 bytes; expected 33554432",
    ),
    "leaves a part of the reply": (
        5,
        TCP + "import threading; threading.Thread(target=client.sendall, args=(bytes(33554432),)).start()\n"
        "n = 33554431\nwhile n: n -= len(client.recv(min(n, 65536)))\nclient.recv(1, socket.MSG_PEEK); client.close()",
        "closed before it had read the whole reply",
    ),
    "answers each recv": (
        6,
        TCP + "while d := client.recv(999):\n if d.startswith(b'ping'): client.sendall(d.replace(b'ping', b'pong', 1))",
        r"a line that arrives in pieces: ping two\n was sent",
    ),
    "answers one line of a recv": (
        6,
        TCP + "b = b''\nwhile d := client.recv(999):\n b += d\n if b.endswith(b'\\n'):\n"
        "  client.sendall(b.replace(b'ping', b'pong', 1)); b = b''",
        r"two lines that arrive together: ping three\nping four\n was sent, pong three\nping four\n arrived",
    ),
    "answers every line": (
        6,
        TCP + "for line in client.makefile('rb'): client.sendall(line.replace(b'ping', b'pong'))",
        (r"sent -- anna has joined\n after", r"-- anna has joined\n arrived"),
    ),
    "masks nothing": (
        7,
        (SOLUTIONS / "lesson_7.py").read_text("utf-8").replace("0x80 |", "0x00 |").replace("mask + masked", "message"),
        "your frame is wrong",
    ),
    "checks no accept key": (
        7,
        (SOLUTIONS / "lesson_7.py").read_text("utf-8").replace("if b", "if not b"),
        "the handshake is right; expected a text frame",
    ),
    "never compares the accept key": (
        7,
        (SOLUTIONS / "lesson_7.py").read_text("utf-8").replace("not in head", "in b''"),
        "accept key of another request, and your program sent hello nevertheless",
    ),
    "asks for no upgrade": (
        7,
        TCP + "client.sendall(b'GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n'); print(client.recv(999))",
        "the handshake failed: HTTP 426",
    ),
    "verifies nothing": (
        8,
        TCP + "import ssl; c = ssl._create_unverified_context().wrap_socket(client, server_hostname='localhost')\n"
        "c.sendall(b'hello'); print(c.recv(99).decode())",
        "sent hello to a server with a certificate for another name",
    ),
    "does not check the name": (
        8,
        TCP + "import ssl; x = ssl.create_default_context(cafile=sys.argv[2]); x.check_hostname = False\n"
        "c = x.wrap_socket(client); c.sendall(b'hello'); print(c.recv(99).decode())",
        "sent hello to a server with a certificate for another name",
    ),
    "does not know the authority": (
        8,
        TCP + "import ssl; ssl.create_default_context().wrap_socket(client, server_hostname='localhost')",
        "your file verifies, and the handshake failed",
    ),
    "only IPv4": (9, TCP.replace("create_connection", "socket and print"), "has ended with exit code"),
    "sends once": (
        10,
        UDP + "words = []\nfor n in range(1, 11):\n client.send(b'get %d' % n)\n"
        " words.append(client.recv(99).split()[1])\n",
        "expected that your program sends the request again",
    ),
    "takes any reply": (
        10,
        UDP + "client.settimeout(.1)\nwords = []\n"
        "while len(words) < 10:\n client.send(b'get %d' % (len(words) + 1))\n"
        " try: words.append(client.recv(99).split()[1])\n except TimeoutError: pass\n"
        "while True:\n client.send(b'done ' + b' '.join(words))\n",
        "Replies arrive twice and late",
    ),
    "does not wait for thanks": (
        10,
        "import socket, sys\nclient = socket.socket(type=socket.SOCK_DGRAM)\n"
        "for data in (b'get 1', b'done socket'): client.sendto(data, ('127.0.0.1', int(sys.argv[1])))",
        "this datagram was lost. Expected done again",
    ),
    "sends garbage": (
        10,
        "import socket, sys\nclient = socket.socket(type=socket.SOCK_DGRAM)\n"
        "client.sendto(b'\\xff\\x00', ('127.0.0.1', int(sys.argv[1])))",
        r"sent \xff\x00; expected get and a number",
    ),
}


WAITS = {
    "closes before the reply": (request_reply, "REPLY_AFTER", 3.0),
    "closes before the reply over TLS": (request_reply, "REPLY_AFTER", 3.0),
    "closes one connection before the reply": (request_reply, "REPLY_AFTER", 3.0),
    "serves for ever": (restartable_server, "ENDS_WITHIN", 0.3),
    "one client at a time": (many_clients, "WAITS", 3.0),
    "sends all before it reads": (half_close, "STILL", 0.3),
    "answers each recv": (chat_bot, "WAITS", 3.0),
    "answers every line": (chat_bot, "QUIET", 3.0),
    "sends once": (lossy_datagrams, "STILL", 0.3),
}
"""Seconds that replace those of the exercises: few, but enough for a program that has to answer something before."""


@pytest.mark.parametrize("name", WRONG)
@pytest_twisted.ensureDeferred
async def test_a_wrong_program_fails_with_the_reason(name, monkeypatch):
    number, code, expected = WRONG[name]
    monkeypatch.setattr("echod.client.lessons.attempt_run.REPORTS", 0.0)
    if name in WAITS:
        monkeypatch.setattr(*WAITS[name])
    outcome = await verdict_of(number, code)
    assert outcome.wrong is not None
    said = outcome.wrong.of("en")
    wanted = (expected,) if isinstance(expected, str) else expected
    assert any(text in said for text in wanted), (said, outcome.lines)
    assert said.isprintable()
    assert outcome.wrong.of("zh").isprintable()


@pytest.mark.parametrize("number", [3, 4])
@pytest_twisted.ensureDeferred
async def test_a_server_that_never_starts_is_missed(number):
    outcome = await verdict_of(number, "import time; time.sleep(99)", seconds=0.5)
    assert "no result within 0.5 s: no server accepts connections at port" in outcome.wrong.of("en")


@pytest_twisted.ensureDeferred
async def test_a_learner_without_a_command_runs_the_client():
    _, outcome, over = begun(1)
    [note] = outcome.notes
    port = int(note.rpartition(" ")[2])

    def client():
        with socket.create_connection(("127.0.0.1", port), SECONDS) as opened:
            opened.sendall(b"anna")
            return opened.recv(99)

    assert await deferToThread(client) == b"ANNA"
    await over
    assert outcome.wrong is None


@pytest_twisted.ensureDeferred
async def test_a_learner_without_a_command_restarts_the_server():
    port = free_port()
    _, outcome, over = begun(3, port=port)

    def serve():
        with socket.create_server(("127.0.0.1", port)) as server:
            client, _ = server.accept()
        with client, client.makefile() as lines:
            lines.readline()
            client.sendall(b"received")

    await deferToThread(serve)
    while len(outcome.notes) < 2:
        await deferToThread(lambda: None)
    assert outcome.notes[1] == "the first client was served; start your server again at once"
    await deferToThread(serve)
    await over
    assert outcome.wrong is None


@pytest_twisted.ensureDeferred
async def test_a_default_port_that_is_taken_is_replaced_and_a_port_that_was_asked_for_is_not():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="Address already in use"):
            begun(1, port=taken.getsockname()[1])
    first, outcome, _ = begun(1)
    second, other, _ = begun(1)
    assert outcome.notes != other.notes
    first.stop()
    second.stop()


@pytest_twisted.ensureDeferred
async def test_output_without_end_is_bounded_and_an_endless_program_is_ended():
    code = "import time\nwhile True: print('\\x1b[2J' * 99, flush=True); time.sleep(.001)"
    run, outcome, over = begun(1, [sys.executable, "-S", "-c", code])
    await lines_of(outcome, LINES)
    run._too_late()
    await over
    assert f"no result within {SECONDS:g} s: no program has connected" in outcome.wrong.of("en")
    assert len(outcome.lines) == LINES


@pytest_twisted.ensureDeferred
async def test_a_program_that_ignores_sigterm_and_its_child_are_ended():
    code = (
        "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nos.fork()\n"
        "os.write(1, b'%d\\n' % os.getpid())\ntime.sleep(99)"
    )
    run, outcome, over = begun(1, [sys.executable, "-S", "-c", code])
    await lines_of(outcome, 2)
    run._too_late()
    await over
    assert len(outcome.lines) == 2
    assert eventually(lambda: all(has_ended(line.decode()) for line in outcome.lines))


@pytest_twisted.ensureDeferred
async def test_a_client_that_opens_many_connections_fails():
    code = TCP + "many = [client]\nwhile True: many.append(socket.create_connection(client.getpeername()))"
    outcome = await verdict_of(1, code)
    assert "more than 100 connections" in outcome.wrong.of("en")


@pytest_twisted.ensureDeferred
async def test_a_client_that_passes_and_stays_fails(monkeypatch):
    monkeypatch.setattr("echod.client.lessons.attempt_run.LEAVES", 0.3)
    code = TCP + "client.sendall(b'a'); print(client.recv(9)); client.close(); import time; time.sleep(99)"
    outcome = await verdict_of(1, code)
    assert "does not end; expected its end within 0.3 s" in outcome.wrong.of("en")


@pytest_twisted.ensureDeferred
async def test_a_program_that_has_failed_prints_its_traceback(monkeypatch):
    monkeypatch.setattr("echod.client.lessons.attempt_run.REPORTS", SECONDS)
    handshake = WRONG["does not know the authority"][1].partition("import ssl; ")[2]
    late = f"import ssl, time\ntry: {handshake}\nfinally: time.sleep(0.5)"  # the verdict comes before the traceback
    outcome = await verdict_of(8, TCP + late)
    assert "the handshake failed" in outcome.wrong.of("en")
    assert b"SSLCertVerificationError" in outcome.lines[-1]


@pytest.mark.parametrize("call", [AttemptRun.next_run, lambda run: run.restart(lambda: None)], ids=["next", "restart"])
@pytest_twisted.ensureDeferred
async def test_a_program_that_crashes_before_its_connection_ends_does_not_run_again(call, monkeypatch):
    """The end of the process and the end of its connection are two events, which arrive in any order."""
    monkeypatch.setattr("echod.client.lessons.attempt_run.SETTLED", SECONDS)
    run, outcome, over = begun(8, [sys.executable, "-S", "-c", "1/0"])
    while run._program.code is None:
        await deferToThread(lambda: None)
    call(run)
    await over
    assert outcome.wrong.of("en").endswith("but its exit code is 1; expected 0")


@pytest_twisted.ensureDeferred
async def test_a_command_that_does_not_exist():
    outcome = await verdict(1, "/no/such/program")
    assert outcome.wrong.of("en") == "cannot run /no/such/program: No such file or directory"


@pytest_twisted.ensureDeferred
async def test_placeholders_of_the_command_are_replaced():
    code = "import sys; print(sys.argv[1:])"
    outcome = await verdict(9, sys.executable, "-c", code, "--at={port}", "{unix}")
    [line] = outcome.lines
    assert b"{" not in line
    assert line.count(b",") == 1
    assert b"stream.sock" in line


HOSTILE_CLIENT = """
import os, socket, sys, time
for number in range(3):
    client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    client.settimeout(0.2)
    try:
        client.sendall(b"\\x1b]0;title\\x07\\xff\\x00{reply}" + os.urandom(2_000_000))
    except OSError:
        pass
time.sleep(99)
"""
HOSTILE_INET6 = HOSTILE_CLIENT.replace("127.0.0.1", "::1")
HOSTILE_SERVER = """
import os, socket, sys, threading
def serve(client):
    while True:
        client.sendall(b"\\x1b]0;title\\x07\\xff\\x00{reply}" + os.urandom(100_000))
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""
HOSTILE_SENDER = """
import os, socket, sys
client = socket.socket(type=socket.SOCK_DGRAM)
while True:
    client.sendto(os.urandom(9_000), ("127.0.0.1", int(sys.argv[1])))
"""


@pytest.mark.parametrize("number", range(1, 11))
@pytest_twisted.ensureDeferred
async def test_a_hostile_program_fails_in_time_and_its_bytes_are_escaped(number, monkeypatch):
    monkeypatch.setattr("echod.client.lessons.attempt_run.REPORTS", 0.0)
    served = EXERCISES[number - 1].learner_serves
    other = {9: HOSTILE_INET6, 10: HOSTILE_SENDER}.get(number, HOSTILE_CLIENT)
    outcome = await verdict_of(number, HOSTILE_SERVER if served else other, seconds=2)
    assert outcome.wrong is not None
    for language in LANGUAGES:
        said = outcome.wrong.of(language)
        assert said.isprintable()
        assert len(said) < 500
    assert "has ended with exit code" not in outcome.wrong.of("en")  # the program was judged


AGAIN = "right so far; run your program once more"


@pytest.mark.parametrize("number", [7, 8])
@pytest_twisted.ensureDeferred
async def test_a_learner_without_a_command_runs_the_program_again(number, tmp_path):
    """The program is started here, as often as the attempt asks for it."""
    _, outcome, over = begun(number)
    values = outcome.notes[-1].rpartition(": ")[2].split() if number == 8 else [outcome.notes[0].rpartition(" ")[2]]
    command = [sys.executable, str(SOLUTIONS / f"lesson_{number}.py"), *values]
    runs = 0
    while not over.called:
        await deferToThread(subprocess.run, command, check=False, capture_output=True, timeout=SECONDS)
        runs += 1
        while not over.called and outcome.notes.count(AGAIN) < runs:
            await deferLater(reactor, 0.01)
    await over
    assert outcome.wrong is None
    assert runs == {7: 2, 8: 3}[number]
    assert outcome.notes.count(AGAIN) == runs - 1


@pytest_twisted.ensureDeferred
async def test_connections_are_judged_separately():
    code = TCP + "other = socket.create_connection(client.getpeername())\n"
    code += "client.sendall(b'anna'); print(client.recv(9).decode())\n"
    code += "other.sendall(b'bert'); client.close(); other.recv(9)"
    outcome = await verdict_of(1, code)
    assert outcome.wrong is None

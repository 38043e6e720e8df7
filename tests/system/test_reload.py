"""A reload is applied completely or not at all, and clients whose service stays do not notice it."""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import select
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from echod.address import parse
from echod.client.admin import Administrator, RequestRefused
from echod.measurement.stamp import Request, Unauthenticated
from tests.contract.matrix import data, exactly, rest
from tests.daemon import ECHOCTL, SECONDS, Daemon, eventually, free_port, run
from tests.fastpath.listener import needs_the_native_loop

PLANES = ("auto", "off")
PIDFD_GETFD = 438  # on every machine but alpha

CONFIG = """
[daemon]
plane = "PLANE"
drain = "30s"
[admin]
listen = ["unix://{dir}/admin.sock?mode=0600"]
[services.echo]
listen = ["tcp://127.0.0.1:PORT", "udp://127.0.0.1:PORT", "unix://{dir}/echo.sock"]
"""


class Reloaded(Daemon):
    """A daemon, its port, and the text of its file, which tests change."""

    def __init__(self, plane: str = "auto") -> None:
        self.port = free_port()
        super().__init__(CONFIG.replace("PLANE", plane).replace("PORT", str(self.port)))

    @property
    def file(self) -> Path:
        return self.dir / "echod.toml"

    def ask(self, path: str, method: str = "GET") -> Any:
        with Administrator(parse(f"unix://{self.dir}/admin.sock")) as administrator:
            return administrator.ask(path, method)

    def write(self, *changes: tuple[str, str], add: str = "") -> None:
        text = self.file.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        self.file.write_text(text + add.replace("{dir}", str(self.dir)))

    def reload(self) -> Any:
        return self.ask("/api/reload", "POST")

    def refusal(self) -> list[str]:
        with pytest.raises(RequestRefused) as caught:
            self.reload()
        assert caught.value.status == 422
        errors: list[str] = caught.value.answer["errors"]
        return errors

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), SECONDS)


@pytest.fixture(params=PLANES)
def daemon(request) -> Iterator[Reloaded]:
    with Reloaded(request.param) as running:
        yield running
        running.check()


@pytest.fixture
def lenient() -> Iterator[Reloaded]:
    """A daemon that may log errors, because the test causes one."""
    with Reloaded() as running:
        yield running


def served(client: socket.socket, text: bytes = b"still here?") -> bool:
    client.sendall(text)
    return exactly(client, len(text)) == text


def is_reset(daemon: Reloaded) -> bool:
    """Whether a new client is refused: at once, possibly before connect returns."""
    try:
        with daemon.connect() as client:
            client.recv(1)
    except ConnectionResetError:
        return True
    return False


def test_an_unchanged_file_changes_nothing(daemon):
    with daemon.connect() as client:
        assert served(client)
        assert daemon.reload() == {"reloaded": True, "opened": 0, "closed": 0, "changed": 0, "changes": [], "notes": []}
        assert served(client)


def test_an_address_is_added_and_another_removed(daemon):
    other = free_port()
    with daemon.connect() as client, socket.socket(socket.AF_UNIX) as local:
        local.connect(str(daemon.dir / "echo.sock"))
        local.settimeout(SECONDS)
        assert served(local)
        new = f'"tcp://127.0.0.1:{other}"'
        daemon.write((f'"unix://{daemon.dir}/echo.sock"', new))
        changes = [f"- echo unix://{daemon.dir}/echo.sock", f"+ echo tcp://127.0.0.1:{other}"]
        verdict = {"reloaded": True, "opened": 1, "closed": 1, "changed": 0, "changes": changes, "notes": []}
        assert daemon.reload() == verdict
        daemon.stderr.wait_for(re.escape(f" 0 services changed: {'; '.join(changes)}"))
        assert served(client)
        with socket.create_connection(("127.0.0.1", other), SECONDS) as added:
            assert served(added)
        local.sendall(b"goodbye")
        local.shutdown(socket.SHUT_WR)
        assert rest(local) == b"goodbye", "an address that goes serves its connections to their end"
        assert not (daemon.dir / "echo.sock").exists()


def test_an_address_by_a_name_is_added_or_refused(lenient):
    daemon = lenient
    known = {place[0] for *_, place in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    more = '[services.more]\nkind = "upper"\nlisten = ["tcp://localhost:0"]\n'
    daemon.write(add=more)
    assert daemon.reload()["opened"] == len(known)
    assert daemon.reload()["changes"] == []
    daemon.write(("localhost", "no-such-name.invalid"))
    (said,) = daemon.refusal()
    assert "tcp://no-such-name.invalid:0: the name no-such-name.invalid cannot be resolved: " in said


def test_a_client_that_does_not_leave_is_closed_at_drain(daemon):
    with socket.socket(socket.AF_UNIX) as local:
        local.connect(str(daemon.dir / "echo.sock"))
        local.settimeout(SECONDS)
        assert served(local)
        daemon.write((f', "unix://{daemon.dir}/echo.sock"', ""), ('drain = "30s"', 'drain = "1s"'))
        daemon.reload()
        assert local.recv(1) == b""


@pytest.mark.parametrize("change", ["limits = { buffer = '4KiB' }\n", "plane"])
def test_a_connection_of_a_replaced_port_still_belongs_to_the_service(daemon, change):
    """The connection is listed, and is closed with the service."""
    admin = f"[admin]\nlisten = ['unix://{daemon.dir}/admin.sock?mode=0600']\n"
    with daemon.connect() as client:
        assert served(client)
        if change == "plane":
            daemon.write(('"auto"', '"off"') if "auto" in daemon.file.read_text() else ('"off"', '"auto"'))
        else:
            daemon.write(add=change)
        assert daemon.reload()["reloaded"]
        assert served(client)
        (told,) = daemon.ask("/api/connections")
        assert (told["service"], told["address"]) == ("echo", f"tcp://127.0.0.1:{daemon.port}")
        assert told["peer"].endswith(f"127.0.0.1:{client.getsockname()[1]}")
        daemon.file.write_text(f"daemon.drain = '1s'\n{admin}[services.upper]\nlisten = ['tcp://127.0.0.1:0']\n")
        assert daemon.reload()["reloaded"]
        assert client.recv(1) == b""
    assert eventually(lambda: daemon.ask("/api/connections") == [])


def test_changes_are_listed(lenient):
    daemon = lenient
    daemon.write(('drain = "30s"', 'drain = "4s"'), add="deny = ['192.0.2.0/24']\n")
    ended = run(*ECHOCTL, "reload", "--admin", f"unix://{daemon.dir}/admin.sock")
    assert ended.stdout.decode().splitlines()[1:] == ["~ echo", "~ [daemon]"]


@pytest.mark.parametrize(
    "change",
    [
        "limits = { connections = 7 }",
        "limits = { buffer = '4KiB' }",
        "limits = { total-buffer = '1MiB', idle = '1m' }",
        "deny = ['192.0.2.0/24']",
    ],
)
def test_connections_continue_when_limits_change(daemon, change):
    with daemon.connect() as client:
        client.sendall(data()[:300_000])
        half = exactly(client, 100_000)
        daemon.write(add=f"{change}\n")
        assert daemon.reload()["changed"] == 1
        client.sendall(data()[300_000:400_000])
        client.shutdown(socket.SHUT_WR)
        assert half + rest(client) == data()[:400_000]
    with daemon.connect() as client:
        assert served(client)
    figures = daemon.counters()[f"echo tcp://127.0.0.1:{daemon.port}"]
    assert figures["bytes_in"] == figures["bytes_out"] == 400_000 + 11
    assert figures["closed:done"] == figures["accepted"] == 2


@pytest.mark.parametrize("listen", ["tcp://127.0.0.1:PORT", "tcp:PORT:interface=127.0.0.1"])
def test_the_kernels_time_limit_follows_stall(listen, tmp_path):
    """Connections inherit it from their listener, whichever process opened that."""
    port, file = free_port(), tmp_path / "echod.toml"

    def write(stall: str) -> None:
        file.write_text(
            f'[services.echo]\nlisten = ["{listen.replace("PORT", str(port))}"]\nlimits.stall = "{stall}"\n'
        )

    def patience(pid: int) -> float:
        for one in sockets_of(pid):
            if one.getsockname() == ("127.0.0.1", port):
                return one.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) / 1000
        raise AssertionError("this address has no listener")

    write("60s")
    with Daemon(options=["--config", str(file)]) as daemon:
        assert patience(daemon.process.pid) == 65
        write("5m")
        daemon.send_signal(signal.SIGHUP)
        daemon.stderr.wait_for(" reloaded: ")
        assert patience(daemon.process.pid) == 305


def is_over(client: socket.socket) -> bool:
    """Whether the daemon has closed it, independent of unread data."""
    poll = select.poll()
    poll.register(client, select.POLLRDHUP)
    return bool(poll.poll(0))


def stuck(client: socket.socket) -> bytes:
    """Send until nothing is accepted, and read nothing; returns the sent bytes."""
    client.setblocking(False)
    sent = 0
    with suppress(ConnectionError):  # a daemon with a short `stall` may have closed it already
        while select.select([], [client], [], 0.5)[1]:
            sent += client.send(data()[sent : sent + 16_384])
    client.settimeout(SECONDS)
    return data()[:sent]


@pytest.mark.parametrize(("before", "after"), [("0", "500ms"), ("500ms", "0")], ids=["shorter", "longer"])
def test_a_connection_keeps_its_initial_idle(daemon, before, after):
    daemon.write(add=f"limits = {{ idle = '{before}' }}\n")
    daemon.reload()
    with daemon.connect() as old:
        with suppress(ConnectionError):  # with the short idle it may be over now; in any case it was accepted
            assert served(old) or before != "0"
        daemon.write((f"idle = '{before}'", f"idle = '{after}'"))
        daemon.reload()
        with daemon.connect() as new:
            ends, stays = (new, old) if before == "0" else (old, new)
            assert eventually(lambda: is_over(ends))
            assert served(stays)


def test_a_connection_keeps_its_initial_stall(daemon):
    with daemon.connect() as old:
        sent = stuck(old)
        daemon.write(add="limits = { stall = '1s' }\n")
        daemon.reload()
        with daemon.connect() as later:
            stuck(later)
            assert eventually(lambda: is_over(later))
        old.shutdown(socket.SHUT_WR)
        assert rest(old) == sent


def test_new_limits_apply_to_old_and_new_connections_together(daemon):
    """Existing connections count."""
    with ExitStack() as stack:
        for _ in range(3):
            assert served(stack.enter_context(daemon.connect()))
        daemon.write(add="limits = { connections = 4 }\n")
        daemon.reload()
        assert served(stack.enter_context(daemon.connect()))
        assert is_reset(daemon)


def test_changes_that_need_a_start_are_reported(daemon):
    text = daemon.file.read_text()
    daemon.write(("[daemon]", "[daemon]\nlandlock = true"))
    for _ in range(2):
        assert daemon.reload()["notes"] == ["daemon.landlock: true takes effect at the next start"]
    asking = (*ECHOCTL, "reload", "--admin", f"unix://{daemon.dir}/admin.sock")
    assert run(*asking).stderr == b"echoctl: daemon.landlock: true takes effect at the next start\n"
    daemon.stderr.wait_for(" warn +daemon.landlock: true takes effect at the next start$")
    daemon.file.write_text(text)
    assert daemon.reload()["notes"] == []


@needs_the_native_loop
def test_the_native_loop_is_used_until_the_next_start():
    with Reloaded("auto") as daemon, daemon.connect() as client:
        for before, plane, notes, serves in (
            ("auto", "python", ["daemon.plane: python takes effect at the next start"], (True, True)),
            ("python", "off", [], (False, False)),
            ("off", "auto", [], (True, True)),
        ):
            daemon.write((f'plane = "{before}"', f'plane = "{plane}"'))
            assert daemon.reload()["notes"] == notes
            status = daemon.ask("/api/status")
            assert (status["plane"], status["native"]) == serves
            assert served(client)
    with Reloaded("python") as daemon, daemon.connect() as client:
        status = daemon.ask("/api/status")
        assert (status["plane"], status["native"]) == (True, False)
        assert served(client)


def test_an_address_that_no_client_may_use_is_reported_as_at_a_start(daemon):
    daemon.write(add='[services.also]\nkind = "echo"\nlisten = ["tcp://*:0"]\n')
    (note,) = daemon.reload()["notes"]
    assert re.fullmatch(r"also  tcp://\*:\d+ is open to the network, but only loopback is allowed: see allow", note)
    assert daemon.reload()["notes"] == []


def test_defaults_that_shrink_are_reported_as_at_a_start():
    with Reloaded() as daemon:
        hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (164, 164))
        assert daemon.reload()["notes"] == ["connections reduced to 82, because the limit of open files is 164: echo"]
        assert hard > 164


def test_lists_change(daemon):
    daemon.write(add="allow = ['192.0.2.0/24']\n")
    daemon.reload()
    assert is_reset(daemon)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"?", ("127.0.0.1", daemon.port))
        daemon.write(("allow = ['192.0.2.0/24']", ""))
        assert eventually(lambda: refused(daemon) == 1)
        daemon.reload()
        client.settimeout(SECONDS)
        client.sendto(b"and now?", ("127.0.0.1", daemon.port))
        assert client.recv(100) == b"and now?"


def refused(daemon: Reloaded) -> int:
    status = daemon.ask("/api/status")
    return sum(
        sum(one["refused"].values())
        for service in status["services"]
        for one in service["listeners"]
        if one["address"].startswith("udp")
    )


def test_a_socket_changes_its_service_and_its_path(daemon):
    """Another kind, then another name, then the fast path on or off: the socket stays and serves new clients."""
    with daemon.connect() as client:
        assert served(client)
        daemon.write(("[services.echo]", "[services.echo]\nkind = 'upper'"))
        assert daemon.reload()["opened"] == 0
        assert rest(client) == b"", "that service is gone: goodbye"
    for changes in (
        [("[services.echo]", "[services.loud]")],
        [('plane = "auto"', 'plane = "off"')] if "auto" in daemon.file.read_text() else [('"off"', '"auto"')],
    ):
        with daemon.connect() as client, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            client.sendall(b"hello")
            assert exactly(client, 5) == b"HELLO"
            daemon.write(*changes)
            assert daemon.reload()["reloaded"]
            datagrams.settimeout(SECONDS)
            datagrams.sendto(b"hello", ("127.0.0.1", daemon.port))
            assert datagrams.recv(10) == b"HELLO"
            with daemon.connect() as new:
                new.sendall(b"hello")
                assert exactly(new, 5) == b"HELLO"


def test_show_is_changed_by_a_reload(daemon):
    """It applies to new clients on both paths. Open connections keep their setting."""

    def says(text: str) -> None:
        with daemon.connect() as new, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.settimeout(SECONDS)
            new.sendall(text.encode())
            assert exactly(new, len(text)) == text.encode()
            datagrams.sendto(text.encode(), ("127.0.0.1", daemon.port))
            assert datagrams.recv(10) == text.encode()

    before = daemon.file.read_text()
    with daemon.connect() as client:
        assert served(client)
        says("first")
        daemon.write(add="show = 'text'\n")
        assert daemon.reload()["changes"] == ["~ echo"]
        says("second")
        daemon.stdout.wait_for("^udp 127.*: second$")
        daemon.file.write_text(before)
        assert daemon.reload()["changes"] == ["~ echo"]
        says("third")
        assert served(client)
    assert [line.partition(" ")[0] for line in daemon.stdout.text if line.endswith(": second")] == ["tcp", "udp"]
    assert not [line for line in daemon.stdout.text if not line.endswith(": second")]


def test_a_reflector_changes_its_mode_and_its_output(daemon):
    """Some modes are on the fast path; each keeps the socket, and the packets that wait in it."""
    daemon.write(
        ('tcp://127.0.0.1:PORT", "'.replace("PORT", str(daemon.port)), ""),
        ("[services.echo]", "[services.r]\nkind = 'reflector'"),
    )
    daemon.write((f', "unix://{daemon.dir}/echo.sock"', ""))
    daemon.reload()
    stamp = Unauthenticated()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(SECONDS)
        client.connect(("127.0.0.1", daemon.port))

        def sequences() -> list[int]:
            for _ in range(3):
                client.send(stamp.request(Request(9, 1, 0x8001, 1)))
            return [answer.sequence for _ in range(3) if (answer := stamp.parse_answer(client.recv(2000)))]

        kind = "kind = 'reflector'"
        for old, new, expected in (
            (kind, kind, [9, 9, 9]),
            (kind, f"{kind}\nstateful = true", [0, 1, 2]),
            ("stateful = true", "stateful = false", [9, 9, 9]),
            ("stateful = false", "show = 'hex'", [9, 9, 9]),
            ("show = 'hex'", "timestamps = 'ptp'", [9, 9, 9]),
        ):
            daemon.write((old, new))
            daemon.reload()
            assert sequences() == expected


def test_whoami_gets_all_packet_information_after_echo(daemon):
    """The fast path requests less from the kernel than the plain path."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(SECONDS)
        client.sendto(b"?", ("127.0.0.1", daemon.port))
        assert client.recv(10) == b"?"
        daemon.write(("[services.echo]", "[services.echo]\nkind = 'whoami'"))
        daemon.reload()
        client.sendto(b"?", ("127.0.0.1", daemon.port))
        assert {"ttl", "dscp", "received_at"} <= set(json.loads(client.recv(2000)))


BAD = {
    "syntax": ("[services.bad", "not TOML"),
    "a key": ("[services.bad]\nlisten = ['tcp://127.0.0.1:0']\nnothing = 1\nkind = 'echo'\n", "services.bad.nothing"),
    "a kind": ("[services.bad]\nlisten = ['tcp://127.0.0.1:0']\n", "unknown kind"),
    "a file": (
        "[services.bad]\nkind = 'qotd'\nquotes = '/nowhere'\nlisten = ['tcp://127.0.0.1:0']\n",
        "services.bad.quotes",
    ),
    "a port": ("[services.bad]\nkind = 'echo'\nlisten = ['tcp://127.0.0.1:BUSY']\n", "EADDRINUSE"),
    "a limit": (
        "[services.bad]\nkind = 'echo'\nlisten=['tcp://127.0.0.1:0']\nlimits={connections=99999999}\n",
        "exceed",
    ),
    "a bus": ("[bus]\nurl = 'rediss://127.0.0.1'\nca = '/nowhere'\n", "bus.ca: /nowhere: no such file"),
}


@pytest.mark.parametrize("wrong", BAD)
def test_a_wrong_configuration_changes_nothing(lenient, wrong):
    daemon = lenient
    text, said = BAD[wrong]
    with daemon.connect() as client, socket.create_server(("127.0.0.1", 0)) as busy:
        before = daemon.file.read_text()
        other = free_port()
        good = f"[services.also]\nkind = 'echo'\nlisten = ['tcp://127.0.0.1:{other}']\n"
        daemon.write(add=good + text.replace("BUSY", str(busy.getsockname()[1])))
        errors = daemon.refusal()
        assert any(said in line for line in errors), errors
        assert served(client)
        with daemon.connect() as new:
            assert served(new)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", other), SECONDS)
        assert daemon.ask("/api/status")["last_reload"] == {"reloaded": False, "errors": errors}
        daemon.file.write_text(before)
        assert daemon.reload()["reloaded"]


@pytest.mark.slow
def test_twenty_refused_reloads_leave_no_resource(lenient):
    daemon = lenient

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))

    daemon.reload()
    before = descriptors()
    with socket.create_server(("127.0.0.1", 0)) as busy:
        text = BAD["a port"][0].replace("BUSY", str(busy.getsockname()[1]))
        daemon.write(add="[services.also]\nkind = 'echo'\nlisten = ['tcp://127.0.0.1:0', 'udp://127.0.0.1:0']\n" + text)
        for _ in range(20):
            daemon.refusal()
    assert eventually(lambda: descriptors() <= before)
    with daemon.connect() as client:
        assert served(client)


def test_changes_that_an_open_socket_cannot_make_are_refused(lenient):
    daemon = lenient
    daemon.write((f"unix://{daemon.dir}/echo.sock", f"unix://{daemon.dir}/echo.sock?mode=0600"))
    (said,) = daemon.refusal()
    assert "mode" in said
    assert "restart" in said


@contextmanager
def visitors(port: int) -> Iterator[list[str]]:
    """Clients that connect, send a request and leave, repeatedly; keeps their errors."""
    wrong: list[str] = []
    over = threading.Event()
    asked = threading.Event()

    def visit() -> None:
        while not over.is_set():
            try:
                with socket.create_connection(("127.0.0.1", port), SECONDS) as client:
                    client.sendall(b"hello")
                    client.shutdown(socket.SHUT_WR)
                    if (said := rest(client)) != b"hello":
                        wrong.append(f"heard {said!r}")
            except OSError as error:
                wrong.append(str(error))
            asked.set()

    threads = [threading.Thread(target=visit) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert asked.wait(SECONDS)
    try:
        yield wrong
    finally:
        over.set()
        for thread in threads:
            thread.join(SECONDS)


def test_twelve_reloads_under_load_fail_no_client(daemon):
    """Each changes limits, other kinds, and adds or removes addresses."""
    with ExitStack() as stack:
        streams = [stack.enter_context(daemon.connect()) for _ in range(50)]
        wrong = stack.enter_context(visitors(daemon.port))
        text = daemon.file.read_text()
        for turn in range(12):
            limits = f"limits = {{ idle = '{turn + 60}s', buffer = '{turn % 2 + 4}KiB' }}\n"
            extra = "[services.more]\nkind = 'upper'\nlisten = ['tcp://127.0.0.1:0']\n" if turn % 2 else ""
            daemon.file.write_text(text + limits + extra)
            assert daemon.reload()["reloaded"]
            for client in streams:
                assert served(client, b"%d" % turn * 1000)
        assert wrong == []
        for client in streams:
            client.shutdown(socket.SHUT_WR)
            assert rest(client) == b""


def test_the_signal_does_the_same_and_reopens_the_log(tmp_path):
    log = tmp_path / "echod.log"
    twistd = ("twistd", "-n", "--pidfile=", f"--logfile={log}", "echod")
    port = free_port()
    config = CONFIG.replace("PLANE", "auto").replace("PORT", str(port))
    daemon = Reloaded()
    daemon._config = config
    daemon._command = (*_python("twisted.scripts.twistd"), *twistd[1:])
    daemon.launch()
    try:
        assert eventually(lambda: log.exists() and " ready: " in log.read_text())
        log.rename(tmp_path / "echod.log.1")
        daemon.send_signal(signal.SIGHUP)
        assert eventually(lambda: log.exists() and " reloaded: " in log.read_text())
        daemon.write(add="nothing = 1\n")
        daemon.send_signal(signal.SIGHUP)
        assert eventually(lambda: "nothing: unknown key" in log.read_text())
        assert daemon.stop() == 0
    finally:
        daemon.close()


def sockets_of(pid: int) -> Iterator[socket.socket]:
    """A process's IPv4 stream sockets, as descriptors of this process: pidfd_getfd(2)."""
    process = os.pidfd_open(pid)
    try:
        for number in map(int, os.listdir(f"/proc/{pid}/fd")):
            link = ""
            with suppress(FileNotFoundError):  # closed meanwhile
                link = os.readlink(f"/proc/{pid}/fd/{number}")
            if link.startswith("socket:"):
                copy = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, process, number, 0)
                if copy < 0:
                    pytest.skip(f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
                with socket.socket(fileno=copy) as one:
                    if (one.family, one.type) == (socket.AF_INET, socket.SOCK_STREAM):
                        yield one
    finally:
        os.close(process)


def _python(module: str) -> tuple[str, ...]:
    return (*ECHOCTL[:-2], "-c", f"from {module} import run; run()")


def test_echoctl_requests_it(lenient):
    daemon = lenient
    asking = (*ECHOCTL, "reload", "--admin", f"unix://{daemon.dir}/admin.sock")
    ended = run(*asking)
    assert (ended.returncode, ended.stdout) == (0, b"reloaded: 0 addresses opened, 0 closed, 0 services changed\n")
    daemon.write(add="nothing = 1\n")
    ended = run(*asking)
    assert ended.returncode == 78
    assert ended.stdout == b""
    assert b"services.echo.nothing: unknown key" in ended.stderr
    assert b"the configuration was not changed" in ended.stderr
    checked = run(*ECHOCTL, "check", str(daemon.file))
    assert checked.stderr.splitlines()[0] == ended.stderr.splitlines()[0]

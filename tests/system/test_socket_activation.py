"""Socket activation: each passed socket is served by its own type, and keeps the unit's path, mode and backlog."""

import json
import os
import shutil
import socket
import ssl
import subprocess
from contextlib import ExitStack, contextmanager

import pytest

from echod.address import parse
from echod.client.admin import Administrator
from echod.socket_names import Inet
from echod.transports.layers.proxy_header import version_2
from tests.activation import activated
from tests.contract.matrix import exactly
from tests.daemon import ECHOD, SECONDS, TWISTD, environment, eventually, free_port, run
from tests.fastpath.clients import descriptors
from tests.websocket import UPGRADE

BOTH_PLANES = pytest.mark.parametrize("plane", ["auto", "off"])


@contextmanager
def opened(path=None, kind=socket.SOCK_STREAM, family=socket.AF_INET, host="127.0.0.1", backlog=7):
    """A socket as a unit opens it; a Unix one has the mode 0606, which is not a default."""
    with socket.socket(socket.AF_UNIX if path else family, kind) as one:
        one.bind(str(path) if path else (host, 0))
        if path:
            os.chmod(path, 0o606)
        if kind is not socket.SOCK_DGRAM:
            one.listen(backlog)
        yield one


def ask(place, kind=socket.SOCK_STREAM, family=None):
    family = family or (socket.AF_INET if isinstance(place, tuple) else socket.AF_UNIX)
    with socket.socket(family, kind) as client:
        client.settimeout(SECONDS)
        if kind is socket.SOCK_DGRAM and family is socket.AF_UNIX:
            client.bind("")
        client.connect(place)
        client.sendall(b"hello")
        return exactly(client, 5) if kind is socket.SOCK_STREAM else client.recv(100)


def backlog_of(port):
    """The backlog of a listening TCP socket, as ss(8) shows it."""
    shown = run("ss", "-Hltn", f"sport = :{port}").stdout.split()
    return int(shown[2])


@BOTH_PLANES
def test_every_descriptor_of_a_name_is_served_by_its_own_type(plane, tmp_path):
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(opened()),
            stack.enter_context(opened()),
            stack.enter_context(opened(kind=socket.SOCK_DGRAM)),
            stack.enter_context(opened(tmp_path / "stream")),
            stack.enter_context(opened(tmp_path / "datagram", socket.SOCK_DGRAM)),
        ]
        config = f'[daemon]\nplane = "{plane}"\n[services.echo]\nlisten = ["systemd:all"]\n'
        daemon = stack.enter_context(activated([("all", one) for one in sockets], config))
        names = [one.getsockname() for one in sockets]
        assert [url for _, url in daemon.urls] == [
            *(f"tcp://127.0.0.1:{port}" for _, port in names[:2]),
            f"udp://127.0.0.1:{names[2][1]}",
            f"unix://{tmp_path}/stream",
            f"unix-dgram://{tmp_path}/datagram",
        ]
        for one, name in zip(sockets, names, strict=True):
            assert ask(name, one.type) == b"hello"
        paths = [tmp_path / "stream", tmp_path / "datagram"]
        before = [path.lstat() for path in paths]
        assert {oct(there.st_mode & 0o777) for there in before} == {"0o606"}
        assert daemon.stop() == 0
        assert [path.lstat().st_ino for path in paths] == [there.st_ino for there in before]
        counters = daemon.counters()
        assert counters[f"echo udp://127.0.0.1:{names[2][1]}"]["datagrams_out"] == 1
        assert counters[f"echo unix://{tmp_path}/stream"]["accepted"] == 1


@pytest.mark.skipif(shutil.which("ss") is None, reason="ss of iproute2 shows the backlog")
def test_the_backlog_of_the_unit_is_kept():
    with opened(backlog=7) as one, activated([("echo", one)], listen=["echo=systemd:echo"]) as daemon:
        assert ask(one.getsockname()) == b"hello"
        assert backlog_of(one.getsockname()[1]) == 7
        assert daemon.stop() == 0


def test_a_dual_stack_socket_is_every_interface():
    with (
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as dual,
        opened(family=socket.AF_INET6, host="::1") as six,
        activated([("echo", dual), ("echo", six)], listen=["echo=systemd:echo"]) as daemon,
    ):
        port = dual.getsockname()[1]
        assert [url for _, url in daemon.urls] == [f"tcp://*:{port}", f"tcp://[::1]:{six.getsockname()[1]}"]
        assert ask(("127.0.0.1", port)) == b"hello"
        assert ask(("::1", port), family=socket.AF_INET6) == b"hello"
        daemon.stderr.wait_for(rf"warn +echo  tcp://\*:{port} is open to the network")


def test_clients_that_connect_during_a_restart_are_served(tmp_path):
    """The socket outlives the daemon. Connections and datagrams of the time between are served by the next one."""
    with opened() as stream, opened(kind=socket.SOCK_DGRAM) as datagrams, opened(tmp_path / "s") as unix:
        passed = [("echo", stream), ("echo", datagrams), ("echo", unix)]
        with activated(passed, listen=["echo=systemd:echo"]) as first:
            assert ask(stream.getsockname()) == b"hello"
            assert ask(datagrams.getsockname(), socket.SOCK_DGRAM) == b"hello"
            assert first.stop() == 0
        with ExitStack() as stack:
            clients = []
            for one in (stream, datagrams, unix):
                client = stack.enter_context(socket.socket(one.family, one.type))
                client.settimeout(SECONDS)
                client.connect(one.getsockname())
                client.sendall(b"still there?")
                clients.append(client)
            stack.enter_context(activated(passed, listen=["echo=systemd:echo"]))
            for client in clients:
                assert client.recv(100) == b"still there?"


@BOTH_PLANES
@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "::"])
def test_a_datagram_sent_before_the_start_has_a_reply(plane, host):
    """The kernel did not record its destination address: no process had requested it yet."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        if family is socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        one.bind((host, 0))
        client.settimeout(SECONDS)
        client.connect(("127.0.0.1", one.getsockname()[1]))
        client.send(b"anybody there?")
        with activated([("x", one)], f'[daemon]\nplane = "{plane}"\n[services.echo]\nlisten = ["systemd:x"]\n'):
            assert client.recv(100) == b"anybody there?"


def test_the_fast_path_restores_the_options_of_a_shared_socket():
    """The fast path makes the kernel join datagrams. A later daemon without it must get them separately."""
    with opened(kind=socket.SOCK_DGRAM) as one:
        for plane in ("auto", "off"):
            config = f'[daemon]\nplane = "{plane}"\n[services.echo]\nlisten = ["systemd:x"]\n'
            with activated([("x", one)], config) as daemon:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                    client.settimeout(SECONDS)
                    client.connect(one.getsockname())
                    client.setsockopt(17, 103, 10)  # UDP_SEGMENT: one send, ten datagrams
                    client.send(b"x" * 100)
                    assert [client.recv(1000) for _ in range(10)] == [b"x" * 10] * 10
                counted = daemon.counters()[f"echo udp://127.0.0.1:{one.getsockname()[1]}"]
                assert counted["datagrams_out"] == 10


def test_a_passed_socket_without_a_service_is_closed_with_a_warning():
    with opened() as wanted, opened(kind=socket.SOCK_DGRAM) as other, open(os.devnull) as file:
        passed = [("echo", wanted), ("other\x1b[31m", other), ("file", file)]
        with activated(passed, listen=["echo=systemd:echo"]) as daemon:
            daemon.stderr.wait_for(
                r"warn +descriptor 4 \(other\\x1b\[31m\) was passed, but no listener uses it; closed"
            )
            daemon.stderr.wait_for(r"warn +descriptor 5 \(file\) was passed")
            held = descriptors(daemon.process.pid)
            assert f"socket:[{os.fstat(wanted.fileno()).st_ino}]" in held
            assert f"socket:[{os.fstat(other.fileno()).st_ino}]" not in held
            assert ask(wanted.getsockname()) == b"hello"


def test_the_variables_are_not_inherited():
    program = (
        "import os, sys\n"
        "from twisted.scripts.twistd import run\n"
        "import atexit\n"
        "atexit.register(lambda: os.write(1, repr([name for name in os.environ if 'LISTEN' in name]).encode()))\n"
        "sys.argv[:] = ['echod', '--nodaemon', '--pidfile=', 'echod', *sys.argv[1:]]\n"
        "run()\n"
    )
    command = (ECHOD[0], "-c", program)
    with opened() as one, activated([("echo", one)], command=command, listen=["echo=systemd:echo"]) as daemon:
        assert daemon.stop() == 0
        assert daemon.stdout.text[-1] == "[]"


def test_twistd_and_its_own_endpoint_string():
    """Twisted's `systemd:domain=…` takes the descriptor itself: echod does not report it as unused."""
    with opened() as ours, opened() as twisteds:
        listen = ["echo=systemd:echo", "upper=systemd:domain=INET:index=1"]
        command = (*TWISTD, "--nodaemon", "--pidfile=", "echod")
        with activated([("echo", ours), ("upper", twisteds)], command=command, listen=listen) as daemon:
            assert ask(ours.getsockname()) == b"hello"
            assert ask(twisteds.getsockname()) == b"HELLO"
            assert "was passed" not in daemon.log()


def test_without_names_they_are_called_unknown():
    with opened() as one, activated([("x", one)], named=False, listen=["echo=systemd:unknown"]):
        assert ask(one.getsockname()) == b"hello"


def refused(passed, *listen):
    """The output of a daemon that does not start, and its exit code."""
    daemon = activated(passed, listen=listen)
    daemon.launch()
    code = daemon.wait()
    said = daemon.stderr.text
    daemon.close()
    return code, said


def test_a_socket_that_cannot_be_served_is_one_line_and_71(tmp_path):
    with opened() as one, open(os.devnull) as file:
        assert refused([("a", one), ("b", one)], "echo=systemd:echo") == (
            71,
            ["echod: systemd:echo: no descriptor of that name was passed; passed names: a, b"],
        )
        assert refused([("echo", file)], "echo=systemd:echo") == (
            71,
            ["echod: systemd:echo: descriptor 3 is not a socket"],
        )
        with socket.create_connection(one.getsockname()), one.accept()[0] as connection:
            code, said = refused([("echo", connection)], "echo=systemd:echo")
            assert (code, said) == (
                71,
                ["echod: systemd:echo: a connection was passed, not a listener; its unit needs Accept=no"],
            )


def test_a_start_by_hand_prints_how_to_start_it():
    ended = run(*ECHOD, "--listen", "echo=systemd:echo")
    assert ended.returncode == 71
    assert ended.stderr.decode().splitlines() == [
        "echod: systemd:echo: no descriptors were passed (LISTEN_PID is not set); "
        "start it by its socket unit, or by systemd-socket-activate"
    ]
    ended = run(*ECHOD, "--listen", "echo=systemd:echo", env=environment(LISTEN_PID="1", LISTEN_FDS="1"))
    assert ended.returncode == 71
    assert b"passed to another process" in ended.stderr


def test_check_config_needs_no_passed_socket():
    ended = run(*ECHOD, "--listen", "echo=systemd:echo", "--check-config")
    assert (ended.returncode, ended.stdout) == (0, b"echo  systemd:echo\n")


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="systemd-socket-activate is not installed")
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_systemd_socket_activate(kind, tmp_path):
    """The first client starts the daemon, and is served by it."""
    port = free_port()
    words = ["systemd-socket-activate", *(["-d"] if kind is socket.SOCK_DGRAM else []), "-l", f"127.0.0.1:{port}"]
    words += ["--fdname=echo", *(f"-E{name}={os.environ[name]}" for name in ("PATH",) if name in os.environ)]
    words += [f"-EPYTHONPATH={environment()['PYTHONPATH']}", *ECHOD, "--listen", "echo=systemd:echo"]
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment())
    try:
        assert eventually(lambda: b"Listening on" in (tmp_path / "said").read_bytes())
        with socket.socket(socket.AF_INET, kind) as client:
            client.settimeout(SECONDS)
            client.connect(("127.0.0.1", port))
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"
        process.terminate()
        assert process.wait(SECONDS) == 0, (tmp_path / "said").read_text()
    finally:
        process.kill()
        process.wait(SECONDS)


LAYERS = """
[defaults]
proxy-from = ["127.0.0.1"]
[services.whoami]
listen = ["systemd:{name}?{options}"]
{tls}
"""
SELF_SIGNED = '[services.whoami.tls]\ncertificate = "self-signed"'


@pytest.mark.parametrize("proxy", ["", "&proxy=any"])
def test_layers_on_a_passed_socket(proxy):
    with opened() as one:
        place = one.getsockname()
        config = LAYERS.format(name="one", options=f"as=tls{proxy}", tls=SELF_SIGNED)
        with activated([("one", one)], config) as daemon, socket.create_connection(place, SECONDS) as client:
            assert daemon.urls == [("whoami", f"tls://127.0.0.1:{place[1]}")]
            if proxy:
                client.sendall(version_2(Inet("127.9.9.9", 5000), Inet(*place)))
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(client) as encrypted:
                facts = json.loads(encrypted.makefile("rb").read())
            assert facts["remote_address"] == ("127.9.9.9" if proxy else "127.0.0.1")
            assert facts["tls"]["version"] == "TLSv1.3"


def test_datagrams_with_headers_on_a_passed_socket():
    with opened(kind=socket.SOCK_DGRAM) as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        config = LAYERS.format(name="one", options="proxy=v2", tls="")
        with activated([("one", one)], config):
            client.settimeout(SECONDS)
            client.sendto(version_2(Inet("127.9.9.9", 5000), Inet("127.0.0.1", 7), datagrams=True), one.getsockname())
            assert json.loads(client.recv(1000))["remote_address"] == "127.9.9.9"


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (socket.SOCK_DGRAM, "as=tls", "udp://127.0.0.1:PORT cannot be served as tls; expected a TCP socket"),
        (socket.SOCK_DGRAM, "proxy=any", "?proxy=any: datagrams have version 2 only; write ?proxy=v2"),
        (None, "as=tls", "unix://PATH cannot be served as tls; expected a TCP socket"),
        (None, "proxy=v2", "unix://PATH has no PROXY headers; expected a TCP or UDP socket"),
    ],
)
def test_layers_that_a_passed_socket_cannot_have_are_one_line_and_78(tmp_path, kind, options, said):
    with opened(kind=kind) if kind else opened(tmp_path / "s") as one:
        name = one.getsockname()
        said = said.replace("PORT", str(name[1])).replace("PATH", str(name))
        config = LAYERS.format(name="one", options=options, tls=SELF_SIGNED if "tls" in options else "")
        daemon = activated([("one", one)], config)
        daemon.launch()
        assert daemon.wait() == 78
        assert daemon.stderr.text == [f"echod: systemd:one: {said}"]
        daemon.close()


def test_websocket_on_a_passed_socket_and_a_reload_to_another_layer():
    config = """
[admin]
listen = ["unix://{dir}/admin.sock"]
[services.echo]
listen = ["systemd:one?as=ws"]
"""
    with opened() as one, activated([("one", one)], config) as daemon:
        place = one.getsockname()
        assert daemon.url("echo", "ws").startswith(f"ws://127.0.0.1:{place[1]}")
        with socket.create_connection(place, SECONDS) as client:
            client.sendall(UPGRADE)
            assert client.recv(1000).startswith(b"HTTP/1.1 101 ")
            client.sendall(b"\x82\x85\0\0\0\0hello")
            assert exactly(client, 7) == b"\x82\x05hello"
        file = daemon.dir / "echod.toml"
        file.write_text(file.read_text().replace("?as=ws", ""))
        with Administrator(parse(f"unix://{daemon.dir}/admin.sock")) as administrator:
            administrator.ask("/api/reload", "POST")
        assert ask(place) == b"hello"

"""ACME in practice: certbot gets a certificate from Debian's pebble, echod serves it, and a renewal reloads echod."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import pytest

from echod.testing.output import Output
from tests.daemon import ECHOCTL, SECONDS, TOP, Daemon, accepts, environment, eventually, free_port, run

pytestmark = pytest.mark.needs_tools

NAME = "echo.example"


@contextmanager
def running(*words: str | Path, until: str, **environ: str) -> Iterator[None]:
    """Run a process until the end of the block, which begins after a line with `until`."""
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment(**environ)
    )
    assert process.stdout is not None
    lines = Output(process.stdout)
    try:
        lines.wait_for(until)
        yield
    finally:
        process.terminate()
        process.wait(SECONDS)
        lines.close()


class Authority:
    """A pebble that validates names by HTTP, and the options of certbot for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.http = free_port()
        self._acme, self._management, self._dns, self._control = (free_port() for _ in range(4))
        self._own = folder / "own"
        assert run(*ECHOCTL, "certificates", self._own, "127.0.0.1").returncode == 0

    @contextmanager
    def open(self) -> Iterator[None]:
        """Run pebble, and a name server that knows every name as 127.0.0.1."""
        settings = {
            "listenAddress": f"127.0.0.1:{self._acme}",
            "managementListenAddress": f"127.0.0.1:{self._management}",
            "certificate": str(self._own / "server.pem"),
            "privateKey": str(self._own / "server-key.pem"),
            "httpPort": self.http,
            "tlsPort": free_port(),
        }
        config = self.folder / "pebble.json"
        config.write_text(json.dumps({"pebble": settings}))
        names = ("-dns01", f"127.0.0.1:{self._dns}", "-management", f"127.0.0.1:{self._control}", "-defaultIPv6", "")
        others = (word for kind in ("-http01", "-https01", "-tlsalpn01") for word in (kind, ""))
        with ExitStack() as both:
            both.enter_context(running("pebble-challtestsrv", *names, *others, until="(?i)management"))
            self._await(self._dns, self._control)
            pebble = ("pebble", "-config", config, "-dnsserver", f"127.0.0.1:{self._dns}")
            quick = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
            both.enter_context(running(*pebble, until="ACME directory available", **quick))
            self._await(self._acme, self._management)
            yield

    @staticmethod
    def _await(*ports: int) -> None:
        """Wait until a program listens: it reports that before it does."""
        for port in ports:
            assert eventually(partial(accepts, ("127.0.0.1", port))), port

    def certbot(self, *words: str) -> str:
        """Run certbot. Returns its output."""
        folders = (f"--{name}-dir={self.folder / name}" for name in ("config", "work", "logs"))
        trust = environment(REQUESTS_CA_BUNDLE=str(self._own / "ca.pem"))
        ended = run("certbot", *words, "--non-interactive", *folders, env=trust, seconds=3 * SECONDS)
        said = (ended.stdout + ended.stderr).decode()
        assert ended.returncode == 0, said
        return said

    def issue(self) -> Path:
        """Get a certificate for NAME. Returns the folder with its files."""
        server = ("--server", f"https://127.0.0.1:{self._acme}/dir", "--agree-tos", "--register-unsafely-without-email")
        answer = ("--standalone", "--http-01-address", "127.0.0.1", "--http-01-port", str(self.http))
        self.certbot("certonly", *server, *answer, "--domain", NAME)
        return self.folder / "config" / "live" / NAME

    def root(self) -> Path:
        """A file with the certificate that pebble's chain ends at."""
        trust = ssl.create_default_context(cafile=self._own / "ca.pem")
        with urlopen(f"https://127.0.0.1:{self._management}/roots/0", context=trust, timeout=SECONDS) as response:
            (self.folder / "root.pem").write_bytes(response.read())
        return self.folder / "root.pem"


@pytest.fixture(scope="module")
def acme(tmp_path_factory):
    for program in ("pebble", "pebble-challtestsrv", "certbot"):
        if not shutil.which(program):
            pytest.skip(f"needs {program}")
    authority = Authority(tmp_path_factory.mktemp("acme"))
    with authority.open():
        yield authority


def connected(place: tuple[str, int], root: Path) -> ssl.SSLSocket:
    """A connection to the daemon, verified."""
    context = ssl.create_default_context(cafile=root)
    return context.wrap_socket(socket.create_connection(place, SECONDS), server_hostname=NAME)


def serial(connection: ssl.SSLSocket) -> str:
    certificate = connection.getpeercert() or {}
    return str(certificate["serialNumber"])


def hook_of_the_page(folder: Path, served: Path, admin: str) -> Path:
    """The hook of docs/TLS.md as a file, with the folder and the programs of this test."""
    page = (TOP / "docs" / "TLS.md").read_text("utf-8")
    [text] = re.findall(r"(?ms)^```sh\n(.*?)^```$", page)
    client = f"{sys.executable} -m echod.client.main reload --admin {admin}"
    for written, used in (("/etc/echod/tls", str(served)), (" -g echod", ""), ("echoctl reload", client)):
        assert written in text
        text = text.replace(written, used)
    hook = folder / "hook"
    hook.write_text(text)
    os.chmod(hook, 0o755)
    return hook


def test_a_renewal_reaches_new_connections_and_keeps_the_open_one(acme, tmp_path):
    live = acme.issue()
    root = acme.root()
    served = tmp_path / "tls"
    admin = tmp_path / "admin.sock"
    hook = hook_of_the_page(tmp_path, served, f"unix://{admin}")
    first = run("sh", hook, env=environment(RENEWED_LINEAGE=str(live), ECHOD_ADMIN=f"unix://{admin}"))
    assert b"admin.sock: " in first.stderr  # the daemon does not run yet
    config = f"""
        [admin]
        listen = ["unix://{admin}"]
        [services.echo]
        listen = ["tls://127.0.0.1:0"]
        [services.echo.tls]
        directory = "{served}"
    """
    with Daemon(config) as daemon:
        place = daemon.inet("echo", "tls")
        url = daemon.url("echo", "tls")
        sent = run(*ECHOCTL, "send", "--ca", root, "--server-name", NAME, url, "hello")
        assert (sent.returncode, sent.stdout, sent.stderr) == (0, b"hello", b"")
        with connected(place, root) as open_one:
            said = acme.certbot("renew", "--force-renewal", "--no-random-sleep-on-renew", "--deploy-hook", str(hook))
            assert "ran with error output" not in said, said
            with connected(place, root) as new_one:
                assert serial(new_one) != serial(open_one)
                for connection in (open_one, new_one):
                    connection.sendall(b"still here")
                    assert connection.recv(100) == b"still here"
        daemon.check()
        daemon.stderr.wait_for(rf"info  echo: loaded the certificate CN={NAME} of {served}/{NAME}\.pem, valid until ")

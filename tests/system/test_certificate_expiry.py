"""The certificates of a daemon: in its log, its status and its metrics, before and after a renewal."""

from __future__ import annotations

import json
import re
import signal
import socket
from datetime import UTC, datetime

import pytest

from echod.tls.issuing import authority, server
from tests.daemon import ECHOCTL, SECONDS, Daemon, run

NOW = datetime.now(UTC)
CA = authority(NOW)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "server.pem"


def renew(file, days):
    """Write a certificate that is valid for so many days. Returns its end."""
    issued = server(CA, ["echo.example", "127.0.0.1"], NOW, days)
    file.write_bytes(issued.certificate_pem + issued.key_pem)
    return issued.certificate.not_valid_after_utc


def test_a_certificate_is_reported_until_it_is_renewed(file):
    until = renew(file, 10)
    config = f"""
        [admin]
        listen = ["unix://{{dir}}/admin.sock"]
        [services.echo]
        listen = ["tls://127.0.0.1:0"]
        tls.certificate = "{file}"
    """
    with Daemon(config) as daemon:
        shown = f"the certificate CN=echo.example of {file}"
        end = f"valid until {until:%Y-%m-%d %H:%M} UTC, 9 days left"
        daemon.stderr.wait_for(f"warn  echo: {shown} is {end}: renew it$")
        admin = f"unix://{daemon.dir}/admin.sock"
        [service] = json.loads(run(*ECHOCTL, "status", "--json", "--admin", admin).stdout)["services"]
        [found] = service["certificates"]
        assert (found["source"], found["until"]) == (str(file), until.isoformat())
        page = run(*ECHOCTL, "status", "--admin", admin).stdout.decode()
        assert "CN=echo.example of echo expires soon: 9 days left\n" in page

        until = renew(file, 100)
        daemon.send_signal(signal.SIGHUP)
        end = f"valid until {until:%Y-%m-%d %H:%M} UTC, 99 days left"
        daemon.stderr.wait_for(f"info  echo: loaded {shown}, {end}$")
        page = run(*ECHOCTL, "status", "--admin", admin).stdout.decode()
        assert "99  echo.example, 127.0.0.1\n" in page
        assert "expires soon" not in page

        file.write_text("broken")
        refused = run(*ECHOCTL, "reload", "--admin", admin)
        assert refused.returncode == 78
        assert f"{file}: the file has no ".encode() in refused.stderr
        [service] = json.loads(run(*ECHOCTL, "status", "--json", "--admin", admin).stdout)["services"]
        assert service["certificates"][0]["until"] == until.isoformat()


def test_a_certificate_that_is_wrong_on_purpose_asks_for_no_renewal():
    config = """
        [admin]
        listen = ["unix://{dir}/admin.sock"]
        [services.echo]
        listen = ["tls://127.0.0.1:0"]
        tls.certificate = "self-signed"
        [services.late]
        kind = "echo"
        listen = ["tls://127.0.0.1:0"]
        tls.certificate = "expired"
    """
    with Daemon(config) as daemon:
        admin = f"unix://{daemon.dir}/admin.sock"
        status = json.loads(run(*ECHOCTL, "status", "--json", "--admin", admin).stdout)
        purposes = {one["name"]: [each["on_purpose"] for each in one["certificates"]] for one in status["services"]}
        assert purposes == {"echo": [False], "late": [True]}
        expiries = re.findall(rb'(?m)^echod_certificate_expiry.*service="(.*?)"', metrics(daemon.dir / "admin.sock"))
        assert expiries == [b"echo"]
        page = run(*ECHOCTL, "status", "--admin", admin).stdout.decode()
        assert "of late is wrong on purpose: expired\n" in page
        assert "has expired" not in page


def metrics(path):
    """The response to a scrape, with its headers."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SECONDS)
        client.connect(str(path))
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: client.recv(65_536), b""))

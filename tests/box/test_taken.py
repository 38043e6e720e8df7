"""If another process has the port, the installation reports it and succeeds."""

import re

import pytest

from tests.box.administration import install
from tests.box.load import tcp

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tools, pytest.mark.timeout(2400)]

OTHER = """[Service]
ExecStart=/usr/bin/python3 -c 'import socket, time; one = socket.create_server(("127.0.0.1", 7)); time.sleep(1000)'
"""


def test_a_taken_port_is_reported_and_the_installation_succeeds(box, package):
    box.put("/etc/systemd/system/other.service", OTHER)
    box.said("systemctl", "daemon-reload")
    box.said("systemctl", "start", "other")
    assert box.run("sh", "-c", "until ss -ltn | grep -q 127.0.0.1:7; do sleep 0.1; done").returncode == 0

    said = install(box, package)
    assert "echod is installed, but could not start:" in said
    assert re.search(r"echod: tcp://127\.0\.0\.1:7: address already in use \(EADDRINUSE\)", said)
    assert "systemctl restart echod" in said
    assert box.said("dpkg-query", "--show", "--showformat", "${db:Status-Status}", "echod") == "installed"

    box.said("systemctl", "stop", "other")
    box.said("systemctl", "restart", "echod")
    with box.network():
        assert tcp(7)(b"hello") == b"hello"

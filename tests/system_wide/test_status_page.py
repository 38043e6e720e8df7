"""The status page of the admin interface in headless Chromium: its figures are those of what a test sends."""

import json
import re
import socket
import subprocess
import threading
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from echod.client.commands.status import span
from echod.pages.status_page import HTML, StatusPage
from echod.tls.issuing import authority, server
from tests.contract.matrix import exactly
from tests.daemon import ECHOCTL, ECHOD, SECONDS, TOP, Daemon, environment, eventually, free_port, run
from tests.system_wide.accessibility import axe, violations
from tests.system_wide.chromium import Browser

pytestmark = pytest.mark.needs_tools

SCREENSHOTS = TOP / "build" / "screenshots"
FORMS: dict[str, dict[str, Any]] = {
    "wide": {"height": 2400},
    "narrow": {"width": 360, "height": 1600},
    "tablet": {"width": 712, "height": 2400},  # an overflow was at 705 to 854
    "window": {"width": 930, "height": 2400},
    "dark": {"height": 2400, "dark": True},
    "narrow-dark": {"width": 360, "height": 1600, "dark": True},
    "chinese": {"height": 2400, "language": "zh-CN,zh;q=0.9,en;q=0.8"},
    "chinese-dark": {"height": 2400, "language": "zh-CN", "dark": True},
}
CONFIG = """
[daemon]
workers = WORKERS
[admin]
listen = ["unix://{dir}/admin.sock?mode=0600", "tcp://127.0.0.1:0"]
[services.echo]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
[services.small]
kind = "echo"
listen = ["tcp://127.0.0.1:0"]
[services.small.limits]
connections = 2
[services.private]
kind = "echo"
listen = ["tcp://127.0.0.1:0"]
allow = ["192.0.2.0/24"]
[services.secure]
kind = "echo"
listen = ["tls://127.0.0.1:0"]
[services.secure.tls]
certificate = "self-signed"
[services.slow]
kind = "echo"
listen = ["tcp://127.0.0.1:0"]
[services.slow.faults]
delay = "100ms"
"""
READY = "document.querySelectorAll('#services tbody tr').length === 6"


@pytest.fixture(scope="module")
def browser():
    with Browser() as running:
        yield running


@pytest.fixture(params=["1", "2"], ids=["one-process", "workers"])
def daemon(request):
    with Daemon(CONFIG.replace("WORKERS", request.param)) as running:
        yield running


@pytest.fixture(scope="module")
def busy():
    """A daemon whose limit is reached, which refuses clients, and which has refused a reload."""
    with Daemon(CONFIG.replace("WORKERS", "2")) as running, ExitStack() as clients:
        for _ in range(2):
            clients.enter_context(connected(running, "small"))
        refused(running, "small", 3)
        refused(running, "private", 5)
        with connected(running, "echo") as client:
            client.sendall(b"x" * 3_000_000)
            assert len(exactly(client, 3_000_000)) == 3_000_000
        reload(running, "nonsense = 1\n")
        yield running


def url(daemon):
    return daemon.url("admin", "tcp").replace("tcp://", "http://")


def connected(daemon, service, start="tcp"):
    """A connection that is served, after one byte."""
    client = socket.create_connection(daemon.inet(service, start), SECONDS)
    client.sendall(b"x")
    assert exactly(client, 1) == b"x"
    return client


def refused(daemon, service, count):
    for _ in range(count):
        with suppress(ConnectionError), socket.create_connection(daemon.inet(service, "tcp"), SECONDS) as client:
            assert client.recv(1) == b""


def reload(daemon, more):
    """Reload a configuration with more lines before it, and restore the file."""
    file = daemon.dir / "echod.toml"
    right = file.read_text("utf-8")
    file.write_text(more + right, "utf-8")
    run(*ECHOCTL, "reload", "--admin", f"unix://{daemon.dir}/admin.sock", env=environment())
    file.write_text(right, "utf-8")


def row(page, service, address):
    """The exact figures of a row of services, by their headings."""
    script = f"""(() => {{
      for (const row of document.querySelectorAll('#services tbody tr')) {{
        const [name, address] = [row.cells[0].innerText.split('\\n')[0], row.cells[1].innerText];
        if (name !== '{service}' || address !== '{address}') continue;
        const figures = [...row.querySelectorAll('td data')];
        return Object.fromEntries(figures.map((one) => [one.closest('td').dataset.label, Number(one.value)]));
      }}
    }})()"""
    return page.value(script)


def shows(service, address, heading, value):
    """An expression: whether a row has this figure."""
    return (
        "[...document.querySelectorAll('#services tbody tr')].some((row) =>"
        f" row.cells[0].innerText.startsWith('{service}')"
        f" && row.cells[1].innerText === '{address}'"
        f" && row.querySelector('[data-label=\"{heading}\"] data')?.value === '{value}')"
    )


def sent(page, address):
    """The bytes that echo has sent, in the page's last column but one: their heading depends on the language."""
    return list(row(page, "echo", address).values())[-2]


def has_sent(page, address, count):
    return sent(page, address) >= count


def test_the_figures_are_exact_to_the_byte(browser, daemon):
    with browser.page(url(daemon)) as page, connected(daemon, "echo") as client:
        page.wait_for(READY)
        stream, datagrams = daemon.url("echo", "tcp"), daemon.url("echo", "udp")
        client.sendall(b"x" * 123_456)
        assert len(exactly(client, 123_456)) == 123_456
        with socket.socket(type=socket.SOCK_DGRAM) as peer:
            peer.settimeout(SECONDS)
            peer.connect(daemon.inet("echo", "udp"))
            for size in (0, 1, 999):
                peer.send(b"y" * size)
                assert len(peer.recv(2000)) == size
        refused(daemon, "private", 4)
        page.wait_for(shows("echo", stream, "Sent", 123_457))
        page.wait_for(shows("echo", datagrams, "Sent", 1_000))
        page.wait_for(shows("private", daemon.url("private", "tcp"), "Refused", 4))
        assert row(page, "echo", stream) == {
            "Open": 1,
            "Connections": 1,
            "Received": 123_457,
            "Sent": 123_457,
            "Refused": 0,
        }
        assert row(page, "echo", datagrams) == {"Datagrams": 3, "Received": 1_000, "Sent": 1_000, "Refused": 0}
        assert page.text("[data-of=open]") == "1"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        page.wait_for(shows("echo", stream, "Open", 0))
        page.wait_for("document.querySelector('[data-of=open]').innerText === '0'")


def test_refusals_have_their_reason_and_the_line_that_changes_them(browser, daemon):
    with browser.page(url(daemon)) as page, ExitStack() as clients:
        page.wait_for(READY)
        assert page.text("#healthy") == "No problems."
        for _ in range(2):
            clients.enter_context(connected(daemon, "small"))
        refused(daemon, "small", 3)
        page.wait_for("document.getElementById('refusals').innerText.includes('connections = 2')")
        page.wait_for("document.querySelector('#refusals [data-label=Count]').innerText === '3'")
        assert page.text("#refusals code") == "[services.small.limits]\nconnections = 2"
        assert page.text("#refusals .origin") == f"from {daemon.dir}/echod.toml"
        address = daemon.url("small", "tcp")
        page.wait_for("document.querySelectorAll('#problems li').length === 2")
        assert page.texts("#problems li") == [
            "small: the limit connections is used up: 2 of 2.",
            f"small {address}: 3 refused in the last minute: the service has reached its limit of connections. "
            "To change it: [services.small.limits] connections = 2",
        ]


@pytest.mark.parametrize("width", [930, 1200])
def test_names_of_refusing_services_are_not_cut(browser, width):
    """The column of the names has a short title in Chinese. A host may be denied by either list."""
    config = """
        [admin]
        listen = ["tcp://127.0.0.1:0"]
        [services.udpechoplus]
        listen = ["udp://127.0.0.1:0"]
        deny = ["127.0.0.0/8"]
    """
    lines = """(() => {
        const range = document.createRange();
        range.selectNodeContents(document.querySelector('#refusals tbody th').firstChild);
        return range.getClientRects().length;
    })()"""
    with Daemon(config) as daemon, browser.page(url(daemon), width=width, language="zh-CN") as page:
        page.wait_for("document.querySelectorAll('#services tbody tr').length === 1")
        with socket.socket(type=socket.SOCK_DGRAM) as peer:
            peer.sendto(b"denied", daemon.inet("udpechoplus", "udp"))
        page.wait_for("document.querySelector('#refusals tbody th')")
        assert (page.text("#refusals tbody th"), page.value(lines), page.overflow()) == ("udpechoplus", 1, 0)
        assert page.text("#refusals code").splitlines()[0] == "[services.udpechoplus]"
        assert page.text("#refusals code").splitlines()[-1] == 'deny = ["127.0.0.0/8"]'
        assert page.text("#refusals .origin") == f"来自 {daemon.dir}/echod.toml"
        page.wait_for("document.getElementById('problems').innerText.includes('deny = [\"127.0.0.0/8\"]')")


def test_a_refused_reload_is_a_problem_until_the_next_one(browser, daemon):
    with browser.page(url(daemon)) as page:
        page.wait_for(READY)
        reload(daemon, "nonsense = 1\n")
        page.wait_for("document.querySelector('#problems .error')")
        assert "nonsense" in page.text("#problems .error")
        assert "the old one is in force" in page.text("#reload")
        page.wait_for("document.getElementById('events').innerText.includes('nonsense')")
        reload(daemon, "")
        page.wait_for("document.querySelectorAll('#problems li').length === 0")
        assert page.text("#reload") == "The configuration was reloaded: 0 opened, 0 closed, 0 changed."


def test_a_flood_is_a_problem_with_the_line_that_limits_it(browser):
    config = """
        [admin]
        listen = ["tcp://127.0.0.1:0"]
        [services.echo]
        listen = ["udp://127.0.0.1:0"]
        limits.rate = "5/10"
    """
    with Daemon(config) as daemon, browser.page(url(daemon)) as page:
        page.wait_for("document.querySelectorAll('#services tbody tr').length === 1")
        with socket.socket(type=socket.SOCK_DGRAM) as peer:
            peer.connect(daemon.inet("echo", "udp"))
            for number in range(200):
                peer.send(b"%d" % number)
        page.wait_for("document.getElementById('problems').innerText.includes('one network sends too many datagrams')")
        assert '[services.echo.limits] rate = "5/10"' in page.text("#problems")
        assert page.text("#refusals code") == '[services.echo.limits]\nrate = "5/10"'
        page.wait_for(shows("echo", daemon.url("echo", "udp"), "Datagrams", 200))
        answered = int(page.value("document.querySelector('#refusals [data-label=Count] data').value"))
        assert 0 < answered < 200


def test_an_expiring_certificate_is_a_problem_until_it_is_renewed(browser, tmp_path):
    now, file = datetime.now(UTC), tmp_path / "server.pem"
    trusted = authority(now)

    def renew(days):
        issued = server(trusted, ["echo.example"], now, days)
        file.write_bytes(issued.certificate_pem + issued.key_pem)

    renew(10)
    config = f"""
        [admin]
        listen = ["unix://{{dir}}/admin.sock", "tcp://127.0.0.1:0"]
        [services.echo]
        listen = ["tls://127.0.0.1:0"]
        tls.certificate = "{file}"
    """
    with Daemon(config) as daemon, browser.page(url(daemon)) as page:
        page.wait_for("document.querySelectorAll('#problems li').length === 1")
        assert page.text("#problems li") == "The certificate CN=echo.example of echo has 9 days left. Renew it."
        page.wait_for("document.getElementById('events').innerText.includes('renew it')")
        renew(100)
        reload(daemon, "")
        page.wait_for("document.querySelectorAll('#problems li').length === 0")
        assert page.text("#certificates [data-label='Days left']") == "99"


def test_a_certificate_that_is_wrong_on_purpose_is_no_problem(browser):
    config = """
        [admin]
        listen = ["unix://{dir}/admin.sock", "tcp://127.0.0.1:0"]
        [services.echo]
        listen = ["tls://127.0.0.1:0"]
        tls.certificate = "expired"
    """
    with Daemon(config) as daemon, browser.page(url(daemon)) as page:
        page.wait_for("document.querySelectorAll('#certificates tbody tr').length === 1")
        assert page.text("#healthy") == "No problems."
        alarms = page.value("[...document.querySelectorAll('#certificates .alarm')].map((one) => one.innerText)")
        assert alarms == ["wrong on purpose: expired"]


def test_a_full_disk_is_a_problem(browser, tmp_path):
    port, file = free_port(), tmp_path / "echod.toml"
    file.write_text(f'[admin]\nlisten = ["tcp://127.0.0.1:{port}"]\n[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\n')

    def serves():
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), SECONDS):
            return True
        return False

    with (
        open("/dev/full", "wb") as full,  # always full (full(4))
        subprocess.Popen([*ECHOD, "--config", file], stderr=full, env=environment()) as process,
    ):
        try:
            assert eventually(serves)
            with browser.page(f"http://127.0.0.1:{port}/") as page:
                page.wait_for("document.getElementById('problems').innerText.includes('could not be written')")
                assert re.fullmatch(
                    "[0-9]+ log lines could not be written in the last minute.+doctor.+", page.text("#problems li")
                )
        finally:
            process.terminate()
            process.wait(SECONDS)


class Replayed(BaseHTTPRequestHandler):
    """The status page of a daemon that reports one status after the other."""

    page = StatusPage()
    statuses: ClassVar[list[dict[str, Any]]] = []

    def do_GET(self):
        self.send_response(200)
        if self.path == "/":
            pieces, headers = self.page.answer("en", "")
            for name, value in (("Content-Type", HTML), *headers):
                self.send_header(name, value)
        else:
            pieces = (f"event: status\ndata: {json.dumps(one)}\n\n".encode() for one in self.statuses)
            self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.writelines(pieces)
        if self.path != "/":
            self.rfile.read(1)  # until the page closes the stream: it would open an ended one again

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    ("reports", "problem"),
    [
        ([(30, 4)], "4 log lines"),
        ([(500, 4)], ""),
        ([(500, 4), (501, 6)], "2 log lines"),
        ([(500, 4), (501, 6), (562, 6)], ""),
    ],
    ids=["just-started", "earlier", "now", "a-minute-ago"],
)
def test_lost_lines_are_a_problem_for_a_minute(browser, busy, reports, problem):
    status = json.loads(run(*ECHOCTL, "status", "--json", "--admin", f"unix://{busy.dir}/admin.sock").stdout)
    quiet = {**status, "services": [], "last_reload": None}
    Replayed.statuses = [{**quiet, "uptime": uptime, "lines_lost": lost} for uptime, lost in reports]
    with ThreadingHTTPServer(("127.0.0.1", 0), Replayed) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with browser.page(f"http://127.0.0.1:{server.server_port}/") as page:
                page.wait_for(f"document.getElementById('facts').innerText.includes('{span(reports[-1][0])}')")
                page.wait_for(f"document.getElementById('facts').innerText.includes('\\n{reports[-1][1]}\\n')")
                assert page.text("#problems").partition(" could")[0] == problem
                assert page.text("#healthy") == ("Problems: 1." if problem else "No problems.")
        finally:
            server.shutdown()
            thread.join()


def test_text_of_a_client_is_shown_as_text(browser, daemon):
    with browser.page(url(daemon)) as page:
        page.wait_for(READY)
        with socket.create_connection(daemon.inet("secure", "tls"), SECONDS) as client, suppress(ConnectionError):
            client.sendall(b"<b id=e>")
            client.recv(100)
        page.wait_for("document.getElementById('events').innerText.includes('<b id=e>')")
        line = page.texts("#events li span:last-child")[0]
        assert line.isprintable()
        assert page.value("document.getElementById('e')") is None


def test_the_page_shows_that_the_daemon_is_gone_and_back(browser):
    with Daemon(CONFIG.replace("WORKERS", "1")) as daemon, browser.page(url(daemon), strict=False) as page:
        page.wait_for(READY)
        assert page.text("#state") == "Ready"
        assert daemon.stop() == 0
        page.wait_for("document.getElementById('state').dataset.state === 'closed'")
        assert page.text("#state").startswith("No connection to the daemon since ")


def test_the_page_works_with_the_keyboard_alone(browser, busy):
    with browser.page(url(busy)) as page:
        page.wait_for(READY)
        seen = []
        for _ in range(4):
            page.press("Tab")
            seen.append(page.value("document.activeElement.id || document.activeElement.innerText"))
            outline = page.value("getComputedStyle(document.activeElement).outlineStyle")
            assert outline == "solid", "the focus is visible"
        assert seen == ["echod", "English", "中文", "log"]
        page.value("document.querySelector('.languages a[lang=zh-Hans]').click()")
        page.wait_for(f"document.documentElement.lang === 'zh-Hans' && {READY}")
        assert page.text("h1") == "运行状态"


@pytest.mark.parametrize("form", FORMS)
def test_the_page_fits_the_screen_and_passes_the_accessibility_checks(browser, busy, form):
    checker = axe()
    with browser.page(url(busy), **FORMS[form]) as page, ExitStack() as load:
        page.wait_for(READY)
        page.wait_for("document.querySelectorAll('#problems li').length >= 2")
        client, stream = load.enter_context(connected(busy, "echo")), busy.url("echo", "tcp")
        for number in range(3):  # some points of the charts
            goal = sent(page, stream) + 50_000 * (number + 1)
            client.sendall(b"x" * 50_000 * (number + 1))
            assert len(exactly(client, 50_000 * (number + 1))) == 50_000 * (number + 1)
            assert eventually(partial(has_sent, page, stream, goal))
        assert page.value("document.querySelectorAll('.charts canvas').length") == 2
        name = SCREENSHOTS / f"status-{form}"
        page.screenshot(name.with_suffix(".png"))
        assert page.overflow() <= 0
        assert violations(page, checker, name.with_suffix(".axe.json")) == []

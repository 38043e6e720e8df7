"""The pages that the daemon serves at its WebSocket addresses, fetched as a browser does."""

import http.client

import pytest

from tests.daemon import SECONDS, Daemon, free_port

CONFIG = """
[services.echo]
listen = ["ws://127.0.0.1:{port}/echo"]
[services.room]
kind = "chat"
listen = ["ws://127.0.0.1:{port}/room"]
[services.hidden]
kind = "echo"
listen = ["ws://127.0.0.1:{port}/hidden"]
[services.hidden.websocket]
page = false
"""
BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"


@pytest.fixture(scope="module")
def daemon():
    with Daemon(CONFIG.format(port=free_port())) as running:
        yield running


@pytest.fixture(scope="module")
def get(daemon):
    """Fetches a path; returns the response, and its body."""

    def fetch(path, method="GET", accept=BROWSER, language="en"):
        host, port = daemon.inet("echo", "ws")
        connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
        try:
            connection.request(method, path, headers={"Accept": accept, "Accept-Language": language})
            response = connection.getresponse()
            return response, response.read().decode()
        finally:
            connection.close()

    return fetch


@pytest.mark.parametrize(("path", "title"), [("/echo", "/echo · echod"), ("/room", "Chat · /room · echod")])
def test_a_browser_gets_the_page_of_a_service(daemon, get, path, title):
    response, body = get(path)
    port = daemon.inet("echo", "ws")[1]
    assert (response.status, response.headers.get_content_type()) == (200, "text/html")
    assert f"<title>{title}</title>" in body
    assert f"connect-src 'self' ws://127.0.0.1:{port} wss://" in response.headers["Content-Security-Policy"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_head_has_the_length_of_the_page(get):
    (head, nothing), (whole, body) = get("/echo", "HEAD"), get("/echo")
    assert nothing == ""
    assert head.headers["Content-Length"] == whole.headers["Content-Length"] == str(len(body.encode()))


def test_an_unknown_path_and_the_root_list_the_services(get):
    (missing, listed), (root, also) = get("/%3Cnothing%3E?a=b"), get("/")
    assert (missing.status, root.status) == (404, 200)
    assert "/&lt;nothing&gt; is not a service on this port." in listed
    for body in (listed, also):
        assert '<a href="/echo">' in body
        assert '<a href="/room">' in body
        assert "<b>/hidden</b>" in body
        assert 'href="/hidden"' not in body


def test_the_language_of_the_browser_is_used(get):
    response, body = get("/echo", language="zh-CN,zh;q=0.9")
    assert response.headers["Content-Language"] == "zh"
    assert "原样发回每条消息" in body


@pytest.mark.parametrize(("path", "accept"), [("/hidden", BROWSER), ("/echo", "*/*")])
def test_without_a_page_an_upgrade_is_required(get, path, accept):
    response, body = get(path, accept=accept)
    assert (response.status, response.headers["Upgrade"]) == (426, "websocket")
    assert response.headers["Connection"] == "Upgrade, close"
    assert body.startswith(f"{path}: ")

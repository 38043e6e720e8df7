"""The pages of a WebSocket port in headless Chromium."""

import socket
from typing import Any

import pytest

from tests.daemon import SECONDS, TOP, Daemon, free_port
from tests.system_wide.accessibility import axe, violations
from tests.system_wide.chromium import Browser

pytestmark = pytest.mark.needs_tools

SCREENSHOTS = TOP / "build" / "screenshots"
KINDS = ("echo", "upper", "ack", "discard", "daytime", "time", "qotd", "whoami", "console")
FORMS: dict[str, Any] = {
    "wide": {},
    "narrow": {"width": 360, "height": 740},
    "dark": {"dark": True},
    "chinese": {"language": "zh-CN,zh;q=0.9,en;q=0.8"},
}
OPEN = "document.getElementById('state').dataset.state === 'open'"
CLOSED = "document.getElementById('state').dataset.state === 'closed'"


def config(port):
    services = [f'[services.{kind}]\nlisten = ["ws://127.0.0.1:{port}/{kind}"]' for kind in KINDS]
    chat = f'[services.chat]\nlisten = ["ws://127.0.0.1:{port}/chat", "tcp://127.0.0.1:0", "unix-dgram://{{dir}}/chat"]'
    hidden = f'[services.hidden]\nkind = "echo"\nlisten = ["ws://127.0.0.1:{port}/hidden"]'
    return "\n".join([*services, chat, hidden, "[services.hidden.websocket]\npage = false"])


@pytest.fixture(scope="module")
def daemon():
    with Daemon(config(free_port())) as running:
        yield running


@pytest.fixture(scope="module")
def base(daemon):
    """The address of the pages."""
    host, port = daemon.inet("echo", "ws")
    return f"http://{host}:{port}"


@pytest.fixture(scope="module")
def browser():
    with Browser() as running:
        yield running


def received(count):
    return f"document.querySelectorAll('li.received').length === {count}"


def closing_line(count):
    return f"document.getElementById('lines').innerText.split('Closed: 1000 (normal)').length === {count + 1}"


def test_text_and_bytes_come_back_with_their_type(browser, base):
    with browser.page(f"{base}/echo") as page:
        page.wait_for(OPEN)
        page.type("#message", "Hello ✓")
        page.wait_for(received(1))
        page.click("input[name=type][value=binary]")
        page.type("#message", "as bytes")
        page.wait_for(received(2))
        page.click("input[name=input][value=hex]")
        page.type("#message", "00 ff 0x7f")
        page.wait_for(received(3))
        assert page.texts("li.received .content") == ["Hello ✓", "61 73 20 62 79 74 65 73", "00 ff 7f"]
        facts = [text.split() for text in page.texts("li.received .facts")]
        assert [words[:3] for words in facts] == [["text", "9", "B"], ["binary", "8", "B"], ["binary", "3", "B"]]
        assert all(words[-1] == "ms" for words in facts)
        assert page.text("#total-sent") == page.text("#total-received") == "3 · 20 B"
        assert page.text("#last").endswith("ms")
        assert page.value("crossOriginIsolated") is True


def test_characters_that_control_or_hide_are_shown_as_escapes(browser, base):
    with browser.page(f"{base}/echo") as page:
        page.wait_for(OPEN)
        page.type("#message", "a\tb\u202ec\x1b[31m<b>&amp;</b>")
        page.wait_for(received(1))
        assert page.texts("li.received .content") == ["a\\tb\\u{202e}c\\x1b[31m<b>&amp;</b>"]
        assert page.texts("li.received .control") == ["\\t", "\\u{202e}", "\\x1b"]
        assert page.value("document.querySelectorAll('li b').length") == 0


def test_a_wrong_input_is_not_sent_and_its_message_names_the_expected_one(browser, base):
    with browser.page(f"{base}/echo") as page:
        page.wait_for(OPEN)
        page.click("input[name=input][value=hex]")
        for text, expected in (("68 6", "Not hexadecimal"), ("zz", "Not hexadecimal"), ("ff fe", "not valid UTF-8")):
            page.type("#message", text)
            assert expected in page.text("#error")
            assert page.value("document.getElementById('message').getAttribute('aria-invalid')") == "true"
        assert page.text("#total-sent") == "0 · 0 B"
        page.type("#message", "68 69")
        page.wait_for(received(1))
        assert page.texts("li.received .content") == ["hi"]
        assert page.text("#error") == ""


def test_the_page_works_with_the_keyboard_alone(browser, base):
    with browser.page(f"{base}/upper") as page:
        page.wait_for(OPEN)
        page.value("document.getElementById('message').focus()")
        page.insert("over")
        page.press("Enter", "\r", modifiers=8)  # with Shift: a new line
        page.insert("two lines")
        page.press("Tab")
        assert page.value("document.activeElement.name + document.activeElement.value") == "inputtext"
        page.press("Tab")
        page.press("ArrowRight")
        assert page.value("document.activeElement.name + document.activeElement.value") == "typebinary"
        page.press("Tab")
        assert page.value("document.activeElement.type") == "submit"
        outline = page.value("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", "the focus is visible"
        page.press(" ", " ")
        page.wait_for(received(1))
        assert page.texts("li.received .facts")[0].split()[:3] == ["binary", "14", "B"]


def test_large_messages_are_shown_in_part_and_the_list_is_bounded(browser, base):
    with browser.page(f"{base}/echo") as page:
        page.wait_for(OPEN)
        page.value("document.getElementById('message').value = '€'.repeat(100_000)")
        page.click("#composer button[type=submit]")
        page.wait_for(received(1))
        assert "… 287,712 more bytes are not shown" in page.texts("li.received .content")[0]
        assert page.texts("li.received .facts")[0].split()[:3] == ["text", "300,000", "B"]
        page.value(
            "document.getElementById('message').value = 'x';"
            "for (let n = 0; n < 400; n += 1) document.getElementById('composer').requestSubmit()"
        )
        page.wait_for("document.getElementById('total-received').textContent.startsWith('401 ')")
        page.wait_for("document.querySelectorAll('#lines > li').length === 500")
        assert page.text("#dropped") == "Older lines are not shown: 303"


def test_a_service_that_closes_gets_another_request(browser, base):
    with browser.page(f"{base}/whoami") as page:
        page.wait_for(closing_line(1))
        fields = dict(text.split("\n") for text in page.texts("li.received .fields div"))
        assert fields["protocol"] == "ws"
        assert page.text("#state") == "Disconnected (1000)"
        assert page.value("document.getElementById('composer').hidden") is True
        page.click("#toggle")
        page.wait_for(received(2))


def test_a_long_answer_is_shown_from_its_start_on_a_phone(browser, base):
    with browser.page(f"{base}/whoami", width=360, height=600) as page:
        for count in (1, 2):
            page.wait_for(closing_line(count))
            box = page.value("document.getElementById('log').getBoundingClientRect().toJSON()")
            line = page.value("[...document.querySelectorAll('li.received')].at(-1).getBoundingClientRect().toJSON()")
            assert box["top"] <= line["top"] < box["bottom"] < line["bottom"]
            page.click("#toggle")


def test_ack_gets_another_request_by_sending(browser, base):
    with browser.page(f"{base}/ack") as page:
        page.wait_for(OPEN)
        for count in (1, 2):
            page.type("#message", f"message {count}")
            page.wait_for(f"{received(count)} && {CLOSED}")
        assert [text.strip() for text in page.texts("li.received .content")] == ["received", "received"]


def test_disconnecting_and_connecting(browser, base):
    with browser.page(f"{base}/discard") as page:
        page.wait_for(OPEN)
        page.type("#message", "gone")
        page.click("#toggle")
        page.wait_for(CLOSED)
        assert page.text("#toggle") == "Connect"
        page.click("#toggle")
        page.wait_for(OPEN)
        assert page.text("#total-sent") == "0 · 0 B"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "whoami"])
def test_every_kind_has_a_page_without_errors(browser, base, kind):
    with browser.page(f"{base}/{kind}") as page:
        page.wait_for("document.querySelectorAll('li.event').length > 0")
        assert page.text("h1") == f"/{kind}"
        assert page.text("li.event .content").startswith(f"Connected to ws{base[4:]}/{kind} in ")


def lines_of(page):
    return page.texts("#lines li:not(.notice)")


def test_the_chat_page_talks_with_members_over_tcp_and_unix_datagrams(browser, daemon, base):
    with browser.page(f"{base}/chat") as page, socket.create_connection(daemon.inet("chat", "tcp")) as stream:
        page.wait_for(OPEN)
        stream.settimeout(SECONDS)
        tcp = stream.makefile("rwb", buffering=0)
        assert b"welcome" in tcp.readline()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
            datagrams.settimeout(SECONDS)
            datagrams.bind(str(daemon.dir / "member"))
            datagrams.connect(str(daemon.place("chat", "unix-dgram")))
            datagrams.send(b"/nick dgram")
            heard = b""
            while b"you are now dgram" not in heard:
                heard += datagrams.recv(65536)
            tcp.write(b"/nick stream\n")
            page.type("#nick", "Ana")
            page.wait_for("document.querySelector('#members').innerText.includes('Ana (you)')")
            page.type("#message", "hello \u202e <i>all</i>")
            while b"Ana: " not in (line := tcp.readline()):
                pass
            assert line == b"Ana: hello \\u{202e} <i>all</i>\n"
            while b"Ana: " not in (heard := datagrams.recv(65536)):
                pass
            assert heard == line
            tcp.write(b"from a stream \x1b[31m\n")
            datagrams.send("from a datagram 你好".encode())
            page.wait_for("document.querySelectorAll('#lines b').length === 3")
            names = page.texts("#lines b")
            assert names[0] == "Ana"
            said = dict(zip(names[1:], page.texts("#lines b + .content")[1:], strict=True))
            assert said == {"stream": "from a stream \\x1b[31m", "dgram": "from a datagram 你好"}
            page.wait_for("document.querySelectorAll('#members li').length === 3")
            assert sorted(page.texts("#members li")) == ["Ana (you)", "dgram", "stream"]
            page.screenshot(SCREENSHOTS / "chat-three-members.png")
            page.click("#toggle")
            page.wait_for(CLOSED)
            while b"Ana has left" not in tcp.readline():
                pass
            page.click("#toggle")  # it keeps the name
            page.wait_for("document.querySelector('#members').innerText.includes('Ana (you)')")
            datagrams.send(b"/quit")


def test_a_member_returns_to_its_room_under_its_name(browser, base):
    with browser.page(f"{base}/chat") as page:
        page.wait_for(OPEN)
        page.type("#message", "/nick Returning")
        page.type("#message", "/join lab")
        there = "document.querySelector('.members').innerText.includes('in lab') && " + (
            "document.querySelector('#members').innerText.includes('Returning (you)')"
        )
        page.wait_for(there)
        page.click("#toggle")
        page.wait_for(f"{CLOSED} && document.querySelectorAll('#members li').length === 0")
        page.click("#toggle")
        page.wait_for(there)


def test_the_members_are_folded_on_a_phone(browser, base):
    with browser.page(f"{base}/chat", width=360, height=740) as page:
        page.wait_for(OPEN)
        assert page.value("document.getElementById('side').offsetParent") is None
        page.click("#panel")
        assert page.value("document.getElementById('panel').ariaExpanded") == "true"
        page.type("#nick", "phone")
        page.wait_for("document.querySelector('#members').innerText.includes('phone (you)')")
        assert page.overflow() <= 0


def test_too_long_a_line_is_not_sent(browser, base):
    with browser.page(f"{base}/chat") as page:
        page.wait_for(OPEN)
        page.value("document.getElementById('message').value = 'é'.repeat(2049)")
        page.click("#composer button[type=submit]")
        assert page.text("#error") == "A line has at most 4,096 bytes; this one has 4,098"
        assert lines_of(page) == []


def test_the_state_is_announced_and_names_its_code(browser):
    port = free_port()
    daemon = Daemon(listen=[f"chat=ws://127.0.0.1:{port}/chat"])
    with daemon, browser.page(f"http://127.0.0.1:{port}/chat") as page:
        page.wait_for(OPEN)
        assert page.value("document.getElementById('state').getAttribute('role')") == "status"
        daemon.stop()
        page.wait_for(CLOSED)
        assert page.text("#state") == "Disconnected (1001)"
        assert "(the server is stopping)" in page.texts("#lines li.notice .content")[-1]
        assert page.text("#toggle") == "Reconnect"


SECURE = """
[services.echo]
listen = ["wss://127.0.0.1:{port}/echo"]
[services.echo.tls]
certificate = "self-signed"
"""


def test_a_page_over_tls_connects_over_tls():
    port = free_port()
    with (
        Daemon(SECURE.format(port=port)),
        Browser("--ignore-certificate-errors") as browser,
        browser.page(f"https://127.0.0.1:{port}/echo") as page,
    ):
        page.wait_for(OPEN)
        page.type("#message", "over TLS")
        page.wait_for(received(1))
        assert page.text("li.event .content").startswith(f"Connected to wss://127.0.0.1:{port}/echo in ")


def test_a_page_over_ipv6_connects(browser):
    port = free_port()
    with Daemon(listen=[f"echo=ws://[::1]:{port}/echo"]), browser.page(f"http://[::1]:{port}/echo") as page:
        page.wait_for(OPEN)
        page.type("#message", "over IPv6")
        page.wait_for(received(1))


def test_the_language_switch_changes_the_page(browser, base):
    with browser.page(f"{base}/echo") as page:
        assert page.text("h1 ~ .lead") == "Sends every message back unchanged, with the same type."
        page.click(".languages a[lang=zh-Hans]")
        page.wait_for("document.documentElement.lang === 'zh-Hans'")
        page.wait_for("document.getElementById('state').innerText === '已连接'")
        assert page.text("#composer button[type=submit]") == "发送"
        page.click('.services a[href="/upper?lang=zh"]')
        page.wait_for("location.pathname === '/upper' && document.documentElement.lang === 'zh-Hans'")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("path", ["echo", "chat", "whoami", "", "missing"])
def test_pages_fit_the_screen_and_pass_the_accessibility_checks(browser, base, path, form):
    checker = axe()
    with browser.page(f"{base}/{path}", **FORMS[form]) as page:
        if path in ("echo", "chat"):
            page.wait_for(OPEN)
            page.type("#message", "Hello, 你好 ✓")
        if path == "echo":
            page.wait_for(received(1))
            page.click("input[name=input][value=hex]")
            page.click("input[name=type][value=binary]")
            page.type("#message", "00 01 02 7f ff fe 0a 0d 48 65 6c 6c 6f")
            page.wait_for(received(2))
        elif path == "chat":
            page.wait_for("document.querySelectorAll('#members li').length > 0 && document.querySelector('#lines b')")
        elif path == "whoami":
            page.wait_for(CLOSED)
        name = SCREENSHOTS / f"{path or 'index'}-{form}"
        page.screenshot(name.with_suffix(".png"))
        assert page.overflow() <= 0
        assert violations(page, checker, name.with_suffix(".axe.json")) == []


def test_an_unknown_path_lists_the_services(browser, base):
    with browser.page(f"{base}/%3Cb%3Enope") as page:
        assert page.text(".notice") == "/<b>nope is not a service on this port."
        links = page.value("[...document.querySelectorAll('.entries a')].map((each) => each.pathname)")
        assert sorted(links) == sorted(f"/{kind}" for kind in (*KINDS, "chat"))
        assert "/hidden" in page.text(".entries")
        page.click(".entries a[href='/echo']")
        page.wait_for("location.pathname === '/echo'")


def test_the_policy_stops_code_that_reaches_the_page(browser, base):
    """The last line of defence: a page whose markup was changed still runs and loads nothing."""
    with browser.page(f"{base}/echo", strict=False) as page:
        page.wait_for(OPEN)
        refused = page.value("""new Promise((resolve) => {
          const seen = [];
          document.addEventListener("securitypolicyviolation", (event) => {
            seen.push(event.effectiveDirective);
            if (seen.length === 3) resolve(seen.sort());
          });
          const script = document.createElement("script");
          try { script.text = "window.ran = true"; } catch { /* Trusted Types */ }
          try { document.body.innerHTML = "<b>x</b>"; } catch { /* Trusted Types */ }
          const image = document.createElement("img");
          image.src = location.origin + "/image";
          document.body.append(image);
        })""")
        assert refused == ["img-src", "require-trusted-types-for", "require-trusted-types-for"]
        assert page.value("window.ran") is None
        assert page.complaints() != []

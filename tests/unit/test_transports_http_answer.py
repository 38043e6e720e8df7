"""Answers to plain HTTP requests at a WebSocket address."""

from echod.transports.layers.http_answer import Answer, Resource, encoded, not_an_upgrade, unknown_path


def test_an_answer_has_its_length_its_headers_and_its_body():
    head, _, body = encoded(Answer(200, b"page", "text/html", (("X-Own", "1"),))).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 OK"
    assert {b"Content-Length: 4", b"Content-Type: text/html", b"Connection: close", b"X-Own: 1"} <= set(lines)
    assert body == b"page"


def test_an_answer_to_head_has_no_body():
    assert encoded(Answer(200, b"page"), head_only=True).endswith(b"\r\n\r\n")


def test_an_unknown_path_is_answered_with_the_paths_that_exist():
    answer = unknown_path("/\x1b[31m", [Resource("/echo"), Resource("/up", kind="upper")])
    assert answer.status == 404
    assert answer.body == (
        b"/\\x1b[31m: this path does not exist; the WebSocket paths are /echo, /up\n/echo  echo\n/up  upper\n"
    )
    assert first_line(unknown_path("/", [Resource(f"/{n}") for n in range(5)])).endswith(" are /0, /1, /2, /3, /4")
    assert first_line(unknown_path("/", [Resource(f"/{n}") for n in range(7)])).endswith("/3, /4 and 2 more")


def first_line(answer):
    return answer.body.decode().partition("\n")[0]


def test_a_configured_path_that_is_not_utf_8_is_escaped():
    odd = Resource("/\udcff\n")
    assert b"/\\xff\\x0a  echo\n" in unknown_path("/none", [odd]).body
    assert not_an_upgrade(odd).body.startswith(b"/\\xff\\x0a: this is")


def test_a_request_without_upgrade_gets_the_version():
    answer = not_an_upgrade(Resource("/echo"))
    assert answer.status == 426
    assert dict(answer.headers) == {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    assert b"Connection: Upgrade, close\r\n" in encoded(answer)

"""No control character of a peer's text is output, and one event is one line: test 41 of docs/PROMISES.md."""

import json

import pytest

from tests.chaos import text_escaping
from tests.chaos.corpus import CORPUS, illegible, illegible_entries, illegible_json, illegible_texts
from tests.chaos.text_escaping import Account

EVIL = (b"\x1b[31m", b"\r", b"\x7f", b"\x00", b"\xc2\x9b", b"\xff", "\u2028".encode(), "\u202e".encode(), b"\t")


def assert_kept(account):
    assert account.texts
    assert account.lines
    assert account.bad[:5] == []
    assert account.wrong == []


@pytest.mark.parametrize("text", EVIL)
def test_illegible_text_is_detected(text):
    """A check of the checks: they find exactly the texts that are not printable."""
    assert text in b"".join(CORPUS)
    assert illegible(b"before" + text + b"behind\nanother\n") == [b"before" + text + b"behind"]
    shown = text.decode("utf-8", "surrogateescape")
    assert illegible_texts({"peer": ["x", {"y": shown}]}) == [shown]
    evil = json.dumps({"peer": shown}).encode()
    assert illegible_json([evil, b'{"one": "event"}', b"no JSON"]) == [evil, b"no JSON"]
    entries = [b"MESSAGE=" + text + b"\n", b"MESSAGE=a\nMESSAGE=b\n", b"PRIORITY=6\n"]
    assert illegible_entries([*entries, b"PRIORITY=6\nMESSAGE=a\n"]) == entries


@pytest.mark.slow
@pytest.mark.parametrize(("plane", "schemes"), [("auto", ["udp"]), ("off", ["unix-dgram"])])
def test_every_output_is_printable(plane, schemes):
    text_escaping.everywhere(account := Account(), plane, schemes)
    assert_kept(account)


@pytest.mark.slow
def test_a_json_log_is_printable(plane):
    text_escaping.as_json(account := Account(), plane)
    assert_kept(account)


@pytest.mark.needs_root
def test_the_journal_is_printable(plane):
    text_escaping.as_entries(account := Account(), plane)
    assert_kept(account)


def test_the_message_about_a_wrong_argument_is_printable():
    text_escaping.command_lines(account := Account(), text_escaping.WORDS[:1])
    assert_kept(account)

"""Nothing that a peer writes comes out as it came, and one event is one line: test 41 of docs/PROMISES.md."""

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
def test_what_would_be_a_fault_is_seen(text):
    """Who looks for what is not printable finds it, and only that."""
    assert text in b"".join(CORPUS)
    assert illegible(b"before" + text + b"behind\nanother\n") == [b"before" + text + b"behind"]
    shown = text.decode("utf-8", "surrogateescape")
    assert illegible_texts({"peer": ["x", {"y": shown}]}) == [shown]
    evil = json.dumps({"peer": shown}).encode()
    assert illegible_json([evil, b'{"one": "event"}', b"no JSON"]) == [evil, b"no JSON"]
    entries = [b"MESSAGE=" + text + b"\n", b"MESSAGE=a\nMESSAGE=b\n", b"PRIORITY=6\n"]
    assert illegible_entries([*entries, b"PRIORITY=6\nMESSAGE=a\n"]) == entries


@pytest.mark.parametrize(("plane", "schemes"), [("auto", ["udp"]), ("off", ["unix-dgram"])])
def test_wherever_it_is_written(plane, schemes):
    text_escaping.everywhere(account := Account(), plane, schemes)
    assert_kept(account)


def test_in_a_log_of_json(plane):
    text_escaping.as_json(account := Account(), plane)
    assert_kept(account)


@pytest.mark.system_wide
def test_in_the_journal(plane):
    text_escaping.as_entries(account := Account(), plane)
    assert_kept(account)


def test_on_a_command_line():
    text_escaping.command_lines(account := Account(), text_escaping.WORDS[:2])
    assert_kept(account)

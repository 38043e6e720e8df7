"""The texts of the exercises, the language, and the file of the progress."""

import ast
import json
import os
import pkgutil
import re
import string
from importlib import import_module

import pytest

from echod.client import lessons
from echod.client.commands import lesson as command
from echod.client.lessons import progress
from echod.client.lessons.catalogue import EXERCISES
from echod.client.lessons.exercise import Exercise
from echod.client.lessons.program import command_line
from echod.client.lessons.progress import Record, Unusable
from echod.client.lessons.request_reply import BYTES_PRINTED, NOT_PRINTED, unprinted
from echod.client.lessons.texts import LONGEST, Statement, Text, language_of, shown
from echod.client.value_types import LESSONS
from tests.daemon import TOP

MODULES = [import_module(f"{lessons.__name__}.{one.name}") for one in pkgutil.iter_modules(lessons.__path__)]


def every_text():
    """Every text of the exercises and of the command, with its name."""
    for module in (*MODULES, command):
        for name, value in vars(module).items():
            if name == "HEADINGS":
                yield from ((f"{name}[{at}]", heading) for at, heading in enumerate(value))
            if name == "STEPS":
                yield from ((f"{name}[{at}]", step.what) for at, step in enumerate(value))
            if isinstance(value, Text):
                yield f"{module.__name__}.{name}", value
            if isinstance(value, Exercise):
                yield from ((f"{name}.{part}", getattr(value, part)) for part in ("title", "goal", "task"))
                yield from ((f"{name}.hints[{at}]", hint) for at, hint in enumerate(value.hints))


TEXTS = dict(every_text())


def folder_of(language):
    return TOP / "docs" / ("zh/course" if language == "zh" else "course")


def placeholders(text):
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


def test_each_text_has_the_same_placeholders_in_both_languages():
    assert len(TEXTS) > 100
    assert {name: text for name, text in TEXTS.items() if placeholders(text.en) != placeholders(text.zh)} == {}


def test_each_text_is_translated_and_its_punctuation_is_that_of_its_language():
    """Full-width marks between Chinese characters, and a space between them and Latin letters or digits."""
    for name, text in TEXTS.items():
        if text.zh != text.en:
            assert re.search(r"[\u4e00-\u9fff]", text.zh), name
            assert not re.search(r"[\u4e00-\u9fff] ?[,;:!?]|[\u4e00-\u9fff]\.( |$)", text.zh), name
            assert not re.search(r"[\u4e00-\u9fff][A-Za-z0-9]|[A-Za-z0-9][\u4e00-\u9fff]", text.zh), name
        assert not re.search(r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]", text.en), name


def test_the_exercises_are_those_of_the_ten_lessons():
    assert [one.number for one in EXERCISES] == list(range(1, LESSONS + 1))
    assert all(len(one.hints) == 3 for one in EXERCISES)
    assert len({one.page for one in EXERCISES}) == LESSONS


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_lines_of_a_hint_after_its_first_are_python(language):
    programs = [hint.of(language).partition("\n")[2] for one in EXERCISES for hint in one.hints]
    assert len([ast.parse(program) for program in programs if program]) >= 8


def test_an_empty_value_of_a_statement_is_nothing():
    statement = Statement(Text("{received} arrived", "收到 {received}"), {"received": ""})
    assert [statement.of("en"), statement.of("zh")] == ["nothing arrived", "收到 空内容"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_titles_are_those_of_the_course(language):
    page = (folder_of(language) / "index.md").read_text("utf-8")
    listed = re.findall(r"(?m)^\| (?:[1-9]|10) \| (?:\[([^\]]+)\]\([\w-]+\.md\)|([^|]+?)) \|", page)
    assert [linked or plain for linked, plain in listed] == [one.title.of(language) for one in EXERCISES]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda one: one.page)
def test_each_lesson_has_the_title_and_the_task_of_its_page(exercise, language):
    page = folder_of(language) / f"{exercise.page}.md"
    if not page.exists():
        pytest.skip("the page is not written yet")
    title, _, text = page.read_text("utf-8").partition("\n")
    assert title == f"# {exercise.number}. {exercise.title.of(language)}"
    part = re.search(rf"(?ms)^## {'练习' if language == 'zh' else 'Exercise'}\n(.*?)^## ", text)
    if part is None:
        pytest.skip("the page has no exercise yet")
    assert exercise.task.of(language) in " ".join(part[1].split())
    assert f"echoctl lesson {exercise.number} -- " in part[1]


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh"}, "zh"),
        ({"LANG": "zha_CN"}, "en"),
        ({"LANG": "zh_CN", "LC_MESSAGES": "en_US.UTF-8"}, "en"),
        ({"LANG": "en_US", "LC_MESSAGES": "C", "LC_ALL": "zh_TW"}, "zh"),
        ({"LANG": "zh_CN", "LC_MESSAGES": "", "LC_ALL": ""}, "zh"),
    ],
)
def test_the_language_is_that_of_the_locale(environ, language):
    assert language_of(environ) == language


def test_received_bytes_are_escaped_and_cut():
    assert shown(b"a\r\nb\x1b\xff\x00") == r"a\r\nb\x1b\xff\x00"
    assert shown("你好 ".encode()) == "你好 "
    assert len(shown(b"\x00" * 10**6)) == LONGEST + 1
    text = Text("got {what}", "收到 {what}")
    assert Statement(text, {"what": "\x1b{port}"}).of("zh") == r"收到 \x1b{port}"
    assert Statement(text, {"what": Statement(text, {"what": 1})}).of("en") == "got got 1"


@pytest.mark.parametrize(
    ("output", "reply", "times", "wrong"),
    [
        ("ANNA\n", b"ANNA\n", 1, None),
        ("reply: ANNA", b"ANNA", 1, None),
        ("b'ANNA'\nANNA\n", b"ANNA", 1, None),
        ("b'ANNA'\n", b"ANNA", 1, BYTES_PRINTED),
        ("b'ANNA\\n'\n", b"ANNA\n", 1, BYTES_PRINTED),
        (r"(b'J\xc3\xbcRGEN', None)", "JüRGEN".encode(), 1, BYTES_PRINTED),
        ("ANNA b'ANNA'", b"ANNA", 2, BYTES_PRINTED),
        ("ANNA ANNA", b"ANNA", 3, NOT_PRINTED),
        ("anna", b"ANNA", 1, NOT_PRINTED),
        ("\udcff", b"\xff", 1, None),
    ],
    ids=range(10),
)
def test_a_reply_is_printed_as_text(output, reply, times, wrong):
    found = unprinted(output, reply, times)
    assert (None if found is None else found.text) == wrong


def test_the_values_of_a_command():
    values = {"port": "7", "ca": "a b"}
    assert command_line(["run", "x"], ("port", "ca"), values) == ["run", "x", "7", "a b"]
    assert command_line(["run", "--at={port}:{port}"], ("port", "ca"), values) == ["run", "--at=7:7"]
    assert command_line(["run", "{other}"], ("port",), values) == ["run", "{other}", "7"]


def test_the_progress_survives(tmp_path):
    path = str(tmp_path / "new" / "echod" / "lessons.json")
    records = progress.read(path, 2)
    assert records == {1: Record(), 2: Record()}
    records[2] = Record(passed=True, attempts=3, hints=1)
    progress.write(path, records)
    assert progress.read(path, 3) == {**records, 3: Record()}
    assert os.listdir(os.path.dirname(path)) == ["lessons.json"]
    progress.remove(path)
    progress.remove(path)
    assert progress.read(path, 1) == {1: Record()}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"lessons": []}',
        b'{"lessons": {"1": {"passed": 1}}}',
        b'{"lessons": {"1": {"hints": -1}}}',
        b'{"lessons": {"1": {"hints": 1e9}}}',
        b'{"lessons": {"1": {"other": 1}}}',
        b"[" * 100_000,
    ],
    ids=range(10),
)
def test_a_wrong_file_of_progress_is_one_line(tmp_path, content):
    path = tmp_path / "lessons.json"
    path.write_bytes(content)
    with pytest.raises(Unusable) as raised:
        progress.read(str(path), 1)
    assert str(raised.value) == f"{path}: is not a file of progress; `echoctl lesson --reset` removes it"


def test_a_file_that_cannot_be_used_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    inside = str(tmp_path / "file" / "lessons.json")
    for call in (lambda: progress.read(inside, 1), lambda: progress.write(inside, {}), lambda: progress.remove(inside)):
        with pytest.raises(Unusable, match=r"not a directory|file exists"):
            call()
    (tmp_path / "large").write_text(json.dumps("x" * 2**20))
    with pytest.raises(Unusable, match="larger than"):
        progress.read(str(tmp_path / "large"), 1)


def test_the_path_of_the_progress():
    assert progress.path_of({"XDG_STATE_HOME": "/state"}) == "/state/echod/lessons.json"
    home = os.path.expanduser("~/.local/state/echod/lessons.json")
    assert progress.path_of({}) == progress.path_of({"XDG_STATE_HOME": "state"}) == home

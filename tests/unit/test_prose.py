"""The check of the prose finds the phrases of each rule, and only in prose."""

from pathlib import Path

import pytest

from tests import prose

FINDS = [
    ("Nobody fills it up.", "Nobody"),
    ("It closes, and who reads nothing is reset.", "who reads"),
    ("What is served stays open.", "What is"),
    ("It is served anew.", "anew"),
    ("It is no error.", "is no e"),
    ("There is no room left.", "There is no"),
    ("It sends nothing but lines.", "nothing but"),
    ("It works but for IPv6.", "but for"),
    ("A FIN is sent behind it.", "behind it"),
    ("It is removed where it exists.", "where it"),
    ("It sends eight octets.", "octets"),
    ("Whose socket is closed is removed.", "Whose socket"),
    ("It replies, whatever the sender is.", "whatever"),
    ("It keeps the sockets of before.", "of before"),
    ("The member is told how many.", "is told"),
    ("The log says so.", "says so"),
    ("It binds the own address.", "the own"),
]


@pytest.mark.parametrize(("sentence", "phrase"), FINDS, ids=[phrase for _, phrase in FINDS])
@pytest.mark.parametrize("name", ["page.md", "module.py", "settings.toml"])
def test_each_rule_finds_its_phrase(sentence, phrase, name, tmp_path):
    text = {"page.md": f"{sentence}\n", "module.py": f'"""{sentence}"""\n', "settings.toml": f"# {sentence}\n"}[name]
    (tmp_path / name).write_text(text)
    found = list(prose.found_in(tmp_path / name, name))
    assert (name, 1, phrase) in [each[:3] for each in found]


def test_the_messages_of_scripts_are_prose(tmp_path):
    (tmp_path / "build").write_text('#!/bin/sh\n[ -d x ] || { echo "build: there is no folder x" >&2; exit 1; }\n')
    assert [each[:3] for each in prose.found_in(tmp_path / "build", "build")] == [
        ("build", 2, "is no f"),
        ("build", 2, "there is no"),
    ]
    assert {"vendor/build", "release/build", "tests/system_wide/prepare"} <= set(prose.tracked())


def test_every_rule_has_an_example():
    assert all(any(rule.pattern.search(sentence) for sentence, _ in FINDS) for rule in prose.RULES)


def test_a_name_of_python_code_names_the_actor(tmp_path):
    (tmp_path / "module.py").write_text("class Somebody:\n    somebody_else = nobody = 1\n    somebodys = 2\n")
    found = list(prose.names_in(tmp_path / "module.py", "module.py"))
    assert [each[:3] for each in found] == [("module.py", 1, "Somebody"), ("module.py", 2, "somebody_else")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("page.md", "It calls `nobody`, as RFC 1 says.\n\n```\nnobody\n```\n\n    nobody\n"),
        ("page.md", "A number is an OCTET, by RFC 862: octets.\n"),
        ("module.py", "nobody = 1\n"),
        ("module.py", 'USER = "nobody"\n'),
        ("module.py", '"""Calls `whatever`, which is no longer than that."""\n'),
        ("settings.toml", 'user = "nobody"\n'),
    ],
)
def test_code_and_quotations_are_not_prose(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    assert list(prose.found_in(tmp_path / name, name)) == []


def test_the_exit_code_is_1_if_a_phrase_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    right, wrong = tmp_path / "right.md", tmp_path / "wrong.md"
    right.write_text("The client is served again.\n")
    wrong.write_text("The client\nis served anew.\n")
    assert prose.main([str(right)]) == 0
    assert prose.main([str(right), str(wrong)]) == 1
    assert capsys.readouterr().out == f"{wrong}:2: 'anew': write again\n"

"""A short version of `make fuzz` at every commit: all inputs that ever failed, and some more."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

from tests.fuzz import engine, wire
from tests.fuzz.engine import corpus, file_of, hammer, inputs, line_of
from tests.fuzz.run import Count, attempt, main, parse
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

SOME = 100
LONG = 1e9


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_no_input_of_a_target_fails(target):
    tried = hammer(target, 1, LONG, len(corpus(target)) + SOME)
    for _, error in tried.crashes:
        raise error
    assert tried.inputs == len(corpus(target)) + SOME


@pytest.mark.slow
@pytest.mark.parametrize("plane", ["auto", "python", "off"])
def test_no_input_to_a_socket_of_a_daemon_fails(plane):
    tried = wire.hammer(plane, 1, LONG, 5_000)
    for _, error in tried.crashes:
        raise error
    assert tried.accepted > 5_000 / (1 + wire.A_VOLLEY)


@pytest.mark.slow
def test_every_corpus_has_its_target_and_every_target_inputs_of_both_kinds():
    assert {file_of(target) for target in TARGETS} == set(engine.CORPUS.iterdir())
    for target in TARGETS:
        assert corpus(target)
        accepted = any(hammer(target, 2, LONG, inputs).accepted for inputs in (100, 2_000))
        assert accepted, f"{target.name} never accepted an input"


@pytest.mark.parametrize("data", [b"", b"#a", b"a\nb\\\r\t\0", bytes(range(256)), "é".encode()])
def test_a_line_of_a_corpus_reads_back_as_its_bytes(data):
    line = line_of(data)
    assert re.fullmatch(r"[ -~]*", line)
    assert not line.startswith("#")
    assert engine._decoded(line) == data


def fragile(promise: str, breaks: Callable[[bytes], bool]) -> Target:
    def one(data: bytes) -> bool:
        assert not breaks(data), promise
        return True

    return Target("fragile", promise, lambda: one, (b"bug", b"other"))


def test_an_input_that_fails_is_found_shrunk_and_kept(tmp_path, monkeypatch, capsys):
    """A check of the fuzzer itself: it must find, shrink and keep a known bug."""
    monkeypatch.setattr(engine, "CORPUS", tmp_path)
    target, count = fragile("no bug", lambda data: b"bug" in data), Count()
    outcome = attempt("fragile", target.promise, lambda: hammer(target, 1, 60), target, count)
    assert outcome.verdict == "BROKEN"
    assert "AssertionError: no bug" in capsys.readouterr().err
    assert count.crashes == 1
    assert corpus(target) == [b"bug"]
    assert next(inputs(target, random.Random(1))) == b"bug"


def test_a_hang_is_a_failure(monkeypatch):
    monkeypatch.setattr(engine, "PATIENCE", 1)

    def hangs(_data: bytes) -> bool:
        while True:
            pass

    (crash,) = hammer(Target("hangs", "an end", lambda: hangs), 1, 60).crashes
    assert isinstance(crash[1], engine.Hangs)


def test_the_same_seed_makes_the_same_inputs():
    first, second, third = (
        [data for data, _ in zip(inputs(TARGETS[0], random.Random(seed)), range(200), strict=False)]
        for seed in (1, 1, 2)
    )
    assert first == second != third


def test_the_command_line(capsys):
    assert main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(TARGETS)
    assert main(["--way", "chance", "--only", "values", "--seconds", "0.2", "--seed", "7"]) == 0
    said = capsys.readouterr().out
    assert re.search(
        r"^24  values, at random\n    promise  .*\n    echod    [\d,]+ inputs? in .*\n    verdict  kept$",
        said,
        re.MULTILINE,
    )
    assert re.search(r"^[\d,]+ hostile inputs? in \d+ s, 0 of them failed: kept$", said, re.MULTILINE)
    with pytest.raises(SystemExit):
        parse(["--way", "magic"])

"""One line for each error, with any content, and the paths of keys."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.config.errors import ConfigurationError, LocatedError, joined, toml_text


def test_an_error_is_one_line():
    assert str(LocatedError(Path("/a.toml"), "services.x", "is wrong")) == "/a.toml: services.x: is wrong"
    assert str(LocatedError(Path("/a.toml"), "", "is wrong")) == "/a.toml: is wrong"


@given(st.text(), st.text(), st.text())
def test_an_error_is_escaped(file, path, text):
    assert str(LocatedError(Path(file), path, text)).isprintable()


def test_the_error_contains_all_of_them():
    errors = [LocatedError(Path("a"), "b", "c"), LocatedError(Path("d"), "", "e")]
    error = ConfigurationError(iter(errors))
    assert error.errors == tuple(errors)
    assert str(error) == "a: b: c\nd: e"


@pytest.mark.parametrize(
    ("path", "key", "whole"),
    [
        ("", "daemon", "daemon"),
        ("services", "slow-echo", "services.slow-echo"),
        ("services", "a.b", 'services."a.b"'),
        ("services", "", 'services.""'),
        ("services", "\x1b", 'services."\\u001B"'),
        ("", "x" * 65, '"' + "x" * 64 + '…"'),
    ],
)
def test_joined(path, key, whole):
    assert joined(path, key) == whole


@given(st.text())
def test_toml_text_can_be_read_as_toml(text):
    written = toml_text(text)
    assert written.isprintable()
    assert tomllib.loads(f"x = {written}") == {"x": text}

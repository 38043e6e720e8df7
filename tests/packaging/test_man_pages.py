"""The manual pages are clean for mandoc, and for the man that Debian has."""

import shutil

import pytest

from man.__main__ import PAGES, main
from tests.daemon import run

pytestmark = pytest.mark.system_wide


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    directory = tmp_path_factory.mktemp("man")
    main(directory)
    return directory


@pytest.mark.parametrize("file", PAGES)
@pytest.mark.parametrize(
    "words",
    [("mandoc", "-Tlint", "-Wwarning"), ("man", "--warnings", "--encoding=UTF-8", "--local-file")],
    ids=lambda words: words[0],
)
def test_nothing_is_complained_of(file, words, pages):
    if shutil.which(words[0]) is None:
        pytest.skip(f"there is no {words[0]} here; tests/system_wide/prepare installs it")
    ended = run(*words, pages / file)
    complaints = ended.stdout if words[0] == "mandoc" else ended.stderr
    assert (ended.returncode, complaints) == (0, b"")

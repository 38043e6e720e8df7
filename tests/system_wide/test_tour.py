"""The tour of the start page can be recorded again: each of its commands still ends as its script says."""

import subprocess
import sys

import pytest

from docs.tour import __main__ as tour
from docs.tour.recorder import read
from tests.daemon import TOP

pytestmark = pytest.mark.needs_tools


def test_the_tour_can_be_recorded(tmp_path):
    words = [sys.executable, "-m", "docs.tour", tmp_path]
    ended = subprocess.run(words, check=False, capture_output=True, text=True, cwd=TOP, timeout=250)
    assert (ended.returncode, ended.stderr) == (0, "")
    cast = read((tmp_path / tour.CAST).read_text("utf-8"))
    assert tour.picture(cast) == (tmp_path / tour.PICTURE).read_text("utf-8")

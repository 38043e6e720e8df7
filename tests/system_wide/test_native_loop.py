"""The tests of the fast path again: with a native loop that checks its memory accesses, and without it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

pytestmark = [pytest.mark.needs_tools, pytest.mark.timeout(900)]

TOP: Final = Path(__file__).parents[2]
SANITIZERS: Final = {"address": ("libasan.so", b"__asan_report"), "undefined": ("libubsan.so", b"__ubsan_handle")}
"""The library of each, and the name of a function there that the compiler calls."""
IN_PROCESS: Final = (
    "tests/fastpath/test_lane.py",
    "tests/fastpath/test_rounds.py",
    "tests/fastpath/test_datagram_verdicts.py",
)
CHECKED: Final = ("tests/unit/test_fastpath_native_library.py", "tests/unit/test_fastpath_loop.py", *IN_PROCESS)
DAEMONS: Final = ("tests/fastpath/test_same_answers.py", "tests/fastpath/test_drain.py", "tests/contract")


def pytest_passes(tree: Path, *modules: str, **environ: str) -> str:
    """The output of tests that must pass."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *modules]
    ended = subprocess.run(
        command, check=False, cwd=tree, env={**os.environ, **environ}, capture_output=True, text=True, timeout=800
    )
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-5000:]
    return ended.stdout


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_the_native_loop_makes_no_wrong_access(sanitizer, tmp_path):
    """In a copy of the tree, whose library is compiled with the sanitizer. It ends the process at the first error."""
    tree = tmp_path / "tree"
    tree.mkdir()
    written_now = shutil.ignore_patterns("*.pyc.*")  # other processes write bytecode, and then rename the file
    for name in ("echod", "tests", "twisted", "etc"):
        shutil.copytree(TOP / name, tree / name, ignore=written_now)
    shutil.copy(TOP / "setup.cfg", tree)
    library = tree / "echod/fastpath/libnative_loop.so"
    library.unlink(missing_ok=True)
    source = library.with_name("native_loop.c")
    options = ("-g", "-O1", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all", "-fPIC", "-shared")
    subprocess.run(["cc", *options, "-o", library, source], check=True)
    runtime_name, called = SANITIZERS[sanitizer]
    assert called in library.read_bytes(), "the library checks nothing"
    runtime = subprocess.run(
        ["cc", f"-print-file-name={runtime_name}"], check=True, capture_output=True, text=True
    ).stdout.strip()
    environ = {
        "LD_PRELOAD": runtime,
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONPATH": str(tree),
        "PYTHONMALLOC": "malloc",
    }
    printed = pytest_passes(tree, "-k", "native or Native", *CHECKED, **environ)
    assert "skipped" not in printed, printed


def test_the_fast_path_without_the_native_loop_passes_the_same_tests():
    pytest_passes(TOP, *DAEMONS, PLANE="python")

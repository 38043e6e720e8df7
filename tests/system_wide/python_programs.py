"""Programs of the Python package index for tests: each in a virtual environment of its own, in build/."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

import pytest

from tests.daemon import SECONDS, TOP

FOLDER: Final = TOP / "build" / "programs"


def installed(name: str, version: str) -> Path:
    """The path of a program whose distribution has the same name. Skips the test if it cannot be installed."""
    return _prefix(name, version, name)


def python_with(name: str, version: str) -> Path:
    """The path of a Python that can import a distribution. Skips the test if it cannot be installed."""
    return _prefix(name, version, "python")


def _prefix(name: str, version: str, program: str) -> Path:
    """The path of a program in the environment of a distribution, which is complete if it has the file `complete`."""
    prefix = FOLDER / f"{name}-{version}"
    found, complete = prefix / "bin" / program, prefix / "complete"
    prefix.mkdir(parents=True, exist_ok=True)
    with (prefix / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process of the tests may be installing it
        if not complete.exists():
            venv.create(prefix, symlinks=True)
            python = str(prefix / "bin" / "python")
            words = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", f"{name}=={version}"]
            ended = subprocess.run(words, cwd=prefix, capture_output=True, text=True, timeout=4 * SECONDS, check=False)
            if ended.returncode or not found.exists():
                pytest.skip(f"{name} {version} cannot be installed: {ended.stderr.strip()[-200:]}")
            complete.touch()
    return found

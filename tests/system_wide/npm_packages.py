"""Packages of npm for tests: installed in build/ at the first use, without their scripts."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.daemon import SECONDS, TOP

FOLDER: Final = TOP / "build" / "npm"


def installed(name: str, version: str) -> Path:
    """The folder of a package, whose parent is the value for NODE_PATH. Skips the test if it cannot be installed."""
    prefix = FOLDER / f"{name}-{version}"
    package = prefix / "node_modules" / name
    prefix.mkdir(parents=True, exist_ok=True)
    with (prefix / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process of the tests may be installing it
        if not (package / "package.json").exists():
            npm = shutil.which("npm")
            if npm is None:
                pytest.skip(f"npm is not installed, so {name} cannot be")
            options = ["--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(prefix)]
            words = [npm, "install", *options, f"{name}@{version}"]
            ended = subprocess.run(words, cwd=prefix, capture_output=True, text=True, timeout=4 * SECONDS, check=False)
            if ended.returncode or not package.exists():
                pytest.skip(f"{name} {version} cannot be installed: {ended.stderr.strip()[-200:]}")
    return package

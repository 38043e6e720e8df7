"""axe-core, an accessibility checker, from npm: the checks of WCAG 2 that a program can make."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any, Final

import pytest

from tests.daemon import TOP
from tests.system_wide.chromium import Page

VERSION: Final = "4.14.1"
FOLDER: Final = TOP / "build" / "npm"


def axe() -> str:
    """The text of the checker; installed in build/ at the first use. Skips the test if that is not possible."""
    file = FOLDER / "node_modules" / "axe-core" / "axe.min.js"
    if not file.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("npm is not installed, so axe-core cannot be")
        FOLDER.mkdir(parents=True, exist_ok=True)
        words = [npm, "install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", f"axe-core@{VERSION}"]
        ended = subprocess.run(
            [*words, "--prefix", str(FOLDER)], cwd=FOLDER, capture_output=True, text=True, timeout=120, check=False
        )
        if ended.returncode or not file.exists():
            pytest.skip(f"axe-core {VERSION} cannot be installed: {ended.stderr.strip()[-200:]}")
    return file.read_text("utf-8")


def violations(page: Page, checker: str) -> list[str]:
    """Run the checker. Returns one text for each violation; it must have found something that it could check."""
    page.value(f"{checker}\n0")
    report: dict[str, Any] = json.loads(page.value("axe.run().then((report) => JSON.stringify(report))"))
    assert len(report["passes"]) >= 10, "the checker has checked nothing"
    return [
        f"{each['id']}: {node['target']} {node['failureSummary']}"
        for each in report["violations"]
        for node in each["nodes"]
    ]

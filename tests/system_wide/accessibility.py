"""axe-core, an accessibility checker, from npm: the checks of WCAG 2 that a program can make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tests.system_wide.chromium import Page
from tests.system_wide.npm_packages import installed

VERSION: Final = "4.14.1"


def axe() -> str:
    """The text of the checker."""
    return (installed("axe-core", VERSION) / "axe.min.js").read_text("utf-8")


def violations(page: Page, checker: str, file: Path) -> list[str]:
    """Run the checker, and write its report to a file. Returns one text for each violation.

    It must have found something that it could check.
    """
    page.value(f"{checker}\n0")
    run = "axe.run({preload: location.protocol !== 'file:'})"  # a page cannot load another file
    report: dict[str, Any] = json.loads(page.value(f"{run}.then((report) => JSON.stringify(report))"))
    file.write_text(json.dumps(report, indent=1), "utf-8")
    assert len(report["passes"]) >= 10, "the checker has checked nothing"
    found = ((each, node) for each in report["violations"] for node in each["nodes"])
    return [f"{each['id']}: {node['target']} {node['failureSummary']}" for each, node in found]

"""The documentation site and the manual pages, built by Sphinx and MyST from the pages in this folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

TOP = Path(__file__).parents[1]
sys.path[:0] = [str(TOP), str(TOP / "docs" / "extensions")]

from echod.version import VERSION  # noqa: E402 - the path is set first

project = "echod"
author = "echod contributors"
copyright = author  # noqa: A001 - the name that Sphinx reads
version = release = VERSION

extensions = ["myst_parser", "accessible_html", "languages", "manual_pages"]
source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns = ["_site_*", "_templates"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
suppress_warnings = ["myst.header"]

linkcheck_ignore = [r"https?://(127\.0\.0\.1|localhost|MACHINE|page\.example)", r"https://example\.org/"]
linkcheck_timeout = 20

html_theme = "furo"
html_title = f"echod {VERSION}"
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
templates_path = ["_templates"]
html_extra_path = ["../echod/client/summary.schema.json"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_search_language = "en-zh"
html_copy_source = False
highlight_language = "text"  # a block without a language is a command or its output

man_pages: Final[list[tuple[str, str, str, list[Any], int]]] = [
    ("ECHOD", "echod", "echo daemon on every kind of socket", [], 8),
    ("ECHOCTL", "echoctl", "client and administration tool of echod", [], 1),
    ("CONFIG", "echod.toml", "configuration of echod", [], 5),
    ("FAULTS", "echod-faults", "fault injection of echod", [], 7),
    ("EVENTS", "echod-events", "events of echod", [], 7),
]

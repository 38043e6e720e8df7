"""What the theme lacks for readers who use a keyboard or a screen reader; `_static/site.js` has the rest.

axe-core checks the result (tests/system_wide/test_site.py).
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform


class WithoutEmptyHeads(SphinxPostTransform):
    """Removes the head of a table whose cells are empty: Markdown has no tables without a head."""

    default_priority = 6
    builders = ("html",)

    def run(self, **_options: Any) -> None:
        """Convert one page in place."""
        for head in list(self.document.findall(nodes.thead)):
            if not head.astext().strip():
                head.parent.remove(head)


def _captions(_app: Sphinx, _page: str, _template: str, context: dict[str, Any], _tree: object) -> None:
    """Give the captions of lists of pages, which are headings, their level."""
    for part in ("body", "furo_navigation_tree"):
        if part in context:
            context[part] = context[part].replace('role="heading"', 'role="heading" aria-level="2"')


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx's entry point of an extension."""
    app.add_post_transform(WithoutEmptyHeads)
    app.connect("html-page-context", _captions, priority=900)  # after the theme
    return {"parallel_read_safe": True, "parallel_write_safe": True}

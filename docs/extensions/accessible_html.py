"""Adds to pages of the theme what keyboards and screen readers need; `_static/site.js` adds the rest.

axe-core checks the result (tests/system_wide/test_site.py).
"""

from __future__ import annotations

from html import escape
from typing import Any, Final

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

SHORTEST: Final = 15  #: characters of a description: more than a link to the other language
LONGEST: Final = 200


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


def _description(
    _app: Sphinx, _page: str, _template: str, context: dict[str, Any], tree: nodes.document | None
) -> None:
    """Describe a page by its first paragraph of prose, for search engines and for previews of links."""
    for paragraph in tree.findall(nodes.paragraph) if tree is not None else ():
        text = " ".join(paragraph.astext().split())
        if len(text) > SHORTEST:
            context["metatags"] += f'<meta name="description" content="{escape(text[:LONGEST])}">'
            break


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx's entry point of an extension."""
    app.add_post_transform(WithoutEmptyHeads)
    app.connect("html-page-context", _captions, priority=900)  # after the theme
    app.connect("html-page-context", _description)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Two languages on one site: the search finds Chinese words, and the pages below zh/ have a Chinese frame.

Sphinx has one language for a project, and expects spaces between words, which Chinese does not have. Therefore a run of
Han characters is indexed, and searched, as its pairs of neighbours: 半关闭 is found as 半关 and 关闭, without a
dictionary.
"""

from __future__ import annotations

import re
from typing import Any, Final

from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish

CHINESE: Final = "zh-Hans"
FRAME: Final = {
    "Back to top": "返回顶部",
    "Home": "首页",
    "Next": "下一页",
    "On this page": "本页内容",
    "Previous": "上一页",
    "Search": "搜索",
    "Skip to content": "跳到正文",
}
"""The words of the theme around a page."""

_HAN: Final = r"\u3400-\u9fff"
_RUNS: Final = re.compile(rf"[{_HAN}]+|[^\W{_HAN}]+")
_SPLITTER: Final = """
function splitQuery(query) {
  const words = [];
  for (const [run] of query.matchAll(/[HAN]+|(?:(?![HAN])[\\p{L}\\p{N}_])+/gu)) {
    if (run.length === 1 || !/[HAN]/.test(run)) words.push(run);
    else for (let at = 0; at + 1 < run.length; at++) words.push(run.slice(at, at + 2));
  }
  return words;
}
""".replace("HAN", _HAN)


class EnglishAndChinese(SearchEnglish):
    """The search language of the site: English words, and pairs of Han characters."""

    lang = "en-zh"
    js_splitter_code = _SPLITTER

    def split(self, text: str, /) -> list[str]:
        """The words of a text. A Han character is also a word of its own."""
        words: list[str] = []
        for run in _RUNS.findall(text):
            if re.match(rf"[{_HAN}]", run):
                words += [*run, *(run[at : at + 2] for at in range(len(run) - 1))]
            else:
                words.append(run)
        return words


def _frame(_app: Sphinx, page: str, _template: str, context: dict[str, Any], _tree: object) -> None:
    """Give a Chinese page its language, and a frame in Chinese."""
    if page.startswith("zh/"):
        context["language"] = CHINESE
        context["_"] = context["gettext"] = lambda text: FRAME.get(text, text)


def _chinese_first(_app: Sphinx, page: str, _template: str, context: dict[str, Any], _tree: object) -> None:
    """Move the last section of the navigation, the Chinese one, before the others on a Chinese page."""
    if page.startswith("zh/"):
        head, *others, chinese = re.split('(?=<p class="caption")', context["furo_navigation_tree"])
        chinese, end, rest = chinese.rpartition("</ul>")
        context["furo_navigation_tree"] = "".join([head, chinese, end, *others, rest])


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx's entry point of an extension."""
    app.add_search_language(EnglishAndChinese)
    app.connect("html-page-context", _frame)
    app.connect("html-page-context", _chinese_first, priority=900)  # after the theme has made the navigation
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Tests of the status page: what its one response contains, and its words."""

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

import echod.pages
from echod.gate.refusal import Refusal
from echod.pages.page_parts import LANGUAGES
from echod.pages.status_page import PIECE, StatusPage

FOLDER = Path(echod.pages.__file__).parent


class Document(HTMLParser):
    """The elements of a page, and the text of those that hold code."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.inner, self._open = [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._open = (tag, dict(attributes).get("type")) if tag in ("script", "style") else None

    def handle_data(self, data):
        if self._open is not None:
            self.inner[self._open] = self.inner.get(self._open, "") + data

    def handle_endtag(self, tag):
        self._open = None


@pytest.fixture(scope="module")
def page():
    return StatusPage()


def made(page, lang="en", query=""):
    pieces, headers = page.answer(lang, query)
    pieces = list(pieces)
    assert max(map(len, pieces)) <= PIECE
    return Document(b"".join(pieces).decode()), dict(headers)


def digest_of(text):
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_policy_permits_the_page_itself_and_nothing_else(page, lang):
    document, headers = made(page, lang)
    policy = {name: values for name, *values in map(str.split, headers["Content-Security-Policy"].split("; "))}
    assert policy["script-src"] == [digest_of(document.inner["script", "module"])]
    assert policy["style-src"] == [digest_of(document.inner["style", None])]
    assert policy["connect-src"] == ["'self'"]
    assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == ["'none'"]
    for tag, found in document.elements:
        assert not {"src", "style", "action"} & set(found)
        assert not [name for name in found if name.startswith("on")]
        if "href" in found:
            assert re.match("data:" if tag == "link" else r"[/?]", found["href"])


def test_the_language_is_that_of_the_link_or_of_the_browser(page):
    for accepted, query, lang in (
        ("zh-CN,zh;q=0.9", "", "zh-Hans"),
        ("fr", "", "en"),
        ("zh", "lang=en", "en"),
        ("en", "lang=zh", "zh-Hans"),
        ("zh", "lang=xx", "zh-Hans"),
        ("en", f"x={'y' * 300}&lang=zh", "en"),
    ):
        document, headers = made(page, accepted, query)
        assert dict(document.elements)["html"]["lang"] == lang
        assert headers["Content-Language"] == lang.partition("-")[0]
        [home] = [found["href"] for tag, found in document.elements if found.get("class") == "brand"]
        assert home == (f"/?{query}" if query in ("lang=en", "lang=zh") else "/")


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_script_finds_its_elements_and_its_words(page, lang):
    document, _ = made(page, lang)
    words = json.loads(document.inner["script", "application/json"])
    script = (FOLDER / "status.js").read_text("utf-8")
    ids = [found["id"] for _, found in document.elements if "id" in found]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'byId\("([\w-]+)"\)', script)) <= set(ids)
    labels = [label for _, found in document.elements for label in found.get("aria-labelledby", "").split()]
    assert set(labels) <= set(ids)
    used = {key for keys in re.findall(r'worded\("(\w+)"|words\.(\w+)|add\("\w+", "(\w+)"', script) for key in keys}
    assert used - {""} <= set(words)


def test_the_words_are_complete_in_both_languages(page):
    english, chinese = (page._words[lang] for lang in LANGUAGES)
    assert english.keys() == chinese.keys()
    assert set(english["reasons"]) == set(chinese["reasons"]) == set(Refusal)
    for key, word in english.items():
        if key != "reasons":
            assert set(re.findall(r"\{\w+\}", word)) == set(re.findall(r"\{\w+\}", chinese[key])), key
    written = "".join((FOLDER / name).read_text("utf-8") for name in ("status.html", "status.js"))
    for key in english:
        assert re.search(rf"\${key}\b|words\.{key}\b|\"{key}\"", written), key
    han = "[\u4e00-\u9fff]"
    for text in (*(word for key, word in chinese.items() if key != "reasons"), *chinese["reasons"].values()):
        assert not re.search(f"{han}[,.;:!?()]|[,;:!?(]{han}", text), text
        assert not re.search(f"{han}[A-Za-z0-9{{]|[A-Za-z0-9}}]{han}", text), text


def test_the_script_is_safe_in_its_element_and_writes_text_only(page):
    document, _ = made(page)
    assert document.inner["script", "module"] == page._script
    assert not re.search(r"\.innerHTML\s*=|insertAdjacentHTML|document\.write|\beval\(", page._script)


def test_the_chart_library_has_its_licence():
    assert "Permission is hereby granted" in (FOLDER / "vendor" / "uplot" / "LICENSE").read_text("utf-8")
    assert "uPlot (v1.6.32)" in (FOLDER / "vendor" / "uplot" / "uPlot.iife.min.js").read_text("utf-8")


def test_before_the_first_status_no_section_claims_that_all_is_well(page):
    document, _ = made(page)
    shown = [of["id"] for _, of in document.elements if of.get("id", "").startswith("no-") and "hidden" not in of]
    assert shown == []
    assert ("p", {"class": "note", "id": "healthy", "role": "status"}) in document.elements

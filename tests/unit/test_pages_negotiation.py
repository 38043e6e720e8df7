"""Tests of content negotiation."""

import pytest

from echod.pages.negotiation import language, prefers_html

CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", "en"),
        ("zh", "zh"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("zh-Hant-TW", "zh"),
        ("ZH-cn", "zh"),
        ("en;q=0.5, zh;q=0.6", "zh"),
        ("fr-CH, fr;q=0.9, zh;q=0.1", "zh"),
        ("en,zh", "en"),
        ("zh;q=0", "en"),
        ("*", "en"),
        ("fr, *;q=0.5, zh;q=0.6", "zh"),
        ("zhuang", "en"),
        ("zh;q=1.5", "en"),
        ("zh;q=nan, en;q=0.1", "en"),
        ("zh;q=²", "en"),
        ("zh;q=0.1234", "en"),
        ("zh;q=", "en"),
        (";q=1,,;;, zh", "zh"),
    ],
)
def test_the_language_with_the_highest_weight_is_chosen(header, expected):
    assert language(header, ("en", "zh")) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (CHROMIUM, True),
        ("text/html", True),
        ("application/xhtml+xml", True),
        ("TEXT/HTML;q=0.1", True),
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("text/html;q=0", False),
        ("text/html;q=0.5, text/plain", False),
        ("text/html;q=1;level=1, text/plain;q=0.9", True),
    ],
)
def test_html_is_for_clients_that_name_it(header, expected):
    assert prefers_html(header) is expected


def test_a_long_header_is_read_in_part():
    assert language("fr," * 100_000 + "zh", ("en", "zh")) == "en"

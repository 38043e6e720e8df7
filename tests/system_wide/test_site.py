"""The documentation site in headless Chromium, opened as files: search, languages, sizes of screens, accessibility."""

import subprocess
import sys

import pytest

from tests.daemon import TOP
from tests.system_wide.accessibility import axe, violations
from tests.system_wide.chromium import Browser

pytestmark = pytest.mark.needs_tools

SCREENSHOTS = TOP / "build" / "screenshots"
LOOKED_AT = ("index", "INSTALL", "ECHOCTL", "CONFIG", "DESIGN", "howto/index", "zh/index", "search")
FORMS = {
    "wide": {"width": 1400, "height": 1000},
    "narrow": {"width": 360, "height": 740},
    "dark": {"width": 1400, "height": 1000, "dark": True},
    "narrow-dark": {"width": 360, "height": 740, "dark": True},
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The URL of the site's folder."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", TOP / "docs", folder]
    ended = subprocess.run(words, check=False, capture_output=True, text=True, timeout=200)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    return folder.as_uri()


@pytest.fixture(scope="module")
def browser():
    with Browser() as running:
        yield running


def found(page, site, query):
    """The pages that the search box of a page finds, best first."""
    page.load(f"{site}/index.html")
    page.type("input.sidebar-search", query)
    page.wait_for("document.querySelector('p.search-summary')?.innerText")
    page.wait_for("document.querySelectorAll('ul.search li').length || /not match/.test(document.body.innerText)")
    return page.value(
        "[...document.querySelectorAll('ul.search li a')].map((each) => each.pathname.replace(/.*\\/site\\d*\\//, ''))"
    )


def test_the_search_finds_english_and_chinese_words_without_a_network(browser, site):
    with browser.page(f"{site}/index.html", width=1400) as page:
        assert "FAULTS.html" in found(page, site, "half-close-after")
        assert "DESIGN.html" in found(page, site, "backpressure")
        chinese = found(page, site, "半关闭")
        assert chinese
        assert all(name.startswith("zh/") for name in chinese), chinese
        assert all(name.startswith("zh/") for name in found(page, site, "套接字 缓冲区"))
        assert found(page, site, "闭套关") == []


def test_a_chinese_page_has_a_chinese_frame(browser, site):
    with browser.page(f"{site}/zh/index.html", width=1400) as page:
        assert page.value("document.documentElement.lang") == "zh-Hans"
        assert page.value("document.querySelector('.sidebar-search').placeholder") == "搜索"
        assert page.value("document.querySelector('.sidebar-tree .caption').innerText") == "中文"
        page.click("article p a[href='../index.html']")
        page.wait_for("document.documentElement.lang === 'en' && document.querySelector('.sidebar-search')")
        assert page.value("document.querySelector('.sidebar-search').placeholder") == "Search"


def test_a_code_in_the_first_column_of_a_table_stays_whole_on_a_telephone(browser, site):
    with browser.page(f"{site}/course/families-and-types.html", **FORMS["narrow"]) as page:
        assert page.value("document.querySelector('td:first-child code').getClientRects().length") == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LOOKED_AT)
def test_a_page_fits_the_screen_and_passes_the_accessibility_checks(browser, site, name, form):
    checker = axe()
    query = "?q=drain" if name == "search" else ""
    with browser.page(f"{site}/{name}.html{query}", **FORMS[form]) as page:
        if query:
            page.wait_for("document.querySelectorAll('ul.search li').length > 0")
        file = SCREENSHOTS / f"site-{name.replace('/', '-')}-{form}"
        page.screenshot(file.with_suffix(".png"))
        assert page.overflow() <= 0
        assert violations(page, checker, file.with_suffix(".axe.json")) == []

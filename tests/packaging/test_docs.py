"""The documentation site and the manual pages: built without a warning, complete, and readable without a network."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from echod.client.command_definitions import COMMANDS
from tests.daemon import run

pytestmark = [pytest.mark.needs_tools, pytest.mark.timeout(300)]

TOP = Path(__file__).parents[2]
MANUALS = {
    "echod.8": "ECHOD.md",
    "echoctl.1": "ECHOCTL.md",
    "echod.toml.5": "CONFIG.md",
    "echod-faults.7": "FAULTS.md",
    "echod-events.7": "EVENTS.md",
}
COLUMNS = 80


def build(builder, into):
    """The output folder of one Sphinx builder; a warning is an error."""
    command = [sys.executable, "-m", "sphinx", "-q", "-E", "-W", "--keep-going", "-b", builder, TOP / "docs", into]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=200)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    return into


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return build("html", tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def manuals(tmp_path_factory):
    return build("man", tmp_path_factory.mktemp("man"))


@pytest.fixture(scope="module")
def printed(manuals):
    """Each manual page as printed on a terminal of 80 columns."""
    if shutil.which("man") is None:
        pytest.skip("man is not installed; tests/system_wide/prepare installs it")
    environment = {**os.environ, "MANWIDTH": str(COLUMNS), "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""}
    shown = {}
    for file in MANUALS:
        ended = subprocess.run(
            ["man", "--local-file", manuals / file], check=True, capture_output=True, text=True, env=environment
        )
        shown[file] = re.sub(r".\x08", "", ended.stdout)
    return shown


class Links(HTMLParser):
    """The links of a page, the files it loads, and its anchors."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.anchors = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag in ("script", "img", "iframe", "source") and values.get("src"):
            self.loads.append(values["src"])
        if tag == "link" and values.get("href") and values.get("rel") != "canonical":
            self.loads.append(values["href"])


def test_every_link_of_the_site_leads_to_a_page_and_an_anchor(site):
    pages = {path: Links(path.read_text("utf-8")) for path in site.rglob("*.html")}
    assert len(pages) > 12
    for path, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            assert target.exists(), (path.name, link)
            if url.fragment and target in pages:
                assert unquote(url.fragment) in pages[target].anchors, (path.name, link)


def test_the_site_loads_nothing_from_the_network(site):
    for path in site.rglob("*.html"):
        for load in Links(path.read_text("utf-8")).loads:
            assert not urlsplit(load).netloc, (path.name, load)
            assert (path.parent / unquote(urlsplit(load).path)).exists(), (path.name, load)
    for path in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//", path.read_text("utf-8")), path.name


def test_the_search_index_contains_the_pages(site):
    index = (site / "searchindex.js").read_text("utf-8")
    assert all(f'"{path.stem}"' in index for path in (TOP / "docs").glob("*.md"))


@pytest.mark.parametrize("file", MANUALS)
@pytest.mark.parametrize(
    "words",
    [("mandoc", "-Tlint", "-Werror"), ("man", "--warnings", "--encoding=UTF-8", "--local-file")],
    ids=lambda words: words[0],
)
def test_a_manual_page_is_correct_roff(file, words, manuals):
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed; tests/system_wide/prepare installs it")
    ended = run(*words, manuals / file)
    complaints = ended.stdout if words[0] == "mandoc" else ended.stderr
    assert (ended.returncode, complaints) == (0, b"")


@pytest.mark.parametrize("file", MANUALS)
def test_a_manual_page_has_the_sections_that_readers_look_for(file, printed):
    sections = re.findall(r"(?m)^[A-Z][A-Z ]+$", printed[file])
    assert sections[:3] == ["NAME", "SYNOPSIS", "DESCRIPTION"]
    assert sections[-2] == "SEE ALSO" or sections[-1] in ("SEE ALSO", "AUTHOR", "COPYRIGHT")


@pytest.mark.parametrize("file", MANUALS)
def test_the_manual_page_contains_every_code_word_of_the_page(file, printed):
    source = (TOP / "docs" / MANUALS[file]).read_text("utf-8")
    shown = re.sub(r"‐\n\s*|[\s#│]", "", printed[file]).lower()  # headings are printed in capitals
    for code in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"(?ms)^```.*?^```$", "", source)):
        if not re.search(rf"\[`?{re.escape(code)}", source):  # the text of a link may become the name of a manual page
            assert re.sub(r"[\s#│]", "", code.replace(r"\|", "|")).lower() in shown, code


@pytest.mark.parametrize("file", MANUALS)
def test_a_manual_page_has_no_raw_markup_and_no_empty_link(file, printed):
    assert not re.search(r"\]\(|\*\*|^#{1,6} |<>|<#", printed[file], re.MULTILINE)


@pytest.mark.parametrize("file", MANUALS)
def test_no_line_is_wider_than_the_terminal(file, printed):
    wide = [line for line in printed[file].splitlines() if len(line) > COLUMNS]
    assert not wide


def test_the_synopsis_of_echoctl_has_every_command(printed):
    synopsis = printed["echoctl.1"].partition("DESCRIPTION")[0]
    assert set(re.findall(r"(?m)^\s+echoctl (\w+)", synopsis)) == set(COMMANDS)

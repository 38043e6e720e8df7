"""Tests of the pages of a WebSocket port."""

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

import echod.pages
from echod.config.kind_transports import matrix
from echod.pages.page_parts import LANGUAGES
from echod.pages.pages import CHAT, REPLY_ONLY, Files, Pages
from echod.services import registry
from echod.transports.layers.http_answer import Request, Resource, encoded

FOLDER = Path(echod.pages.__file__).parent
BROWSER = {"accept": "text/html,*/*;q=0.8", "accept-language": "en", "host": "localhost:18007"}
HOSTILE = "/<script>alert(1)</script>\"'&"
RESOURCES = (
    Resource("/echo", kind="echo"),
    Resource("/lobby", kind="chat"),
    Resource("/who", kind="whoami"),
    Resource("/hidden", kind="upper", page=False),
    Resource("/other one", kind="digest", summary="a kind of a <b>third party</b>"),
)


@pytest.fixture(scope="module")
def files():
    return Files.read()


@pytest.fixture(scope="module")
def site(files):
    """A function from a request to its answer."""
    pages = Pages(files)

    def answer(request):
        known = {one.path: one for one in RESOURCES}
        return pages.answer(request, known.get(request.path), RESOURCES)

    return answer


def get(target="/echo", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    path, _, query = target.partition("?")
    return Request("GET", path, query, BROWSER | named)


def headers_of(response):
    return dict(response.headers)


def policy_of(response):
    rules = (rule.split() for rule in headers_of(response)["Content-Security-Policy"].split("; "))
    return {name: values for name, *values in rules}


class Document(HTMLParser):
    """The elements of a page, the text of its scripts and styles, and its identifiers."""

    def __init__(self, response):
        super().__init__()
        self.elements, self.inner, self.labels, self.ids = [], [], set(), []
        self._inside = None
        self.feed(response.body.decode())

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.elements.append((tag, found))
        self.ids += [found["id"]] if "id" in found else []
        self.labels |= {found["for"]} if "for" in found else set()
        self._inside = (tag, found) if tag in ("script", "style") else None

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside:
            self.inner.append((*self._inside, data))

    def links(self):
        return [found["href"] for tag, found in self.elements if tag == "a"]

    def script(self):
        return next(text for tag, found, text in self.inner if tag == "script" and found["type"] == "module")

    def words(self):
        return json.loads(next(text for _, found, text in self.inner if found.get("id") == "words"))


def digest_of(text):
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


@pytest.mark.parametrize("target", ["/echo", "/lobby", "/who", "/other one", "/", "/missing"])
@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_policy_permits_exactly_the_script_and_the_style_of_the_page(site, target, lang):
    response = site(get(target, accept_language=lang))
    document, policy = Document(response), policy_of(response)
    executed = [text for tag, found, text in document.inner if tag == "script" and found["type"] == "module"]
    assert policy["script-src"] == ([digest_of(executed[0])] if executed else ["'none'"])
    assert policy["style-src"] == [digest_of(text) for tag, _, text in document.inner if tag == "style"]
    for rule in ("default-src", "base-uri", "form-action", "frame-ancestors"):
        assert policy[rule] == ["'none'"]
    assert policy["connect-src"] == ["'self'", "ws://localhost:18007", "wss://localhost:18007"]


@pytest.mark.parametrize("target", ["/echo", "/lobby", "/who", "/", "/missing"])
@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_page_loads_nothing_and_has_no_inline_code(site, target, lang):
    document = Document(site(get(target, accept_language=lang)))
    for tag, found in document.elements:
        assert "src" not in found
        assert "style" not in found
        assert not [name for name in found if name.startswith("on")]
        if tag == "link":
            assert found["href"].startswith("data:")
    assert all(link.startswith(("/", "?")) for link in document.links())


@pytest.mark.parametrize("target", ["/echo", "/lobby", "/who"])
def test_every_input_has_a_label_and_every_identifier_of_the_script_exists_once(site, target):
    document = Document(site(get(target)))
    fields = [
        found for tag, found in document.elements if tag in ("input", "textarea") and found.get("type") != "radio"
    ]
    assert fields
    assert {found["id"] for found in fields} <= document.labels
    assert len(document.ids) == len(set(document.ids))
    assert set(re.findall(r'byId\("([\w-]+)"\)', document.script())) <= set(document.ids)
    for pair in re.findall(r"\bwords\.(\w+)|\bworded\(\"(\w+)\"", document.script()):
        assert "".join(pair) in document.words()


def test_the_headers_of_a_page(site):
    headers = headers_of(site(get()))
    assert headers["Cache-Control"] == "no-store"
    assert headers["Vary"] == "Accept, Accept-Language"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Content-Language"] == "en"


@pytest.mark.parametrize("head_only", [False, True])
def test_a_page_is_sent_with_its_length_and_type(site, head_only):
    page = site(get())
    head, _, body = encoded(page, head_only=head_only).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 OK"
    assert f"Content-Length: {len(page.body)}".encode() in lines
    assert b"Content-Type: text/html; charset=utf-8" in lines
    assert b"X-Content-Type-Options: nosniff" in lines
    names = [line.partition(b":")[0].lower() for line in lines]
    assert len(names) == len(set(names))
    assert body == (b"" if head_only else page.body)


@pytest.mark.parametrize(("target", "accept"), [("/hidden", "text/html"), ("/echo", "*/*"), ("/echo", ""), ("/x", "")])
def test_other_clients_and_services_without_a_page_get_the_plain_answer(site, target, accept):
    assert site(get(target, accept=accept)) is None


@pytest.mark.parametrize("path", [HOSTILE, "/\x1b[31m\u202e", "/\udcff", "//evil.example/", "/" + "a" * 5000])
def test_an_unknown_path_lists_the_services_and_is_escaped(site, path):
    page = site(Request("GET", path, "", BROWSER))
    assert page.status == 404
    document = Document(page)
    assert [tag for tag, _ in document.elements].count("script") == 0
    assert "alert" not in "".join(text for *_, text in document.inner)
    assert document.links() == ["/", "?lang=en", "?lang=zh", "/echo", "/lobby", "/who", "/other%20one"]
    text = page.body.decode()
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text)
    assert len(text) < 20_000


def test_a_configured_path_that_is_not_utf_8_is_listed_and_linked(files):
    odd = Resource("/\udcff\u202e")
    page = Pages(files).answer(Request("GET", odd.path, "", BROWSER), odd, [odd])
    assert "/%FF%E2%80%AE" in Document(page).links()
    assert "/\\xff\\u{202e}" in page.body.decode()


def test_the_root_lists_the_services_without_a_complaint(site):
    page = site(get("/"))
    assert page.status == 200
    assert b'<p class="notice" hidden>' in page.body


def test_a_page_is_small(site):
    for target in ("/echo", "/lobby", "/"):
        assert len(site(get(target)).body) < 48 * 1024


def test_the_kind_chooses_the_page(site):
    assert b'class="app chat"' in site(get("/lobby")).body
    assert b'data-kind="echo"' in site(get("/echo")).body
    assert b'<form class="composer" id="composer" >' in site(get("/echo")).body
    assert b'<form class="composer" id="composer" hidden>' in site(get("/who")).body


def test_a_kind_without_words_shows_its_own_summary_escaped(site):
    assert b"a kind of a &lt;b&gt;third party&lt;/b&gt;" in site(get("/other one")).body


def test_the_kinds_with_words_or_a_layout_of_their_own_exist(files):
    assert set(files.kinds["en"]) | CHAT | REPLY_ONLY <= set(registry.kinds())


@pytest.mark.parametrize(
    ("header", "target", "expected"),
    [
        ("zh-CN,zh;q=0.9", "/echo", "zh"),
        ("en", "/echo", "en"),
        ("en", "/echo?lang=zh", "zh"),
        ("zh", "/echo?lang=en", "en"),
        ("zh", "/echo?lang=klingon", "zh"),
        ("zh", "/echo?lang=en&lang=zh", "zh"),
        ("en", "/echo?" + "a=1&" * 1000 + "lang=zh", "en"),
        ("en", "/echo?%", "en"),
    ],
    ids=["zh", "en", "chosen-zh", "chosen-en", "unknown", "last", "long", "percent"],
)
def test_the_language_follows_the_query_then_the_header(site, header, target, expected):
    response = site(get(target, accept_language=header))
    assert headers_of(response)["Content-Language"] == expected
    assert f'<html lang="{"zh-Hans" if expected == "zh" else "en"}">' in response.body.decode()


def test_links_keep_the_chosen_language_and_omit_services_without_a_page(site):
    paths = ["/", "/echo", "/lobby", "/who", "/other%20one"]
    switch = ["?lang=en", "?lang=zh"]
    assert Document(site(get("/echo?lang=zh"))).links() == [*(f"{path}?lang=zh" for path in paths), *switch]
    assert Document(site(get("/echo"))).links() == [*paths, *switch]
    assert "/hidden" not in Document(site(get("/"))).links()
    assert b"/hidden" in site(get("/")).body


@pytest.mark.parametrize(
    "host",
    ["", "[::1]:18007", "a b", "evil.example; script-src *", "x\r\nSet-Cookie: a=b", "-a", "a" * 300, "a:123456"],
)
def test_a_host_that_is_not_safe_in_the_policy_is_left_out(site, host):
    assert policy_of(site(get(host=host)))["connect-src"] == ["'self'"]


def test_both_languages_have_the_same_words_with_the_same_names(files):
    english, chinese = (files.words[lang] for lang in LANGUAGES)
    assert english.keys() == chinese.keys()
    for key, word in english.items():
        assert set(re.findall(r"\{\w+\}", word)) == set(re.findall(r"\{\w+\}", chinese[key])), key
    assert files.kinds["en"].keys() == files.kinds["zh"].keys()


def test_each_kind_that_is_served_over_websocket_has_its_words(files):
    served = {name for name, kind in registry.kinds(plugins=()).items() if not matrix(kind)["ws"]}
    assert served == files.kinds["en"].keys()


def test_chinese_has_full_width_punctuation_and_spaces_beside_latin(files):
    han = "[\u4e00-\u9fff]"
    for text in (*files.words["zh"].values(), *files.kinds["zh"].values()):
        assert not re.search(f"{han}[,.;:!?()]|[,;:!?(]{han}", text), text
        assert not re.search(f"{han}[A-Za-z0-9{{]|[A-Za-z0-9}}]{han}", text), text


def test_every_word_is_used(files):
    written = "".join(file.read_text("utf-8") for file in FOLDER.iterdir() if file.suffix in (".html", ".js", ".py"))
    used = set(re.findall(r"\$(\w+)|words\.(\w+)|\"(\w+)\"", written))
    known = {name for names in used for name in names}
    assert {key for key in files.words["en"] if key not in known and not key.startswith("code_")} == set()


def test_scripts_are_safe_in_a_script_element_and_write_text_only(files):
    for script in files.scripts.values():
        assert "</script" not in script
        assert "<!--" not in script
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", script)
    assert "</style" not in files.style


def test_templates_use_known_names_only(files, site):
    for template in files.pages.values():
        assert template.is_valid()
    for target in ("/echo", "/lobby", "/"):
        assert not re.search(
            r"\$[a-z_]+[<\"]", site(get(target)).body.decode().split("<script")[0].split("</style>")[1]
        )


def luminance(colour):
    """The relative luminance of a colour (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_colour_of_text_has_contrast_enough(files, scheme):
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", files.style.split(":root {")[scheme + 1]))

    def contrast(one, other):
        darker, lighter = sorted((luminance(colours[one]), luminance(colours[other])))
        return (lighter + 0.05) / (darker + 0.05)

    for ground in ("ground", "surface", "raised"):
        for text in ("text", "muted"):
            assert contrast(text, ground) >= 4.5, (text, ground)
    for ground in ("ground", "surface"):
        for text in ("accent", "good", "bad"):
            assert contrast(text, ground) >= 4.5, (text, ground)
        assert contrast("border", ground) >= 3, ground
    assert contrast("on-accent", "accent") >= 4.5
    assert contrast("mark", "mark-ground") >= 4.5

"""The manual pages are the pages of docs/ in another dress: nothing is lost on the way, and no Markdown is left."""

import re

import pytest

from echod.client.commandline import COMMANDS
from man.__main__ import PAGES, TOP, main, page
from man.markdown import Bullets, Code, Heading, Paragraph, Table, UnknownMarkdown, blocks
from man.roff import body, escape, inline, literal, wrapped


@pytest.fixture(autouse=True)
def one_date(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")


def text_of(roff):
    """A page's words, without requests and escapes."""
    said = "\n".join(line for line in roff.splitlines() if not re.match(r"\.(?!S[HS]|TH)|'", line))
    said = re.sub(r"\\f[BIR]|\\&", "", said)
    for escaped, plain in {r"\-": "-", r"\(aq": "'", r"\(dq": '"', r"\(ti": "~", r"\(ha": "^", r"\(ga": "`"}.items():
        said = said.replace(escaped, plain)
    return said.replace(r"\e", "\\")


def words(text):
    """The same without what holds words apart, or makes a remark of those that go on."""
    return re.sub(r"[\s#]|\\ ", "", text)


@pytest.mark.parametrize("file", PAGES)
def test_every_word_of_code_is_in_the_page(file):
    source = (TOP / "docs" / PAGES[file].source).read_text("utf-8")
    said = text_of(page(file))
    for code in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", source):
        assert code.replace(r"\|", "|") in said, code
    for block in blocks(source):
        if isinstance(block, Code):
            assert all(words(line) in words(said) for line in block.lines)


@pytest.mark.parametrize("file", PAGES)
def test_no_markdown_is_left(file):
    prose = re.sub(r"(?ms)^\.EX$.*?^\.EE$", "", page(file))
    assert not re.search(r"\]\(|\*\*|^\||^#", prose, re.MULTILINE)


@pytest.mark.parametrize("file", PAGES)
def test_a_page_says_what_it_is(file):
    name, _, section = file.rpartition(".")
    first = page(file).splitlines()
    assert first[1].startswith(f".TH {name.upper()} {section} 1970-01-02 ")
    assert [line for line in first if line.startswith(".SH")][:3] == [".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"]
    assert r"\fB\fR" not in page(file)


def test_the_usage_is_the_synopsis_and_stands_nowhere_else():
    made = page("echoctl.1")
    before, _, after = made.partition(".SH DESCRIPTION")
    assert before.count(r"\fBechoctl ") == len(COMMANDS)
    assert not re.search(r"(?m)^echoctl send \[", after)


@pytest.mark.parametrize("file", PAGES)
def test_no_line_that_is_shown_as_it_is_is_longer_than_a_terminal(file):
    for shown in re.findall(r"(?ms)^\.EX$\n(.*?)^\.EE$", page(file)):
        assert max(map(len, text_of(shown).splitlines())) <= 80 - 7 - 4


def test_a_long_line_goes_on_in_the_next():
    assert list(wrapped("short")) == ["short"]
    assert list(wrapped("x" * 200)) == ["x" * 200]
    assert list(wrapped("  " + "word " * 20 + "end")) == ["  " + " ".join(["word"] * 13), " " * 6 + "word " * 7 + "end"]
    first, second = wrapped("key = 7  # " + "why " * 20 + "not")
    assert first.startswith("key = 7  # why")
    assert re.fullmatch(r" {9}# (why )+not", second)


@pytest.mark.parametrize("file", PAGES)
def test_a_page_of_ours_that_is_no_manual_page_is_named_where_it_lies(file):
    assert not re.search(r"(?<![/A-Za-z])[A-Z]+\.md", re.sub(r"(?m)^\.\\\".*$", "", page(file)))


def test_they_are_written_as_files(tmp_path):
    main(tmp_path / "man")
    assert {path.name for path in (tmp_path / "man").iterdir()} == set(PAGES)


def test_the_blocks_of_a_page():
    written = (
        "# T\n\nOne\ntwo.\n*Three.*\n* a\n  b\n* c\n\n    $ x\n\n"
        "```toml\n\n# y\n```\n| A | B |\n| - | - |\n| c \\| d | e |\n"
    )
    assert list(blocks(written)) == [
        Heading(1, "T"),
        Paragraph("One two. *Three.*"),
        Bullets(("a b", "c")),
        Code(("$ x",), fenced=False),
        Code(("", "# y"), fenced=True),
        Table(("A", "B"), (("c | d", "e"),)),
    ]


@pytest.mark.parametrize("line", ["> quoted", "1. numbered", "- dashed", "<b>html</b>", "![picture](x.svg)"])
def test_a_form_that_is_new_is_refused(line):
    with pytest.raises(UnknownMarkdown):
        list(blocks(f"# T\n\n{line}\n"))


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("plain-text", "plain-text"),
        ("`a-b`", r"\fBa\-b\fR"),
        ("**n** and *m*", r"\fBn\fR and \fIm\fR"),
        ("2 * 3 * 4", "2 * 3 * 4"),
        ("[here](CONFIG.md#x)", r"\fBechod.toml\fR(5)"),
        ("[here](ADMIN.md#x)", "here"),
        ("[ADMIN](ADMIN.md#x)", r"\fI/usr/share/doc/echod/ADMIN.md\fR"),
        ("[`talk [URL]`](#talk)", r"\fBtalk [URL]\fR"),
        (r"`\n`", r"\fB\en\fR"),
    ],
)
def test_inline(written, printed):
    assert inline(written, {"CONFIG.md": "echod.toml(5)"}) == printed


@pytest.mark.parametrize("line", [".SH no heading", "'no request", "...", r"\fBno bold", '-x ^~`"'])
def test_no_text_is_a_request(line):
    assert text_of(literal(line)) == line
    assert not literal(line).startswith((".", "'"))
    assert text_of("x" + escape(line)) == "x" + line


def test_a_sentence_that_begins_with_a_dot_is_no_request():
    assert list(body([Paragraph(".toml is it. `x`")], {})) == [".PP", r"\&.toml is it.", r"\fBx\fR"]


def test_a_table_is_a_list():
    table = Table(("Key", "Type", "Meaning"), (("`a`", "text", "what. Not more"), ("`b`", "—", "that")))
    assert list(body([table], {})) == [
        ".TP 8", r"\fBa\fR", "what.", "Not more", ".br", "Type: text.", ".TP 8", r"\fBb\fR", "that",
    ]  # fmt: skip

"""The figures of the course: each file is what its program draws, is complete, and is on a page."""

import re
import socket
import struct
from xml.etree import ElementTree

import pytest

from docs.figures.__main__ import FOLDERS, drawn
from docs.figures.capture import numbered, segment
from docs.figures.captured_segments import segments
from docs.figures.drawing import COLOURS, Drawing, width_of
from docs.figures.pictures.websocket_frame import frame
from docs.figures.sequence import Sequence
from tests.daemon import TOP

SVG = "{http://www.w3.org/2000/svg}"
FIGURES = {str(file.relative_to(TOP)): picture for file, picture in drawn()}
SHOWN = {
    str((page.parent / target).relative_to(TOP)): text
    for folder in FOLDERS.values()
    for page in folder.glob("*.md")
    for text, target in re.findall(r"!\[([^\]]+)\]\(([\w-]+\.svg)\)", page.read_text("utf-8"))
}


def test_the_committed_figures_are_those_that_make_figures_draws():
    committed = {
        str(file.relative_to(TOP)): file.read_text("utf-8") for at in FOLDERS.values() for file in at.glob("*.svg")
    }
    assert committed == FIGURES


def test_the_frame_of_the_figure_has_the_bytes_of_its_page():
    page = (FOLDERS["en"] / "websocket.md").read_text("utf-8")
    assert f"\nframe:  {frame().hex(' ')}\n" in page


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_a_title_a_description_and_both_schemes(name):
    root = ElementTree.fromstring(FIGURES[name])
    assert root.get("role") == "img"
    assert {f"{SVG}title": "title", f"{SVG}desc": "desc"} == {part.tag: part.get("id") for part in root[:2]}
    assert all(part.text and part.text.strip() for part in root[:2])
    assert "@media(prefers-color-scheme:dark)" in (root.findtext(f"{SVG}style") or "")
    assert not re.search(r"(?:href|url\()[\"' ]*[a-z]+:", FIGURES[name])


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_of_a_figure_is_cut_off_at_its_sides(name):
    root = ElementTree.fromstring(FIGURES[name])
    before = {"start": 0.0, "middle": 0.5, "end": 1.0}
    for part in root.iter(f"{SVG}text"):
        width = width_of(part.text or "")
        left = float(part.attrib["x"]) - before[part.attrib["text-anchor"]] * width
        assert 0 <= left <= float(root.attrib["width"]) - width, part.text


def test_a_page_shows_each_figure_with_its_title_as_the_alternative_text():
    assert {name: ElementTree.fromstring(picture)[0].text for name, picture in FIGURES.items()} == SHOWN


def luminance(colour: str) -> float:
    """Of WCAG 2.2, from `#rrggbb`."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", COLOURS)
def test_text_has_the_contrast_that_wcag_requires(scheme):
    kinds, background, text = COLOURS[scheme]
    for colour in (*kinds.values(), text):
        dark, light = sorted(map(luminance, (colour, background)))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, colour


def test_text_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="'a text that is far too long' is"):
        Drawing("title", "description", "en").box(0, 0, 80, 40, "a text that is far too long")
    with pytest.raises(ValueError, match="and the margin 50"):
        Sequence("title", "description", "en", "left", "right", margin=60).note("a text that is far too long")


def test_marks_of_xml_in_texts_are_escaped():
    drawing = Drawing("a < b", "a & b", "en")
    drawing.text(10, 20, "<SYN & ACK>")
    root = ElementTree.fromstring(drawing.svg())
    assert [root[0].text, root[1].text] == ["a < b", "a & b"]
    assert [part.text for part in root.iter(f"{SVG}text")] == ["<SYN & ACK>"]


def packet(source: int, target: int, flags: int, data: bytes = b"", padding: bytes = b"") -> bytes:
    """An IPv4 packet with a TCP segment that has four bytes of options."""
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 44 + len(data), 0, 0, 64, socket.IPPROTO_TCP, 0, b"\x7f\0\0\1", b"\x7f\0\0\1"
    )
    return head + struct.pack("!HHIIBBHHH4x", source, target, 2**32 - 1, 700, 6 << 4, flags, 0, 0, 0) + data + padding


def test_a_segment_is_read_from_a_packet():
    expected = {"flags": ["PSH", "ACK"], "sequence": 2**32 - 1, "acknowledged": 700, "data": "parcel"}
    assert segment(packet(4000, 9003, 0x18, b"parcel", padding=b"\0\0"), 9003) == {"sender": "client", **expected}
    assert segment(packet(9003, 4000, 0x18, b"parcel"), 9003) == {"sender": "server", **expected}
    assert segment(packet(4000, 9004, 0x18), 9003) is None
    assert segment(b"\x60" + bytes(60), 9003) is None


def test_the_numbers_of_both_ends_begin_at_zero_and_wrap():
    syn = {"sender": "client", "flags": ["SYN"], "sequence": 2**32 - 1, "acknowledged": 0, "data": ""}
    accepted = {"sender": "server", "flags": ["SYN", "ACK"], "sequence": 500, "acknowledged": 0, "data": ""}
    data = {"sender": "client", "flags": ["PSH", "ACK"], "sequence": 0, "acknowledged": 501, "data": "a"}
    read = [(one["sequence"], one.get("acknowledged")) for one in numbered([syn, accepted, data])]
    assert read == [(0, None), (0, 1), (1, 1)]


@pytest.mark.parametrize("name", ["connection", "reset"])
def test_the_saved_segments_acknowledge_the_bytes_that_were_sent(name):
    """Each ACK is the number after the last byte, SYN or FIN that the other end had sent."""
    sent = {"client": 0, "server": 0}
    other = {"client": "server", "server": "client"}
    for one in segments(name):
        assert one["sequence"] == sent[one["sender"]]
        assert one.get("acknowledged", 0) == (sent[other[one["sender"]]] if "ACK" in one["flags"] else 0)
        sent[one["sender"]] += len(one["data"]) + sum(flag in one["flags"] for flag in ("SYN", "FIN"))

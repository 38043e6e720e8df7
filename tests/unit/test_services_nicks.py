"""Names in a chat: one form for all spellings, and no name that looks like another."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.services import nicks
from echod.services.confusables import skeleton
from echod.services.nicks import LONGEST, WrongName, cited, key, lookalike_key, name


@pytest.mark.parametrize(
    "written",
    [
        "anna",
        "Anna",
        "bob_2",
        "x",
        "7",
        "Jean-Luc",
        "Ольга",
        "Ελένη",
        "שלום",
        "محمد",
        "日本のたろう",
        "李小龍",
        "김철수",
    ],
)
def test_valid_names(written):
    assert name(written) == unicodedata.normalize("NFKC", written)


@pytest.mark.parametrize("pair", ["ANNA anna", "ﬁnn finn", "Ａnna anna", "STRASSE straße"])
def test_the_same_name_in_another_form(pair):
    one, other = pair.split()
    assert key(name(one)) == key(name(other))


@pytest.mark.parametrize("mark", ["\u0301", "\u0308"])
def test_a_letter_and_its_mark_are_one_letter(mark):
    assert name(f"e{mark}va") == unicodedata.normalize("NFC", f"e{mark}va")


@pytest.mark.parametrize(
    "pair", ["bob b0b", "lIa 1la", "paca раса", "CEO СЕО", "modern modem", "vvill will", "Anna anna"]
)
def test_names_that_look_alike(pair):
    one, other = pair.split()
    assert lookalike_key(name(one)) == lookalike_key(name(other))


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("", "a name needs at least one letter or digit"),
        ("a" * 33, "a name of 33 characters is too long; the maximum is 32"),
        ("a" * 1_048_576, "a name of 1048576 characters is too long; the maximum is 32"),
        ("ﷺﷺ", "a name of 36 characters is too long; the maximum is 32"),
        ("an na", "U+0020 cannot be part of a name"),
        ("an:na", ": cannot be part of a name"),
        ("-anna", "-anna does not begin with a letter or a digit"),
        ("\u0301a", "does not begin with a letter or a digit"),
        ("bоb", "bоb mixes CYRILLIC and LATIN"),
        ("аnna", "mixes CYRILLIC and LATIN"),
        ("x\u0323\u0324\u0325y", "has more than 2 marks on one letter"),
    ],
)
def test_invalid_names(written, why):
    with pytest.raises(WrongName) as caught:
        name(written)
    assert str(caught.value).startswith(why) or why in str(caught.value)
    assert str(caught.value).isprintable()


CONTROL = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]
BIDI = [chr(code) for code in (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))]
UNSEEN = [
    *"\u00ad\u034f\u115f\u1160\u17b4\u180b\u180e\u200b\u200c\u200d\u2028\u2029\u2060",
    *"\u3164\ufe0f\ufeff\uffa0\U000e0041\U000e0100",
]


@pytest.mark.parametrize("character", [*CONTROL, *BIDI, *UNSEEN, "\udc80", "\ue000", "\U0001f600", "\u2800"], ids=ascii)
def test_invisible_characters_are_refused(character):
    with pytest.raises(WrongName) as caught:
        name(f"an{character}na")
    assert str(caught.value).isprintable()


@given(st.text(max_size=60))
def test_a_valid_name_is_printable_and_stable(written):
    try:
        shown = name(written)
    except WrongName as why:
        assert str(why).isprintable()
        return
    assert shown.isprintable()
    assert not set(shown) & set(" :*/#<>()")
    assert 0 < len(shown) <= LONGEST
    assert name(shown) == shown
    assert key(shown) == key(shown.upper()) or len(shown.upper()) != len(shown)
    assert lookalike_key(shown) == skeleton(shown)


@given(st.text())
def test_a_cited_name_is_short_and_escaped(written):
    assert cited(written).isprintable()
    assert len(cited(written)) <= 41 * 10


def test_the_rules_for_names_apply_to_lines():
    for said, shown in (
        ("hello, naïve 日本語 שלום", "hello, naïve 日本語 שלום"),
        ("❤\ufe0f 1\ufe0f\u20e3", "❤\ufe0f 1\ufe0f\u20e3"),
        ("a\ufe0f\ufe0f", "a\ufe0f\\u{fe0f}"),
        ("e\u0301\u0323 e\u0301\u0323\u0300", "e\u0301\u0323 e\u0301\u0323\\u{300}"),
        ("a\u3164b\u115f\u034f", "a\\u{3164}b\\u{115f}\\u{34f}"),
        ("\U000e0100", "\\u{e0100}"),
    ):
        assert nicks.visible(said) == shown
    piled = nicks.visible("a" + "\u0301" * 1500)
    assert sum(unicodedata.category(character)[0] == "M" for character in piled) == nicks.MARKS
    assert nicks.visible(piled) == piled

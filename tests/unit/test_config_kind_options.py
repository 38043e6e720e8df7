"""The options of a kind follow from the annotations of its Options, dataclass or attrs."""

from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Literal, Optional

import attrs
import pytest

from echod.config.kind_options import option_forms
from echod.model import Service
from echod.services.ack import Ack
from echod.services.chat import Chat
from echod.services.echo import Echo


@dataclass(frozen=True)
class Every:
    a_flag: bool = False
    a_number: int = 1
    a_fraction: float = 1.5
    a_text: str = ""
    a_word: Literal["x", "y"] = "x"
    a_path: Path = Path("/dev/null")
    perhaps: Path | None = None
    perhaps_too: Optional[int] = None  # noqa: UP045 - as others write it
    annotated: Annotated[int, "a note"] = 1


@attrs.frozen
class Attrs:
    size_of_it: int = attrs.field(default=3, metadata={"least": 1, "most": 9})


@dataclass(frozen=True)
class Odd:
    choice: int | str = 1


@dataclass(frozen=True)
class Unknown:
    thing: "Nowhere" = None  # type: ignore[name-defined] # noqa: F821 - it must not exist


def kind_with(options):
    return type("Made", (Service,), {"kind": "made", "Options": options})


def test_every_annotation():
    forms = option_forms(kind_with(Every))
    assert {key: form.right for key, form in forms.items()} == {
        "a-flag": "true or false",
        "a-number": "a whole number",
        "a-fraction": "a number",
        "a-text": "text",
        "a-word": "one of: x, y",
        "a-path": 'the path of a file, such as "/etc/echod/FILE"',
        "perhaps": 'the path of a file, such as "/etc/echod/FILE"',
        "perhaps-too": "a whole number",
        "annotated": "a whole number",
    }


def test_attrs():
    [(key, form)] = option_forms(kind_with(Attrs)).items()
    assert (key, form.right) == ("size-of-it", "a whole number from 1 to 9")


def test_the_bounds_of_a_number_are_those_of_its_field():
    rate = option_forms(Chat)["lines-per-second"]
    for wrong in (-1, 1_000_001, 1.5):
        with pytest.raises(ValueError, match=f"must be a whole number from 0 to 1000000, not {wrong}"):
            rate.accept(wrong)
    assert rate.accept(0) == 0


def test_ours():
    assert list(option_forms(Ack)) == ["close"]
    assert option_forms(Echo) == {}


def test_an_unsupported_type_is_an_error():
    with pytest.raises(TypeError, match=r"option choice of Made has an unsupported type: int \| str"):
        option_forms(kind_with(Odd))
    with pytest.raises(NameError):
        option_forms(kind_with(Unknown))


@pytest.mark.parametrize("name", ["listen", "kind", "allow_source_ports", "limits", "faults", "tls"])
def test_an_option_must_not_be_a_key_of_every_service(name):
    """It would be read as that key, and the kind would never see it."""

    class Shadowed(Service):
        kind = "shadowed"
        summary = "for a test"
        Options = make_dataclass("Options", [("fine", int, 1), (name, int, 1)], frozen=True)

    with pytest.raises(TypeError, match=f"option {name} of Shadowed is a key that every service has"):
        option_forms(Shadowed)

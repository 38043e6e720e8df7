"""`echoctl services` lists every kind, from its own documentation, in 80 columns."""

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path

import attrs
import pytest

from echod.client import kind_transport_matrix
from echod.client.commands import services
from echod.client.commands.services import WIDTH, described, page
from echod.config.kind_options import option_forms
from echod.model import Service
from echod.services.registry import Kinds, kinds

KINDS = kinds()


@dataclass(frozen=True)
class Options:
    how_many: int = field(default=3, metadata={"help": "how many " + "words and words " * 20})
    where: Path | None = None
    file: Path = Path("/etc/motd")


@attrs.frozen
class OfAttrs:
    loud: bool = attrs.field(default=True, metadata={"help": "shout"})


class Strange(Service):
    kind = "strange"
    summary = "clears \x1b[2J the screen\nand more"
    Options = Options
    streams = False


class Other(Service):
    kind = "other"
    summary = "shouts"
    Options = OfAttrs
    streams = datagrams = False


def printed(capfd, **arguments):
    assert services.run(argparse.Namespace(**{"matrix": False, **arguments})) == 0
    said = capfd.readouterr()
    assert said.err == ""
    return said.out


def test_every_kind_is_listed_with_every_option(capfd):
    pages = [part.split("\n") for part in printed(capfd, json=False).rstrip("\n").split("\n\n")]
    assert [lines[0] for lines in pages] == list(KINDS)
    for lines, kind in zip(pages, KINDS.values(), strict=True):
        assert max(map(len, lines)) <= WIDTH
        said = " ".join(line.strip() for line in lines)
        assert kind.summary in said
        for name in option_forms(kind):
            assert f" {name}: " in said


def test_json_is_one_object(capfd):
    listed = json.loads(printed(capfd, json=True))["kinds"]
    assert [kind["kind"] for kind in listed] == list(KINDS)
    assert listed[0]["options"][0] == {
        "name": "close",
        "type": "true or false",
        "default": True,
        "help": "reply to the first data and close; false replies to every read",
    }
    assert all(option["help"] for kind in listed for option in kind["options"])


def test_kinds_of_other_packages():
    said = described(Strange)
    assert said["transports"] == ["udp", "unix-dgram"]
    assert [(option["name"], option["default"]) for option in said["options"]] == [
        ("how-many", 3),
        ("where", None),
        ("file", "/etc/motd"),
    ]
    assert json.loads(json.dumps(said)) == said
    lines = list(page(said))
    assert all(line.isprintable() and len(line) <= WIDTH for line in lines)
    assert '    where: the path of a file, such as "/etc/echod/FILE"; not set by default' in lines
    assert described(Other)["options"] == [{"name": "loud", "type": "true or false", "default": True, "help": "shout"}]
    assert described(Other)["transports"] == []


@pytest.mark.parametrize("kind", KINDS.values(), ids=str)
def test_each_default_is_written_as_in_a_configuration(kind):
    listed = {option["name"]: option["default"] for option in described(kind)["options"]}
    for name, form in option_forms(kind).items():
        default = getattr(kind.Options(), name.replace("-", "_"))
        assert listed[name] is default is None or form.accept(listed[name]) == default


def test_a_default_duration_and_size_have_their_units():
    lines = "\n".join(page(described(KINDS["bin"])))
    assert 'max-delay: a duration such as "5m"; default "30s"\n' in lines
    assert 'max-size: a size such as "64KiB"; default "1MiB"\n' in lines


def test_an_unusable_kind_is_reported_in_one_line(monkeypatch, capfd):
    monkeypatch.setattr(services, "kinds", lambda: Kinds(KINDS, {"x": "kind 'x': \x1b[2J"}))
    assert services.run(argparse.Namespace(json=False, matrix=False)) == 1
    said, wrong = capfd.readouterr()
    assert "\nwhoami\n" in said
    assert wrong == "echoctl: kind 'x': \\x1b[2J\n"


@pytest.mark.parametrize("kind", KINDS.values(), ids=str)
def test_every_kind_can_be_described(kind):
    assert described(kind)["transports"]


def test_the_page_shows_the_matrix_as_it_is_printed():
    page_ = (Path(__file__).parents[2] / "docs" / "SERVICES.md").read_text("utf-8")
    shown = "\n".join(kind_transport_matrix.lines(kinds(plugins=())))
    assert f"```text\n{shown}\n```" in page_
    assert max(map(len, shown.splitlines())) <= 100


def test_the_matrix_numbers_each_reason_once(capfd):
    found = json.loads(printed(capfd, json=True, matrix=True))["matrix"]
    assert set(found) == set(KINDS)
    shown = printed(capfd, json=False, matrix=True).splitlines()
    numbered = dict(line.strip().split("  ", 1) for line in shown[shown.index("", 20) + 1 :])
    reasons = {why for row in found.values() for why in row.values() if why}
    assert set(numbered.values()) == reasons
    chargen = next(line for line in shown if line.startswith("chargen")).split()
    assert numbered[chargen[4]] == found["chargen"]["ws"]

"""The recorded picture of a run: its commands exist, and it is small and complete without a network."""

import html
import re
import shlex
from pathlib import Path

import pytest

from docs import picture
from echod.client.command_definitions import parser
from echod.client.commands.status import page
from echod.client.tables import screen, show
from echod.tap import Options

TOP = Path(__file__).parents[2]
SVG = picture.PICTURE.read_text("utf-8")
TEXT = html.unescape("\n".join(re.findall(r"<text [^>]*>([^<]*)</text>", SVG))).replace("\xa0", " ")


@pytest.mark.parametrize("command", picture.COMMANDS)
def test_each_command_exists_and_is_in_the_picture(command):
    program, *words = shlex.split(command)
    assert program == "echoctl"
    parser().parse_args(words)
    assert command.replace(" --color always", "") in TEXT


def test_the_configuration_is_valid_and_in_the_picture(tmp_path, monkeypatch, capsys):
    (tmp_path / "echod.toml").write_text(picture.CONFIG)
    monkeypatch.chdir(tmp_path)
    program, *words = shlex.split(picture.DAEMON)
    with pytest.raises(SystemExit) as ended:
        Options().parseOptions([*words, "--check-config"])
    assert (program, ended.value.code) == ("echod", 0)
    assert capsys.readouterr().err == ""
    assert picture.DAEMON in TEXT
    for line in filter(None, picture.CONFIG.splitlines()):
        assert line in TEXT


def test_the_status_in_the_picture_has_the_lines_of_today(capfd):
    status = {"version": "1", "ready": True, "pid": 7, "uptime": 5, "files": ["echod.toml"], "last_reload": None}
    status.update({"plane": True, "native": True, "lines_lost": 0, "events_lost": 0, "services": []})
    for part in page(status, 200):
        show(screen("never"), part)
    labels = re.findall("(?m)^(.+?): ", capfd.readouterr().out)
    assert labels == ["configuration", "fast path"]
    assert [label for label in labels if f"{label}: " not in TEXT] == []


def test_it_is_small_and_loads_nothing():
    assert len(SVG) < 60_000
    assert "@font-face" not in SVG
    assert set(re.findall(r"https?://[^\"' )]+", SVG)) == {"http://www.w3.org/2000/svg", "https://www.textualize.io"}


def test_the_picture_is_on_the_first_pages():
    assert "docs/terminal.svg" in (TOP / "README.md").read_text("utf-8")
    assert "terminal.svg" in (TOP / "docs" / "index.md").read_text("utf-8")

"""The recorded tour of the start page: a valid cast of the script, and an animation that is drawn from it."""

import re
import shlex
from xml.etree import ElementTree

import pytest

from docs.tour import __main__ as tour
from docs.tour.animation import screens
from docs.tour.recorder import read
from docs.tour.script import CONFIG, STEPS
from echod.client.command_definitions import parser
from echod.tap import Options

CAST = read((tour.FOLDER / tour.CAST).read_text("utf-8"))
PICTURE = (tour.FOLDER / tour.PICTURE).read_text("utf-8")
DOCS = tour.FOLDER.parent
COMMANDS = [command for step in STEPS for command in step.commands]
PROGRAMS = [part for command in COMMANDS for part in re.findall(r"\b(echoctl|echod) ([^|&>;]*)", command.line)]


def rows(screen):
    """The text of each row of a screen."""
    return ["".join(run.text for run in row) for row in screen.rows]


def test_the_cast_is_two_minutes_of_output():
    times = [at for at, _, _ in CAST.events]
    assert times == sorted(times)
    assert 60 < times[-1] <= 120
    assert {kind for _, kind, _ in CAST.events} == {"o"}


def test_the_cast_shows_every_caption_and_command_of_the_script_in_order():
    shown = [line for screen in screens(CAST) for line in rows(screen)]
    for step in STEPS:
        shown = shown[shown.index(f"$ # {step.caption}") :]
        for command in step.commands:
            at = next(number for number, line in enumerate(shown) if line.endswith(f"$ {command.line}"))
            shown = shown[at:]


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_each_command_exists(program, tmp_path, monkeypatch, capsys):
    name, words = program
    if name == "echoctl":
        parser().parse_args(shlex.split(words))
    else:
        parser().parse_args(["certificates", str(tmp_path / "pki")])
        config = re.sub(
            r"(?m)^\[services\.upper\.tls\]\n(.*\n){2}", "[services.upper.tls]\ncertificate = 'self-signed'\n", CONFIG
        )
        (tmp_path / "echod.toml").write_text(config)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as ended:
            Options().parseOptions([*shlex.split(words), "--check-config"])
        assert ended.value.code == 0
        assert "error" not in capsys.readouterr().err


@pytest.mark.slow
def test_the_picture_is_the_one_of_the_cast():
    assert tour.picture(CAST) == PICTURE


def test_the_picture_is_small_loads_nothing_and_can_be_still():
    assert len(PICTURE.encode()) < 400_000
    assert set(re.findall(r"https?://[^\"' )<]+w3[^\"' )<]+", PICTURE)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@font-face|@import|url\(|<image|<script", PICTURE)
    assert "@media(prefers-reduced-motion:reduce){.s{animation:none;" in PICTURE
    ElementTree.fromstring(PICTURE)


@pytest.mark.parametrize(("page", "folder"), [("index.md", "_static"), ("zh/index.md", "../_static")], ids=["en", "zh"])
def test_the_start_page_shows_the_picture_on_request(page, folder):
    text = (DOCS / page).read_text("utf-8")
    assert re.search(rf'<details class="tour">\n<summary>.+</summary>\n<img src="{folder}/tour.svg" alt="[^"]+"', text)
    assert f"({folder}/tour.cast)" in text

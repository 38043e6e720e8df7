"""docs/howto/: each page has its parts, and its commands print what the page has.

A `sh` block that begins with `echod` starts the daemon of the page, in the folder of the commands. Files that the page
shows are there. Other `sh` blocks need root or other machines, and are not run.
"""

from __future__ import annotations

import re
import shlex
import sys

import pytest

from tests.daemon import TOP, Daemon, free_port
from tests.system.test_lessons_page import PORT, SKIPPED, Shell, commands, shown

FOLDER = TOP / "docs" / "howto"
PAGES = {path.stem: path.read_text("utf-8") for path in FOLDER.glob("*.md") if path.stem != "index"}
WITH_TOOLS = {"behind-haproxy", "shared-chat"}  # tests/system_wide/test_howto_with_tools.py
RUN = [name for name in PAGES if name not in WITH_TOOLS]


@SKIPPED
@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
def test_the_commands_of_a_page_print_what_the_page_has(name):
    page = PAGES[name]
    ports = sorted(set(PORT.findall(page)))
    first = free_port(max(len(ports), 1))
    used = {port: str(first + number) for number, port in enumerate(ports)}

    def replaced(text: str) -> str:
        return PORT.sub(lambda port: used[port[0]], text)

    starts = re.findall(r"(?m)^```sh\n(echod .*)$", page)
    assert len(starts) <= 1
    daemon = Daemon(options=shlex.split(replaced(starts[0]))[1:] if starts else ())
    before, _, after = page.partition(f"```sh\n{starts[0]}\n") if starts else (page, "", "")
    for file, text in shown(page).items():
        (daemon.dir / file).write_text(replaced(text), "utf-8")
    program = daemon.dir / "echoctl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -W error -m echod.client.main "$@"\n')
    program.chmod(0o755)
    (daemon.dir / "echod").symlink_to(daemon.dir)  # $XDG_RUNTIME_DIR/echod has its Unix sockets
    shell = Shell(daemon.dir, used, XDG_RUNTIME_DIR=str(daemon.dir), HOME=str(daemon.dir))
    try:
        for command, output in commands(before):
            shell.type(command, output)
        if starts:
            with daemon:
                for command, output in commands(after):
                    shell.type(command, output)
    finally:
        shell.close()
        daemon.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_commands(name):
    assert commands(PAGES[name])


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_its_parts_in_one_look(name):
    page = PAGES[name]
    assert re.match(r"# [^\n]+\n\n\*\*Goal:\*\* ", page)
    assert re.search(r"(?m)^\*\*When it goes wrong", page)
    assert re.search(r"(?m)^\*\*Links:\*\* ", page)
    assert len(page.splitlines()) <= 60


def test_the_index_links_to_every_page():
    index = (FOLDER / "index.md").read_text("utf-8")
    assert sorted(re.findall(r"\]\(([\w-]+)\.md\)", index)) == sorted(PAGES)

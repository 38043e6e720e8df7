"""The conversations of docs/SERVICES.md, replayed: several people at their terminals, each with nc."""

import re
import subprocess

import pytest

from echod.testing.output import Output
from tests.daemon import TOP, Daemon, environment, eventually
from tests.system_wide.others import tool

pytestmark = pytest.mark.needs_tools

PAGE = (TOP / "docs" / "SERVICES.md").read_text("utf-8")
CONVERSATIONS = re.findall(r"(?ms)^```conversation\n(.*?)^```$", PAGE)


class Person:
    """A person with a terminal."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert self.process.stdout is not None
        self.screen = Output(self.process.stdout)
        self.expected: list[str] = []

    def type(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def sees(self, text: str) -> None:
        """The next line on the screen must be this one."""
        self.expected.append(text)
        assert eventually(lambda: len(self.screen.text) >= len(self.expected)), (self.screen.text, self.expected)
        assert self.screen.text[: len(self.expected)] == self.expected

    def leave(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.screen.close()


def replay(conversation: str, daemon: Daemon, people: dict[str, Person]) -> None:
    """Replay every line of a conversation of the page; `people` are the participants so far."""
    for line in conversation.splitlines():
        name, mark, text = line[:6].strip(), line[6:8].strip(), line[8:]
        if mark == "$":
            people[name] = Person(words(text, daemon))
        elif mark == ">":
            people[name].type(text)
        else:
            people[name].sees(text)


def words(command: str, daemon: Daemon) -> list[str]:
    """A command of the page, with the addresses of the daemon of the test."""
    program, *rest = command.split()
    assert program == "nc"
    if rest[0] == "-U":
        return [tool("nc.openbsd"), "-U", str(daemon.place("chat", "unix"))]
    host, port = daemon.inet("chat", "udp" if "-u" in rest else "tcp")
    return [tool("nc.openbsd"), *rest[:-2], host, str(port)]


def test_the_page_has_a_conversation():
    assert CONVERSATIONS


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_a_conversation_of_the_page_happens_as_documented(conversation):
    said = re.findall(r"--listen (\w+=\S+)", PAGE)
    listen = [re.sub(r":\d+$", ":0", one).replace("/tmp/", "{dir}/").strip("`:") for one in said]
    listen = [re.sub(r"(127\.0\.0\.1).*", r"\1:0", one) for one in listen]
    with Daemon(listen=listen) as daemon:
        people: dict[str, Person] = {}
        try:
            replay(conversation, daemon, people)
            assert len(people) == 3
            for one in people.values():
                assert one.screen.text == one.expected, "the screen has more lines than the page"
        finally:
            for one in people.values():
                one.leave()
        daemon.check()

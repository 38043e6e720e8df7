"""The course, docs/course/ and docs/zh/course/: the programs are those of examples/lessons/, and the commands print
what the pages have.

In a `console` block, `…` stands for a part of a line that differs from run to run.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from echod.client.lessons.address_families import has_ipv6_loopback
from echod.config.loading import load
from echod.services.registry import kinds
from tests.daemon import SECONDS, TOP, Daemon, environment, eventually, free_port, run


def shipped_programs(folder: Path) -> dict[str, str]:
    """The programs of the lessons, by name. In a checkout, the learner's own files beside them are left out."""
    with suppress(FileNotFoundError):  # git is not installed
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=folder, check=False, capture_output=True, text=True)
        names = listed.stdout.split("\0")[:-1]
        if listed.returncode == 0 and names:
            return {name: (folder / name).read_text("utf-8") for name in names if (folder / name).exists()}
    return {path.name: path.read_text("utf-8") for path in folder.iterdir() if path.suffix in (".py", ".toml")}


DOCS = TOP / "docs"
PROGRAMS = shipped_programs(TOP / "examples" / "lessons")
SHIPPED = (TOP / "etc" / "echod.toml").read_text("utf-8")
NAMES = (
    *("socket", "stream-and-datagram", "life-of-a-connection", "many-clients", "half-close"),
    *("operator-and-chat", "websocket", "tls", "families-and-types", "reliable-or-fast"),
)
INDEX = (DOCS / "course" / "index.md").read_text("utf-8")
PAGES = {str(path.relative_to(DOCS)): path.read_text("utf-8") for path in (DOCS / "course").glob("*.md")}
LESSONS = [f"course/{name}.md" for name in NAMES if f"course/{name}.md" in PAGES]
SERVED = sorted(set(re.findall(r"127\.0\.0\.1:(\d+)", SHIPPED)))
PORT = re.compile(rf"\b(?:{'|'.join(SERVED)}|90\d\d)\b")
SKIPPED = pytest.mark.skipif(shutil.which("bash") is None, reason="the commands are for bash")


def commands(page: str) -> list[tuple[str, str]]:
    """The commands of a page, with their output."""
    sessions = "".join(re.findall(r"(?ms)^```console\n(.*?)^```$", page))
    parts = (part.partition("\n") for part in re.split(r"(?m)^\$ ", sessions)[1:])
    return [(command, lines(output)) for command, _, output in parts]


def shown(page: str) -> dict[str, str]:
    """The programs that a page shows."""
    return dict(re.findall(r"(?ms)^`([\w.-]+\.\w+)`[:：]\n\n```\w+\n(.*?)^```$", page))


def lines(text: str) -> str:
    """The text without empty lines and blanks at the end."""
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())


def form_of(expected: str) -> re.Pattern[str]:
    """The form of an output of the page."""
    return re.compile(".*".join(re.escape(part) for part in expected.split("…")))


class Shell:
    """A shell whose background programs print to the same output, as in a terminal."""

    def __init__(self, folder: Path, ports: dict[str, str], **environ: str) -> None:
        self._ports = ports
        found = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._process = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=environment(PATH=found, PYTHONUNBUFFERED="1", **environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        os.set_blocking(self._process.stdout.fileno(), False)
        self._printed = ""

    def type(self, command: str, expected: str) -> None:
        """Run a command, and read until it has ended and the expected output has arrived; AssertionError otherwise."""
        self._printed = ""
        form = form_of(expected)
        command = PORT.sub(lambda port: self._ports[port[0]], command)
        self._process.stdin.write(f"{command}\necho; echo ended\n".encode())
        self._process.stdin.flush()
        if not eventually(lambda: self._read() and form.fullmatch(self.text) is not None):
            assert self.text == expected, command

    def _read(self) -> bool:
        """Read what has been printed; whether the command has ended."""
        if data := self._process.stdout.read():
            self._printed += data.decode()
        return "\nended\n" in self._printed

    @property
    def text(self) -> str:
        """The printed text, with the ports of the page."""
        printed = lines(self._printed.replace("\nended\n", "\n"))
        shown = {used: port for port, used in self._ports.items()}
        return re.sub(r"\b\d{4,5}\b", lambda number: shown.get(number[0], number[0]), printed)

    def close(self) -> None:
        """End the shell and its background programs."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate(timeout=SECONDS)


def has_namespaces() -> bool:
    """Whether an ordinary user may make a network namespace, and bring its loopback up."""
    found = shutil.which("unshare") and shutil.which("ip")
    return found is not None and run("unshare", "-rn", "ip", "link", "set", "lo", "up").returncode == 0


@pytest.fixture
def shell(request, tmp_path) -> Iterator[Shell]:
    """A shell in a copy of examples/lessons/, and a daemon that serves etc/echod.toml; both on free ports."""
    page = PAGES[request.param]
    if re.search(r"\bss -", "".join(command for command, _ in commands(page))) and shutil.which("ss") is None:
        pytest.skip("the page uses ss of iproute2")
    if "::1" in page and not has_ipv6_loopback():
        pytest.skip("the page uses ::1, which this machine does not have")
    ports = sorted(set(PORT.findall(page + SHIPPED)))
    first = free_port(len(ports))
    used = {port: str(first + number) for number, port in enumerate(ports)}
    served = re.sub(r"(127\.0\.0\.1):(\d+)", lambda found: f"{found[1]}:{used[found[2]]}", SHIPPED)
    for name, text in PROGRAMS.items():
        if name.endswith(".toml"):
            text = PORT.sub(lambda port: used.get(port[0], port[0]), text)
        (tmp_path / name).write_text(text, "utf-8")
    program = tmp_path / "echoctl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -W error -m echod.client.main "$@"\n')
    program.chmod(0o755)
    with Daemon(served) as daemon:
        (tmp_path / "echod").symlink_to(daemon.dir)  # $XDG_RUNTIME_DIR/echod has its Unix sockets
        made = Shell(tmp_path, used, XDG_RUNTIME_DIR=str(tmp_path), HOME=str(tmp_path))
        try:
            yield made
        finally:
            made.close()
        daemon.check()


@SKIPPED
@pytest.mark.parametrize("shell", sorted(name for name, page in PAGES.items() if commands(page)), indirect=True)
def test_the_commands_of_a_page_print_what_the_page_has(shell, request):
    for command, output in commands(PAGES[request.node.callspec.params["shell"]]):
        if command.startswith("ss ") and shutil.which("ss") is None:
            continue  # iproute2 is not installed
        if command.startswith("unshare ") and not has_namespaces():
            continue  # user namespaces are not permitted, or iproute2 is not installed
        shell.type(command, output)


@pytest.mark.parametrize("program", ["stop_and_wait", "any_reply"])
def test_the_last_lesson_has_what_its_clients_print_if_a_reply_is_late(program, tmp_path):
    """The reply to 3 comes only after its request was sent again, as on a busy machine."""
    text = PROGRAMS["stop_and_wait.py"]
    text = text.replace(" != number", " < 0") if program == "any_reply" else text
    (tmp_path / "client.py").write_text(text)
    [expected] = [out for words, out in commands(PAGES["course/reliable-or-fast.md"]) if f" {program}.py 1" in words]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(SECONDS)
        words = [sys.executable, str(tmp_path / "client.py"), str(server.getsockname()[1])]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as client:
            numbers = []
            while numbers.count(b"19") == 0:
                number, name = server.recvfrom(100)
                numbers.append(number)
                late = number == b"3" and numbers.count(number) <= 2
                for _ in range(2 * (numbers.count(number) - 1) if late else 1):
                    server.sendto(number, name)
            assert form_of(expected).fullmatch(lines(client.communicate(timeout=SECONDS)[0]))


def test_files_that_a_learner_has_written_are_no_programs_of_the_pages(tmp_path):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    for name in ("shipped.py", "my_client.py"):
        (tmp_path / name).write_text(name)
    assert shipped_programs(tmp_path).keys() == {"shipped.py", "my_client.py"}
    for words in (("init", "--quiet"), ("add", "shipped.py")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    assert shipped_programs(tmp_path) == {"shipped.py": "shipped.py"}


def test_the_pages_have_each_program_as_it_is_once_and_run_it():
    programs = [program for page in PAGES.values() for program in shown(page).items()]
    assert sorted(programs) == sorted(PROGRAMS.items())
    typed = "\n".join(command for page in PAGES.values() for command, _ in commands(page))
    assert not [name for name in PROGRAMS if name not in typed]


@pytest.mark.parametrize("name", PAGES)
def test_the_chinese_page_has_the_same_programs_commands_and_pictures(name):
    chinese = (DOCS / "zh" / name).read_text("utf-8")
    assert commands(chinese) == commands(PAGES[name])
    assert list(shown(chinese)) == list(shown(PAGES[name]))
    for part in (r"(?ms)^```\w+\n.*?^```$", r"(?m)^#+ (\d+)\.", r"\(([\w-]+\.svg)\)", r"(?m)^\| (\d{5}) \| (\S+) \|"):
        if "index" not in name:
            assert re.findall(part, chinese) == re.findall(part, PAGES[name])
    assert len(re.findall(r"(?m)^##+ ", chinese)) == len(re.findall(r"(?m)^##+ ", PAGES[name]))


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_has_its_goal_a_picture_and_the_next_page(name):
    number = NAMES.index(Path(name).stem) + 1
    english, chinese = PAGES[name], (DOCS / "zh" / name).read_text("utf-8")
    for page, goal, last in ((english, "**Goal:**", "Next"), (chinese, "**目标：**", "接下来")):
        assert page.startswith(f"# {number}. ")
        assert page.count(goal) == 1
        assert re.search(r"!\[[^\]]+\]\([\w-]+\.svg\)", page)
        assert re.findall(r"(?m)^## (.*)$", page)[-1] == last


def test_the_index_of_the_course_lists_every_lesson_in_order():
    for index in (INDEX, (DOCS / "zh" / "course" / "index.md").read_text("utf-8")):
        linked = re.findall(r"(?m)^\| \d+ \| \[[^\]]+\]\(([\w-]+)\.md\)", index)
        assert linked == [Path(name).stem for name in LESSONS]
        assert re.findall(r"(?ms)^```\{toctree\}\n.*?^\n(.*?)^```$", index) == ["".join(f"{name}\n" for name in linked)]


def test_the_ports_of_the_index_are_those_of_the_shipped_configuration():
    rows = re.findall(r"(?m)^\| (\d{5}) \| `?(\w+)`? \|", INDEX)
    services = load(TOP / "etc" / "echod.toml", kinds(plugins=()), {}).services
    labels = {(service.kind.kind, address.label) for service in services for address in service.listen}
    assert rows
    for port, name in rows:
        expected = ("echo", f"ws://127.0.0.1:{port}/echo") if name == "WebSocket" else (name, f"tcp://127.0.0.1:{port}")
        assert expected in labels

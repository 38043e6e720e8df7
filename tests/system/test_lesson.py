"""`echoctl lesson` as a process: the list, the verdict, hints, progress, and its end."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from echod.client.lessons.texts import language_of
from tests.daemon import ECHOCTL, SECONDS, TOP, environment, free_port, run
from tests.fork_server import Popen

SOLUTION = TOP / "examples" / "lesson_solutions" / "lesson_1.py"
SLEEPER = "import os, time; print(os.getpid(), flush=True); time.sleep(99)"
WRONG = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1]))).sendall(b'\\x1b[2J')"


def english(**more: str) -> dict[str, str]:
    """The environment of the tests, with another locale only if theirs is Chinese: then no process can be forked."""
    return environment(**more, **({} if language_of(os.environ) == "en" else {"LC_ALL": "C.UTF-8"}))


@pytest.fixture
def lesson(tmp_path):
    """Runs the command with a progress of its own."""

    def call(*words, **variables):
        return run(*ECHOCTL, "lesson", *words, env=english(XDG_STATE_HOME=str(tmp_path), **variables))

    return call


def test_the_list_the_verdict_and_the_progress(lesson):
    ended = lesson("1", "--", sys.executable, SOLUTION)
    assert ended.returncode == 0, ended
    lines = ended.stdout.decode().splitlines()
    assert lines[0] == "Lesson 1: A socket and its five parts"
    assert lines[-3:] == ["| ANNA", "passed", "next: echoctl lesson 2"]
    listed = lesson().stdout.decode().splitlines()
    assert listed[0].split() == ["Lesson", "Title", "Exercise", "Page", "Passed"]
    assert [line.split()[-1] for line in listed[1:-1]] == ["yes", *["no"] * 9]
    found = json.loads(lesson("--list", "--json", "--language", "zh").stdout)["lessons"]
    assert found[0] == {
        "lesson": 1,
        "title": "什么是套接字",
        "goal": "发送您的名字，并打印回复",
        "page": "docs/zh/course/socket.md",
        "passed": True,
        "attempts": 1,
    }
    assert lesson("--reset").stdout == b"the progress is removed\n"
    assert not json.loads(lesson("--json").stdout)["lessons"][0]["passed"]


def test_a_failure_gives_the_next_hint_and_escapes_what_arrived(lesson):
    ended = lesson("1", "--", sys.executable, "-S", "-c", WRONG)
    assert ended.returncode == 1
    *_, wrong, hint = ended.stdout.decode().splitlines()
    assert wrong.startswith(r"not passed: your program sent \x1b[2J, and ended the connection before")
    assert hint.startswith("hint 1 of 3: ")
    assert lesson("1", "--hint").stdout.startswith(b"hint 2 of 3: ")
    ended = lesson("1", "--json", "--language", "zh", "--", sys.executable, "-S", "-c", WRONG)
    assert ended.returncode == 1
    assert ended.stderr.decode().startswith("第 1 课：什么是套接字\n")
    found = json.loads(ended.stdout)
    assert not found["passed"]
    assert found["wrong"].startswith(r"您的程序发送了 \x1b[2J，")
    assert found["hint"].startswith("提示 3/3：")


def test_a_hint_that_is_shown_during_an_attempt_is_kept(lesson):
    hints = f"import subprocess; subprocess.run([*{ECHOCTL!r}, 'lesson', '2', '--hint'])"
    assert b"hint 1 of 3" in lesson("1", "--", sys.executable, "-c", hints).stdout
    assert lesson("2", "--hint").stdout.startswith(b"hint 2 of 3: ")


@pytest.mark.parametrize(
    ("mode", "language", "said"),
    [
        (0o644, "en", "cannot run {path}: Permission denied"),
        (None, "en", "cannot run {path}: No such file or directory"),
        (None, "zh", "无法运行 {path}：No such file or directory"),
    ],
    ids=["mode", "en", "zh"],
)
def test_a_command_that_cannot_run_is_one_line_and_uses_up_no_hint(lesson, tmp_path, mode, language, said):
    program = tmp_path / "my_client.py"
    if mode is not None:
        program.write_text("")
        program.chmod(mode)
    ended = lesson("1", "--language", language, "--", program)
    assert ended.returncode == 1
    assert ended.stderr.decode() == f"echoctl: {said.format(path=program)}\n"
    assert len(ended.stdout.decode().splitlines()) == 3  # the title, the task and the page
    assert json.loads(lesson("--json").stdout)["lessons"][0]["attempts"] == 0
    assert lesson("1", "--hint").stdout.startswith(b"hint 1 of 3: ")


def test_a_progress_that_cannot_be_used_is_one_line_and_the_lesson_continues(lesson, tmp_path):
    (tmp_path / "echod").write_text("")
    ended = lesson("1", "--", sys.executable, SOLUTION)
    assert ended.returncode == 0
    lines = ended.stderr.decode().splitlines()
    file = f"{tmp_path}/echod/lessons.json"
    assert lines == [
        f"echoctl: {file}: not a directory (ENOTDIR)",
        f"echoctl: {file}: file exists (EEXIST)",
    ]


def test_the_columns_are_aligned_in_chinese(lesson):
    from rich.cells import cell_len

    lines = lesson("--language", "zh").stdout.decode().splitlines()
    assert len(lines) == 12
    assert len({cell_len(line.rpartition(" ")[0]) for line in lines[1:-1]}) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("11",), 'N: "11" is not a lesson; expected a number from 1 to 10'),
        (("one",), 'N: "one" is not a lesson; expected a number from 1 to 10'),
        (("--hint",), "--hint needs the number of a lesson"),
        (("--list", "--reset"), "--reset: not allowed with argument --list"),
        (("--reset", "1"), "--reset takes no number of a lesson"),
        (("1", "--port", "0"), '--port: "0" is not a port; expected a number from 1 to 65535'),
        (("1", "--hint", "--", "python3"), "COMMAND is for an attempt at one lesson"),
        (("1", "--language", "fr"), '--language: "fr" must be one of: en, zh'),
    ],
    ids=range(8),
)
def test_usage_errors(lesson, words, said):
    ended = lesson(*words)
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert ended.stderr.decode() == f"echoctl lesson: {said}; see echoctl lesson --help\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda one: one.name)
def test_a_signal_ends_the_program_and_frees_the_port(tmp_path, number):
    port = free_port()
    command = [*ECHOCTL, "lesson", "1", "--port", str(port), "--", sys.executable, "-S", "-c", SLEEPER]
    process = Popen(
        command, env=environment(XDG_STATE_HOME=str(tmp_path)), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        sleeper = next(line for line in process.stdout if line.startswith(b"| "))
        process.send_signal(number)
        assert process.wait(SECONDS) == 130
        assert process.stderr.read() == b""
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
    with pytest.raises(ProcessLookupError):
        os.kill(int(sleeper[2:]), 0)


def test_a_port_that_is_taken_is_one_line(lesson):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = lesson("1", "--port", str(port))
    assert ended.returncode == 1
    assert ended.stderr.decode() == f"echoctl: port {port}: address already in use (EADDRINUSE)\n"


def test_a_list_that_cannot_be_printed(tmp_path):
    with open("/dev/full", "wb") as full:
        ended = run(*ECHOCTL, "lesson", stdout=full, env=environment(XDG_STATE_HOME=str(tmp_path)))
    assert ended.stderr == b"echoctl: standard output: no space left on device (ENOSPC)\n"
    assert ended.returncode == 1

"""`echoctl lesson`: the exercises of the course. Each judges what a program really sends and receives."""

from __future__ import annotations

import argparse
import json
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from echod.client.lessons import progress
from echod.client.lessons.attempt_run import AttemptRun
from echod.client.lessons.catalogue import EXERCISES
from echod.client.lessons.exercise import Exercise
from echod.client.lessons.progress import Record, Unusable
from echod.client.lessons.texts import Language, Statement, Text, language_of
from echod.client.stdout import INTERRUPTED, fail, put_text
from echod.client.tables import columns, fitted, screen, wrapped
from echod.escaping import clipped, system_error
from echod.stdio import report

WITH_COMMAND, BY_HAND = 60.0, 600.0  #: seconds of an attempt
SHOWN: Final = 500  #: characters of a line of a program's output

HEADINGS: Final = (
    Text("Lesson", "课"),
    Text("Title", "标题"),
    Text("Exercise", "练习"),
    Text("Page", "页面"),
    Text("Passed", "通过"),
)
YES, NO = Text("yes", "是"), Text("no", "否")
TITLE: Final = Text("Lesson {number}: {title}", "第 {number} 课：{title}")
PAGES: Final = Text("the pages are in {folder}", "页面在 {folder} 中")
PAGE: Final = Text("page: {page}", "页面：{page}")
PASSED: Final = Text("passed", "通过")
FAILED: Final = Text("not passed: {wrong}", "未通过：{wrong}")
HINT: Final = Text("hint {number} of {all}: {hint}", "提示 {number}/{all}：{hint}")
NEXT: Final = Text("next: echoctl lesson {number}", "下一课：echoctl lesson {number}")
OUTPUT_UNCHECKED: Final = Text(
    "the output of your program was not checked; add its command: echoctl lesson {number} -- COMMAND",
    "没有检查您的程序的输出；可以加上运行它的命令：echoctl lesson {number} -- COMMAND",
)
RESET: Final = Text("the progress is removed", "进度已清除")


class Lesson:
    """Prints the list or a hint, or runs one attempt at an exercise."""

    def __init__(self, reactor: Any, arguments: argparse.Namespace, finish: Callable[[int], None]) -> None:
        self._arguments, self._finish = arguments, finish
        self._language: Language = arguments.language or language_of(os.environ)
        self._path = progress.path_of(os.environ)
        self._run: AttemptRun | None = None
        code: int | None = 0
        if arguments.reset:
            code = self._reset()
        else:
            self._records = self._read()
            if arguments.number is None:
                self._list()
            elif arguments.hint:
                self._print_hint()
            else:
                code = self._begin(reactor, EXERCISES[arguments.number - 1])
        if code is not None:
            reactor.callLater(0, finish, code)

    def interrupted(self) -> int:
        """End the attempt, the program and its sockets."""
        if self._run is not None:
            self._run.stop()
        return INTERRUPTED

    def _say(self, text: str) -> None:
        """Print a line; with --json on standard error."""
        if self._arguments.json:
            report(text)
        else:
            put_text(f"{text}\n")

    def _tell(self, text: Text, **values: object) -> None:
        self._say(text.of(self._language, **values))

    def _object(self, found: Mapping[str, object]) -> None:
        if self._arguments.json:
            put_text(f"{json.dumps(found)}\n")

    # progress

    def _read(self) -> dict[int, Record]:
        try:
            return progress.read(self._path, len(EXERCISES))
        except Unusable as error:
            fail(str(error))
            return progress.new(len(EXERCISES))

    def _write(self) -> None:
        try:
            progress.write(self._path, self._records)
        except Unusable as error:
            fail(str(error))

    def _reset(self) -> int:
        try:
            progress.remove(self._path)
        except Unusable as error:
            fail(str(error))
            return 1
        self._tell(RESET)
        self._object({"reset": True})
        return 0

    # the list

    def _list(self) -> None:
        language = self._language
        if self._arguments.json:
            self._object({"lessons": [self._described(one) for one in EXERCISES]})
            return
        rows = [
            (
                str(one.number),
                one.title.of(language),
                one.goal.of(language),
                f"{one.page}.md",
                (YES if self._records[one.number].passed else NO).of(language),
            )
            for one in EXERCISES
        ]
        headings = [one.of(language) for one in HEADINGS]
        console = screen("never")
        with console.capture() as captured:
            console.print(fitted(headings, rows, console.width))
        for line in captured.get().splitlines():
            self._say(line.rstrip())
        self._tell(PAGES, folder=self._folder)

    def _described(self, exercise: Exercise) -> dict[str, object]:
        language, record = self._language, self._records[exercise.number]
        return {
            "lesson": exercise.number,
            "title": exercise.title.of(language),
            "goal": exercise.goal.of(language),
            "page": self._page(exercise),
            "passed": record.passed,
            "attempts": record.attempts,
        }

    @property
    def _folder(self) -> str:
        return "docs/zh/course" if self._language == "zh" else "docs/course"

    def _page(self, exercise: Exercise) -> str:
        return f"{self._folder}/{exercise.page}.md"

    # hints

    def _next_hint(self, exercise: Exercise) -> str:
        """The next hint; after the last one, the last one again."""
        record = self._records[exercise.number]
        at = min(record.hints, len(exercise.hints) - 1)
        record.hints = at + 1
        first, *program = exercise.hints[at].of(self._language).split("\n")
        head = HINT.of(self._language, number=at + 1, all=len(exercise.hints), hint=first)
        return "\n".join([head, *program])

    def _print_hint(self) -> None:
        exercise = EXERCISES[self._arguments.number - 1]
        hint = self._next_hint(exercise)
        self._write()
        if self._arguments.json:
            self._object({"lesson": exercise.number, "hint": hint})
        else:
            self._say(hint)

    # the attempt

    def _begin(self, reactor: Any, exercise: Exercise) -> int | None:
        """Start the attempt. Returns the exit code if it cannot start."""
        arguments = self._arguments
        self._tell(TITLE, number=exercise.number, title=exercise.title.of(self._language))
        for part in wrapped(exercise.task.of(self._language), columns()):
            self._say(part)
        self._tell(PAGE, page=self._page(exercise))
        try:
            self._run = AttemptRun(
                reactor,
                exercise,
                command=arguments.program,
                port=arguments.port,
                seconds=arguments.timeout or (WITH_COMMAND if arguments.program else BY_HAND),
                note=lambda statement: self._say(statement.of(self._language)),
                line=self._show_line,
                over=lambda wrong: self._over(exercise, wrong),
            )
        except OSError as error:
            where = f"lesson {exercise.number}" if arguments.port is None else f"port {arguments.port}"
            fail(f"{where}: {system_error(error)}")
            return 1
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # the program has a process group of its own
            signal.signal(signal.SIGHUP, lambda _number, _frame: reactor.callFromThread(self._hang_up))
        return None

    def _hang_up(self) -> None:
        """The terminal is closed."""
        self._finish(self.interrupted())

    def _show_line(self, data: bytes) -> None:
        text = data.removesuffix(b"\r").decode("utf-8", "surrogateescape")
        self._say(f"| {clipped(text, SHOWN)}")

    def _over(self, exercise: Exercise, wrong: Statement | None) -> None:
        """Print and store the verdict. Another terminal may have shown hints since the start of the attempt."""
        language = self._language
        if wrong is not None and self._run is not None and not self._run.has_run:
            fail(wrong.of(language))
            self._finish(1)
            return
        with suppress(Unusable):  # reported at the start
            self._records = progress.read(self._path, len(EXERCISES))
        record = self._records[exercise.number]
        record.attempts = min(record.attempts + 1, progress.MOST)
        record.passed = record.passed or wrong is None
        hint = None
        if wrong is None:
            self._tell(PASSED)
            if not self._arguments.program and not exercise.learner_serves:
                self._tell(OUTPUT_UNCHECKED, number=exercise.number)
            if exercise.number < len(EXERCISES):
                self._tell(NEXT, number=exercise.number + 1)
        else:
            hint = self._next_hint(exercise)
            self._tell(FAILED, wrong=wrong.of(language))
            self._say(hint)
        self._write()
        self._object(
            {
                "lesson": exercise.number,
                "passed": wrong is None,
                "wrong": None if wrong is None else wrong.of(language),
                "hint": hint,
            }
        )
        self._finish(0 if wrong is None else 1)


COMMAND = Lesson

"""One attempt at an exercise: opens its sockets, runs the program of the learner if given, and takes the verdict."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, Final

from echod.client.lessons.exercise import Exercise
from echod.client.lessons.judge import Judge
from echod.client.lessons.program import Program, command_line
from echod.client.lessons.sockets import FIRST_PORT, Sockets
from echod.client.lessons.texts import Statement, Text

SETTLED: Final = 0.5  #: seconds after the end of the program, in which its last bytes arrive
LEAVES: Final = 5.0  #: seconds that a client that has passed has until its end
REPORTS: Final = 0.5  #: seconds that a program that has failed has to print its traceback, before it is ended

AT_PORT: Final = Text("waiting for your client at 127.0.0.1 port {port}", "等待您的客户端连接 127.0.0.1 的端口 {port}")
WITH_ARGUMENTS: Final = Text(
    "waiting for your client with the arguments: {arguments}", "等待您的客户端连接，它的参数：{arguments}"
)
START: Final = Text("start your server at 127.0.0.1 port {port}", "请在 127.0.0.1 的端口 {port} 上启动您的服务器")
RUN_AGAIN: Final = Text("right so far; run your program once more", "到目前为止都对；请再运行一次您的程序")
RUNS_AGAIN: Final = Text("right so far; your program runs once more", "到目前为止都对；再次运行您的程序")
TOO_LATE: Final = Text("no result within {seconds} s: {missing}", "{seconds} 秒之内没有结果：{missing}")
ENDED: Final = Text(
    "your program has ended with exit code {code}: {missing}", "您的程序已结束，退出码 {code}：{missing}"
)
CRASHED: Final = Text(
    "your program sent and received what was expected, but its exit code is {code}; expected 0",
    "您的程序收发的内容都对，但退出码是 {code}；应当是 0",
)
STAYS: Final = Text(
    "your program sent and received what was expected, but does not end; expected its end within {seconds} s",
    "您的程序收发的内容都对，但没有结束；应当在 {seconds} 秒之内结束",
)
NOT_STARTED: Final = Text("cannot run {command}: {error}", "无法运行 {command}：{error}")


class AttemptRun:
    """Runs one attempt, and calls `over` once, with None if the program has passed, otherwise with what was wrong.

    `note` gets what happens meanwhile, and `line` each line of the program's output. `seconds` is the time limit.
    Raises OSError if a socket cannot be opened; then nothing is left open.
    """

    def __init__(
        self,
        reactor: Any,
        exercise: Exercise,
        *,
        command: Sequence[str],
        port: int | None,
        seconds: float,
        note: Callable[[Statement], None],
        line: Callable[[bytes], None],
        over: Callable[[Statement | None], None],
    ) -> None:
        self.has_program = bool(command)
        self.port = self._own_port(exercise, port)
        self.directory = tempfile.mkdtemp(prefix="echoctl-lesson-")
        self._reactor, self._exercise, self._command = reactor, exercise, command
        self._note, self._line, self._over = note, line, over
        self._seconds = seconds
        self._program: Program | None = None
        self._earlier = ""  # the output of earlier runs
        self._timers: set[Any] = set()
        self._verdict: list[Statement | None] = []  # the first one, as soon as it is known
        self._runs_again = self._restarts = False  # the program starts again when it has ended
        self._when_restarted: Callable[[], None] = lambda: None
        self._ended = False
        self.has_run = True  #: whether the command could be run; otherwise nothing was judged
        self._sockets = Sockets(reactor, self, exercise.number, port)
        self._attempt: Judge = exercise.begin(self, self._sockets)
        try:
            self._values = {"port": str(self.port), **self._attempt.start()}
        except BaseException:
            self._close()
            raise
        self._announce()
        self.later(seconds, self._too_late)
        if command:
            self._start_program()

    def _own_port(self, exercise: Exercise, port: int | None) -> int:
        """The port of a server of the learner: the one asked for, that of the lesson, or for a command a free one."""
        if port:
            return port
        if not (self.has_program and exercise.learner_serves):
            return FIRST_PORT + exercise.number
        with socket.create_server(("127.0.0.1", 0)) as free:
            number: int = free.getsockname()[1]
        return number

    # for the attempt

    @property
    def output(self) -> str:
        """As Stage: of all runs of the program."""
        return self._earlier + ("" if self._program is None else self._program.output)

    def passed(self) -> None:
        """As Stage."""
        self._decide(None)

    def failed(self, text: Text, **values: object) -> None:
        """As Stage."""
        self._decide(Statement(text, values))

    def note(self, text: Text, **values: object) -> None:
        """As Stage."""
        if not self._verdict:
            self._note(Statement(text, values))

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """As Stage."""

        def due() -> None:
            self._timers.discard(timer)
            call()

        if not self._ended:
            timer = self._reactor.callLater(seconds, due)
            self._timers.add(timer)

    def next_run(self) -> None:
        """As Stage."""
        if self._verdict:
            return
        if self._program is None:
            self.note(RUN_AGAIN)
            self._attempt.run_begins()
            return
        self._runs_again = True
        if self._program.code is not None:
            self._program_ended(self._program.code)

    def restart(self, ended: Callable[[], None]) -> None:
        """Start the program again after its end, and then call `ended`. A learner without a command does it."""
        if self._verdict:
            return
        self._when_restarted = ended
        if self._program is None:
            self._begin_restart()
            return
        self._restarts = True
        if self._program.code is not None:
            self._program_ended(self._program.code)

    # inside

    def _announce(self) -> None:
        if self._command:
            return
        names = self._exercise.arguments
        if self._exercise.learner_serves:
            self.note(START, port=self._values["port"])
        elif len(names) == 1:
            self.note(AT_PORT, port=self._values["port"])
        else:
            self.note(WITH_ARGUMENTS, arguments=" ".join(self._values[name] for name in names))

    def _start_program(self) -> None:
        command = command_line(self._command, self._exercise.arguments, self._values)
        self._earlier = self.output
        try:
            self._program = Program(self._reactor, command, self._line, self._program_ended)
        except (OSError, ValueError) as error:  # ValueError: a NUL in a word
            reason = getattr(error, "strerror", None) or str(error)
            self.has_run = False
            self.failed(NOT_STARTED, command=command[0], error=reason)

    def _start_again(self) -> None:
        self._runs_again = False
        self.note(RUNS_AGAIN)
        self._attempt.run_begins()
        self._start_program()

    def _begin_restart(self) -> None:
        self._restarts = False
        if self._program is not None:
            self._start_program()
        self._when_restarted()

    def _program_ended(self, code: int) -> None:
        if self._verdict:
            self._finish()
        elif code and not self._attempt.may_crash and (self._runs_again or self._restarts):
            self.failed(CRASHED, code=code)
        elif self._runs_again:
            self._start_again()
        elif self._restarts:
            self._begin_restart()
        else:
            self.later(SETTLED, lambda: self._ended_without_verdict(code))

    def _ended_without_verdict(self, code: int) -> None:
        program = self._program
        if not self._verdict and program is not None and program.code is not None:  # it was not started again
            missing = self._attempt.missing()
            self._decide(Statement(ENDED, {"code": code, "missing": missing}))

    def _too_late(self) -> None:
        self._decide(Statement(TOO_LATE, {"seconds": f"{self._seconds:g}", "missing": self._attempt.missing()}))

    def _decide(self, wrong: Statement | None) -> None:
        """Take the first verdict. A program is given time to end, or is ended; its output is complete then."""
        if self._verdict:
            return
        self._verdict.append(wrong)
        program = self._program
        if program is None or program.code is not None:
            self.later(0, self._finish)  # not within a call of a session
        elif wrong is not None:
            self.later(REPORTS, program.terminate)
        elif self._exercise.learner_serves:
            program.terminate()
        else:
            self.later(LEAVES, self._stays)

    def _stays(self) -> None:
        if self._program is not None and self._program.code is None:
            self._verdict[:] = [Statement(STAYS, {"seconds": f"{LEAVES:g}"})]
            self._program.terminate()

    def _finish(self) -> None:
        if self._ended:
            return
        [wrong] = self._verdict
        program = self._program
        if wrong is None and program is not None and program.code is not None:
            if program.code and not self._exercise.learner_serves and not self._attempt.may_crash:
                wrong = Statement(CRASHED, {"code": program.code})
            else:
                wrong = self._attempt.printed(self.output)
        self._close()
        self._over(wrong)

    def stop(self) -> None:
        """End the attempt and the program, without a verdict."""
        if not self._ended:
            self._close()

    def _close(self) -> None:
        self._ended = True
        if self._program is not None:
            self._program.kill()
        self._sockets.close()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        shutil.rmtree(self.directory, ignore_errors=True)

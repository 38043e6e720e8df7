"""Exercise 6: a chat bot that answers lines, in any pieces."""

from __future__ import annotations

from functools import partial
from typing import Final, NamedTuple

from echod.client.lessons.exercise import Exercise
from echod.client.lessons.judge import TcpServer
from echod.client.lessons.sockets import Connection
from echod.client.lessons.texts import Statement, Text, shown
from echod.model import NOTHING, PLAIN, Arrival, End, Reply, Say

BETWEEN: Final = 0.05  #: seconds between two pieces of a line
WAITS: Final = 5.0  #: seconds for the answers
QUIET: Final = 0.5  #: seconds without an answer to lines that have none
LONGEST: Final = 4_096  #: bytes of the answers

NO_ANSWER: Final = Text(
    "no answer within {seconds} s to {what}: {sent} was sent, {received} arrived; expected {expected}",
    "{seconds} 秒之内没有对{what}的回答：发送了 {sent}，收到 {received}；应当收到 {expected}",
)
WRONG: Final = Text(
    "a wrong answer to {what}: {sent} was sent, {received} arrived; expected {expected}",
    "对{what}的回答不对：发送了 {sent}，收到 {received}；应当收到 {expected}",
)
UNASKED: Final = Text(
    "your program sent {received} after {sent}; expected an answer only to lines that begin with ping",
    "在 {sent} 之后，您的程序发送了 {received}；应当只回答以 ping 开头的行",
)
LEFT: Final = Text(
    "your program closed the connection after {sent} ({what}); expected that it answers until the server half-closes",
    "在 {sent}（{what}）之后，您的程序关闭了连接；它应当一直回答，直到服务器半关闭",
)
STAYED: Final = Text(
    "your program has answered everything, and did not close within {seconds} s after the server half-closed",
    "您的程序回答了所有的行，但在服务器半关闭 {seconds} 秒之后仍没有关闭连接",
)
WAITING: Final = Text("the answers are not complete: {received} arrived", "回答还不完整：收到 {received}")


class Step(NamedTuple):
    """Lines, the pieces in which they are sent, and the expected answers."""

    what: Text
    pieces: tuple[bytes, ...]
    expected: bytes

    @property
    def sent(self) -> bytes:
        """All of the pieces."""
        return b"".join(self.pieces)


_HAN: Final = "ping 你好，世界\n".encode()
STEPS: Final = (
    Step(Text("a whole line", "完整的一行"), (b"ping one\n",), b"pong one\n"),
    Step(Text("a line that arrives in pieces", "分成几段到达的一行"), (b"pi", b"ng tw", b"o\n"), b"pong two\n"),
    Step(
        Text("two lines that arrive together", "一起到达的两行"),
        (b"ping three\nping four\n",),
        b"pong three\npong four\n",
    ),
    Step(Text("a line that is not a ping", "不是 ping 的一行"), (b"-- anna has joined\n",), b""),
    Step(
        Text("a line whose characters are cut", "字符被切开的一行"),
        (_HAN[:7], _HAN[7:12], _HAN[12:]),
        _HAN.replace(b"ping", b"pong"),
    ),
)


class Attempt(TcpServer):
    """A room that sends lines to its bot."""

    def connection(self, say: Say) -> Bot:
        return Bot(self, say)


class Bot(Connection[Attempt]):
    """The connection of the program."""

    def __init__(self, attempt: Attempt, say: Say) -> None:
        super().__init__(attempt, say)
        self._at = 0  # the present step
        self._answer = b""  # to the present step
        self._answers = b""  # to all steps
        self._over = False

    def missing(self) -> Statement:
        return Statement(WAITING, {"received": shown(self._answers)})

    def opened(self) -> Reply:
        self._begin_step()
        return NOTHING

    def _begin_step(self) -> None:
        self._answer = b""
        if self._at == len(STEPS):
            self._over = True
            self.say(Reply(end=End.HALF_CLOSE))
            self.attempt.stage.later(WAITS, lambda: self.attempt.stage.failed(STAYED, seconds=f"{WAITS:g}"))
            return
        for number, piece in enumerate(STEPS[self._at].pieces):
            self.attempt.stage.later(number * BETWEEN, partial(self.say, Reply(piece)))
        at = self._at
        self.attempt.stage.later(WAITS if STEPS[at].expected else QUIET, lambda: self._time_is_over(at))

    def _values(self) -> dict[str, object]:
        step = STEPS[min(self._at, len(STEPS) - 1)]
        return {
            "what": Statement(step.what, {}),
            "sent": shown(step.sent),
            "received": shown(self._answer),
            "expected": shown(step.expected),
            "seconds": f"{WAITS:g}",
        }

    def _time_is_over(self, at: int) -> None:
        if at == self._at and not self._over:
            if STEPS[at].expected:
                self.attempt.stage.failed(NO_ANSWER, **self._values())
            else:
                self._at += 1
                self._begin_step()

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        stage = self.attempt.stage
        self._answer = (self._answer + data)[:LONGEST]
        self._answers = (self._answers + data)[:LONGEST]
        expected = b"" if self._over else STEPS[self._at].expected
        answer = self._answer.replace(b"\r\n", b"\n")
        if not expected:
            stage.failed(UNASKED, **self._values())
        elif answer == expected:
            self._at += 1
            self._begin_step()
        elif not expected.startswith(answer.removesuffix(b"\r")):
            stage.failed(WRONG, **self._values())
        return NOTHING

    def closed(self, *, clean: bool, error: str) -> None:
        if self._over and clean:
            self.attempt.stage.passed()
        else:
            self.attempt.stage.failed(LEFT, **self._values())


PROGRAM: Final = """\
for line in client.makefile("r", encoding="utf-8", newline="\\n"):
    if line.startswith("ping "):
        client.sendall(line.replace("ping", "pong", 1).encode())"""
"""Of the last hint."""

EXERCISE: Final = Exercise(
    number=6,
    page="operator-and-chat",
    title=Text("The operator and the chat", "操作员与聊天"),
    goal=Text("a chat bot that answers lines, cut and joined", "一个聊天机器人：无论行被切开还是连在一起都能回答"),
    task=Text(
        "Write a chat bot. It connects to the port that is its argument, and receives lines. To each line ping WORD it"
        " answers with the line pong WORD, and to other lines it does not answer. A line may arrive in pieces, and"
        " several lines may arrive at once. When the server half-closes, the bot closes.",
        "编写一个聊天机器人。它连接参数给出的端口，接收一行一行的文本。对每一行 ping WORD，它用一行 pong WORD 回答；"
        "对其他的行不回答。一行可能分成几段到达，几行也可能一起到达。服务器半关闭时，机器人关闭连接。",
    ),
    hints=(
        Text(
            "recv returns bytes, not lines: keep what follows the last line end, and put the next bytes after it.",
            "recv 返回字节，不是行：保留最后一个换行符之后的字节，把下一次收到的字节接在后面。",
        ),
        Text(
            'client.makefile("r", encoding="utf-8", newline="\\n") does that: a loop over it returns whole lines.',
            'client.makefile("r", encoding="utf-8", newline="\\n") 可以做到：对它循环，得到的是完整的行。',
        ),
        Text(f"After the connection:\n{PROGRAM}", f"连接之后：\n{PROGRAM}"),
    ),
    begin=Attempt,
)

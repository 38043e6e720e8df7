"""The exchange of most exercises: the program sends a short request, and prints the reply, which is in upper case."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import Final, TypeVar

from echod.client.lessons.judge import Judge
from echod.client.lessons.sockets import Connection
from echod.client.lessons.texts import Statement, Text, shown
from echod.model import CLOSE, NOTHING, PLAIN, Arrival, Reply, Say

J = TypeVar("J", bound=Judge)

REPLY_AFTER: Final = 0.05  #: seconds, so that a client that does not wait is recognised
LONGEST: Final = 200  #: bytes of a request

SENT_NOTHING: Final = Text(
    "your program has connected, and sent nothing; expected a message",
    "您的程序已连接，但什么也没有发送；应当发送一条消息",
)
TOO_LONG: Final = Text(
    "your program sent more than {most} bytes, beginning with {request}; expected a short message",
    "您的程序发送了超过 {most} 个字节，开头是 {request}；应当发送一条短消息",
)
CLOSED_EARLY: Final = Text(
    "your program sent {request}, and ended the connection before it had read the reply {reply}",
    "您的程序发送了 {request}，还没有读取回复 {reply} 就结束了连接",
)
NOT_CLOSED: Final = Text(
    "your program has sent {request}, and got the reply {reply}; expected that it closes the connection then",
    "您的程序发送了 {request}，也收到了回复 {reply}；之后应当关闭连接",
)
NOT_PRINTED: Final = Text(
    "the server replied {reply}; expected it in the output of your program",
    "服务器回复了 {reply}；您的程序应当把它打印出来",
)
BYTES_PRINTED: Final = Text(
    "your program printed {literal}, the bytes of the reply; expected its text, {reply}: use decode()",
    "您的程序打印了 {literal}，这是回复的字节；应当打印它的文本 {reply}：请使用 decode()",
)


class RequestReply(Connection[J]):
    """Sends a request back in upper case, later than a client needs that does not wait."""

    def __init__(self, attempt: J, say: Say) -> None:
        super().__init__(attempt, say)
        self.request = b""
        self._pending = 0  # replies that are not sent yet

    @property
    def reply(self) -> bytes:
        """The whole reply."""
        return self.request.upper()

    @abstractmethod
    def exchanged(self) -> None:
        """The program has read the reply, and has closed the connection."""

    def failed(self, text: Text, **values: object) -> None:
        """The program has not passed. The text may contain `{request}`, `{reply}` and `{most}`, too."""
        wrong = self.statement(text, **values)
        self.attempt.stage.failed(wrong.text, **wrong.values)

    def statement(self, text: Text, **values: object) -> Statement:
        """As `failed`."""
        return Statement(text, {"request": shown(self.request), "reply": shown(self.reply), "most": LONGEST, **values})

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        self.request += data
        if len(self.request) > LONGEST:
            self.failed(TOO_LONG)
            return CLOSE
        self._pending += 1
        self.attempt.stage.later(REPLY_AFTER, partial(self._send, data.upper()))
        return NOTHING

    def _send(self, data: bytes) -> None:
        self._pending -= 1
        self.say(Reply(data))

    def missing(self) -> Statement:
        return self.statement(NOT_CLOSED if self.request else SENT_NOTHING)

    def closed(self, *, clean: bool, error: str) -> None:
        if not self.request:
            self.failed(SENT_NOTHING)
        elif self._pending or not clean:
            self.failed(CLOSED_EARLY)
        else:
            self.exchanged()


def unprinted(output: str, reply: bytes, times: int = 1) -> Statement | None:
    """The error in an output that should contain the text of a reply so many times, or None."""
    literal = repr(reply)
    if output.replace(literal, "").count(reply.decode("utf-8", "surrogateescape").strip()) >= times:
        return None
    text = BYTES_PRINTED if literal in output else NOT_PRINTED
    return Statement(text, {"reply": shown(reply), "literal": shown(literal.encode())})

"""Exercise 2: a client that reads a message of unknown length, which arrives in pieces, and counts its characters."""

from __future__ import annotations

import random
from typing import Final

from echod.client.lessons.exercise import Exercise
from echod.client.lessons.judge import TcpServer
from echod.client.lessons.sockets import Connection, Sockets
from echod.client.lessons.stage import Stage
from echod.client.lessons.texts import Statement, Text, shown
from echod.faults.settings import Faults
from echod.model import CLOSE, NOTHING, PLAIN, Arrival, End, Reply, Say

DIGITS: Final = 20  #: of an answer; `int` refuses thousands of them
WORDS: Final = (
    "socket ",
    "stream ",
    "datagram ",
    "你好，",
    "世界。",
    "字节流",
    "套接字",
    "naïve ",
    "Ünïcödé ",
    "🚀🌍 ",
)
MANY: Final = 24  #: words of a message
PIECES: Final = Faults(chunk=5, rate=1_000)  #: five bytes each 5 ms: each recv returns a few, and characters are cut
LONGEST: Final = 200  #: bytes of the answer
ANSWERED: Final = 0.5  #: seconds after an answer without a line end, in which more of it may arrive

NOTHING_SENT: Final = Text(
    "the connection has ended without a number; expected {characters}, the number of characters of the message",
    "连接已结束，但没有收到数字；应当收到 {characters}，即消息的字符数",
)
WAITING: Final = Text(
    "your program has sent {answer}, and no number; expected the number of characters of the message",
    "您的程序发送了 {answer}，没有发送数字；应当发送消息的字符数",
)
NO_NUMBER: Final = Text(
    "your program sent {answer}; expected a number in digits, such as 12",
    "您的程序发送了 {answer}；应当发送用数字写的字符数，例如 12",
)
BYTES: Final = Text(
    "your program sent {answer}, the number of bytes; expected {characters}, the number of characters",
    "您的程序发送了 {answer}，这是字节数；应当是字符数 {characters}",
)
PART: Final = Text(
    "your program sent {answer}; expected {characters}: it has not read the whole message, or has dropped characters"
    " that were cut",
    "您的程序发送了 {answer}；应当是 {characters}：它没有读完整个消息，或者丢掉了被切开的字符",
)
WRONG: Final = Text(
    "your program sent {answer}; expected {characters}: characters that were cut are not counted twice",
    "您的程序发送了 {answer}；应当是 {characters}：被切开的字符不能数两次",
)


class Attempt(TcpServer):
    """Sends a message in small pieces, half-closes, and judges the number."""

    faults = PIECES

    def __init__(self, stage: Stage, sockets: Sockets) -> None:
        super().__init__(stage, sockets)
        self.message = "".join(random.choices(WORDS, k=MANY)) + "你好。"

    def connection(self, say: Say) -> Client:
        return Client(self, say)

    def judge(self, answer: bytes) -> None:
        """Judge the whole answer of the program."""
        stage, characters = self.stage, len(self.message)
        text = answer.strip()
        values = {"answer": shown(text), "characters": characters}
        if not text:
            stage.failed(NOTHING_SENT, characters=characters)
        elif not text.isdigit() or len(text) > DIGITS:
            stage.failed(NO_NUMBER, answer=shown(answer))
        elif int(text) == characters:
            stage.passed()
        elif int(text) == len(self.message.encode()):
            stage.failed(BYTES, **values)
        else:
            stage.failed(PART if int(text) < characters else WRONG, **values)


class Client(Connection[Attempt]):
    """The connection of the program."""

    answer = b""

    def missing(self) -> Statement:
        return Statement(WAITING, {"answer": shown(self.answer)})

    def opened(self) -> Reply:
        return Reply(self.attempt.message.encode(), End.HALF_CLOSE)

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        self.answer += data
        if len(self.answer) > LONGEST:
            self.attempt.stage.failed(NO_NUMBER, answer=shown(self.answer))
            return CLOSE
        if b"\n" in data:
            self.attempt.judge(self.answer)
        else:
            self.attempt.stage.later(ANSWERED, lambda: self.attempt.judge(self.answer))
        return NOTHING

    def ended(self) -> Reply:
        self.attempt.judge(self.answer)
        return CLOSE

    def closed(self, *, clean: bool, error: str) -> None:
        self.attempt.judge(self.answer)


PROGRAM: Final = """\
message = b""
while data := client.recv(1024):
    message += data
client.sendall(str(len(message.decode())).encode())
client.close()"""
"""Of the last hint."""

EXERCISE: Final = Exercise(
    number=2,
    page="stream-and-datagram",
    title=Text("Stream and datagram", "字节流与数据报"),
    goal=Text(
        "read a message that arrives in pieces, and count its characters", "读取分成小段到达的消息，并数出字符数"
    ),
    task=Text(
        "Write a client. It connects to the port that is its argument, and reads a message in UTF-8 until the server "
        "half-closes. The message arrives in small pieces, which cut characters. Then your program sends the number of "
        "characters of the message in digits, and closes.",
        "编写一个客户端。它连接参数给出的端口，读取一条 UTF-8 消息，直到服务器半关闭。"
        "消息分成小段到达，字符会被切开。然后把消息的字符数用数字发送回去，并关闭连接。",
    ),
    hints=(
        Text(
            "recv returns what has arrived, not a message. The message is complete when recv returns no bytes.",
            "recv 返回已到达的字节，不是一条消息。recv 返回空字节时，消息才完整。",
        ),
        Text(
            "Collect the bytes, and decode them only once, after the last one: no character is cut then.",
            "先收集字节，等最后一个字节到达之后再一次解码：这样字符不会被切开。",
        ),
        Text(f"After the connection:\n{PROGRAM}", f"连接之后：\n{PROGRAM}"),
    ),
    begin=Attempt,
)

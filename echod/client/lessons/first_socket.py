"""Exercise 1: a client that sends a name, and prints the reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from echod.client.lessons.exercise import Exercise, Stage
from echod.client.lessons.sockets import NO_CONNECTION, Judge, Sockets, Wire
from echod.client.lessons.texts import Statement, Text, shown
from echod.model import CLOSE, NOTHING, PLAIN, Arrival, Peer, Reply, Say

REPLY_AFTER: Final = 0.05  #: seconds, so that a client that does not wait is recognised
LONGEST: Final = 200  #: bytes of a name

SENT_NOTHING: Final = Text(
    "your program has connected, and sent nothing; expected your name",
    "您的程序已连接，但什么也没有发送；应当发送您的名字",
)
NOT_CLOSED: Final = Text(
    "your program has sent {request}, and got the reply {reply}; expected that it closes the connection then",
    "您的程序发送了 {request}，也收到了回复 {reply}；之后应当关闭连接",
)
CLOSED_EARLY: Final = Text(
    "your program sent {request}, and ended the connection before it had read the reply {reply}",
    "您的程序发送了 {request}，还没有读取回复 {reply} 就结束了连接",
)
TOO_LONG: Final = Text(
    "your program sent more than {most} bytes; expected a name, beginning with {request}",
    "您的程序发送了超过 {most} 个字节，开头是 {request}；应当只发送一个名字",
)
NOT_PRINTED: Final = Text(
    "the server replied {reply}; expected it in the output of your program",
    "服务器回复了 {reply}；您的程序应当把它打印出来",
)


class Attempt(Judge):
    """Replies in upper case, later than a client needs that does not wait."""

    def __init__(self, stage: Stage, sockets: Sockets) -> None:
        super().__init__(stage, sockets)
        self.request = self.replied = b""  # of the latest connection
        self.reply = b""  # of the first connection that has passed

    def start(self) -> Mapping[str, str]:
        bound, address = self.sockets.bind("tcp://127.0.0.1:{port}", EXERCISE.number)
        self.sockets.serve(bound, address, self._begin)
        return {"port": str(address.port)}

    def _begin(self, _peer: Peer, say: Say) -> Wire:
        return Client(say, self)

    def missing(self) -> Statement:
        if not self.sockets.connections:
            return Statement(NO_CONNECTION, {})
        if not self.request:
            return Statement(SENT_NOTHING, {})
        return Statement(NOT_CLOSED, {"request": shown(self.request), "reply": shown(self.replied)})

    def printed(self, output: str) -> Statement | None:
        reply = self.reply.decode("utf-8", "surrogateescape").strip()
        return None if reply in output else Statement(NOT_PRINTED, {"reply": shown(self.reply)})


class Client(Wire):
    """The connection of the program."""

    def __init__(self, say: Say, attempt: Attempt) -> None:
        super().__init__(say)
        self._attempt = attempt
        self._request = self._replied = b""
        self._pending = 0  # replies that are not sent yet

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        attempt = self._attempt
        self._request += data
        attempt.request = self._request
        if len(attempt.request) > LONGEST:
            attempt.stage.failed(TOO_LONG, most=LONGEST, request=shown(attempt.request))
            return CLOSE
        self._pending += 1
        attempt.stage.later(REPLY_AFTER, lambda: self._reply(data.upper()))
        return NOTHING

    def _reply(self, data: bytes) -> None:
        self._pending -= 1
        self._replied += data
        self._attempt.replied = self._replied
        self.say(Reply(data))

    def closed(self, *, clean: bool, error: str) -> None:
        attempt = self._attempt
        request = shown(self._request)
        if not request:
            attempt.stage.failed(SENT_NOTHING)
        elif self._pending or not clean:
            attempt.stage.failed(CLOSED_EARLY, request=request, reply=shown(self._request.upper()))
        else:
            attempt.reply = attempt.reply or self._replied
            attempt.stage.passed()


PROGRAM: Final = """\
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
client.sendall("Anna".encode())
print(client.recv(1024).decode())
client.close()"""
"""Of the last hint."""

EXERCISE: Final = Exercise(
    number=1,
    page="socket",
    title=Text("A socket and its five parts", "什么是套接字"),
    goal=Text("send your name, and print the reply", "发送您的名字，并打印回复"),
    task=Text(
        "Write a client. It gets a port as its argument, connects to 127.0.0.1 at this port, sends your name, prints "
        "the reply, and closes.",
        "编写一个客户端。它的参数是一个端口：连接 127.0.0.1 的这个端口，发送您的名字，打印回复，然后关闭连接。",
    ),
    hints=(
        Text(
            "A client makes four calls: socket.create_connection, sendall, recv and close.",
            "客户端需要四个调用：socket.create_connection、sendall、recv 和 close。",
        ),
        Text(
            'sendall takes bytes: "Anna".encode(). recv(1024) returns bytes, and decode() makes a text of them.',
            'sendall 的参数是字节："Anna".encode()。recv(1024) 返回字节，decode() 把它变成文本。',
        ),
        Text(f"The program, without its imports:\n{PROGRAM}", f"完整的程序（省略 import）：\n{PROGRAM}"),
    ),
    begin=Attempt,
)

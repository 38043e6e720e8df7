"""Exercise 1: a client that sends a name, and prints the reply."""

from __future__ import annotations

from typing import Final

from echod.client.lessons.exercise import Exercise
from echod.client.lessons.judge import TcpServer
from echod.client.lessons.request_reply import RequestReply, unprinted
from echod.client.lessons.texts import Statement, Text
from echod.model import Say


class Attempt(TcpServer):
    """One request, and its reply."""

    reply = b""  #: of the first connection that has passed

    def connection(self, say: Say) -> Client:
        return Client(self, say)

    def printed(self, output: str) -> Statement | None:
        return unprinted(output, self.reply)


class Client(RequestReply[Attempt]):
    """The connection of the program."""

    def exchanged(self) -> None:
        self.attempt.reply = self.attempt.reply or self.reply
        self.attempt.stage.passed()


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
        "the text of the reply, and closes.",
        "编写一个客户端。它的参数是一个端口：连接 127.0.0.1 的这个端口，发送您的名字，打印回复的文本，然后关闭连接。",
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

"""Exercise 5: a client that sends much data to an echo, half-closes, and reads meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from echod.client.lessons.exercise import Exercise
from echod.client.lessons.judge import TcpServer
from echod.client.lessons.sockets import LIMITS, Connection
from echod.client.lessons.texts import Statement, Text
from echod.model import CLOSE, PLAIN, RESET, Arrival, Reply, Say

SIZE: Final = 32 * 1024 * 1024
"""Bytes: more than the buffers of both kernels hold. They grow to about 4 MiB for sending and 6 MiB for receiving."""
BUFFER: Final = 65_536  #: bytes that the server holds
STILL: Final = 5.0  #: seconds without a received byte, after which the program is stuck

STUCK: Final = Text(
    "your program is stuck after {received} of {size} bytes: it sends and reads nothing, so the buffers of both sides"
    " are full, and the server stops reading, too",
    "您的程序在发送 {size} 个字节中的 {received} 个之后卡住了：它只发送而不读取，两边的缓冲区都满了，"
    "服务器也停止了读取",
)
NO_HALF_CLOSE: Final = Text(
    "your program has sent all {size} bytes, and not half-closed; expected shutdown(SHUT_WR)",
    "您的程序发送了全部 {size} 个字节，但没有半关闭；应当调用 shutdown(SHUT_WR)",
)
WRONG_SIZE: Final = Text(
    "your program sent {received} bytes; expected {size}", "您的程序发送了 {received} 个字节；应当是 {size} 个"
)
LEFT: Final = Text(
    "your program sent all {size} bytes, and closed before it had read the whole reply",
    "您的程序发送了全部 {size} 个字节，但在读完全部回复之前就关闭了",
)
NOT_PRINTED: Final = Text(
    "your program received {size} bytes; expected this number in its output",
    "您的程序收到了 {size} 个字节；应当把这个数字打印出来",
)


class Attempt(TcpServer):
    """An echo that counts."""

    limits = replace(LIMITS, buffer=BUFFER)

    def connection(self, say: Say) -> Client:
        return Client(self, say)

    def printed(self, output: str) -> Statement | None:
        return None if str(SIZE) in output else Statement(NOT_PRINTED, {"size": SIZE})


class Client(Connection[Attempt]):
    """The connection of the program."""

    def __init__(self, attempt: Attempt, say: Say) -> None:
        super().__init__(attempt, say)
        self._received = self._seen = 0
        self._ended = False
        attempt.stage.later(STILL, self._check)

    def _values(self) -> dict[str, object]:
        return {"received": self._received, "size": SIZE}

    def missing(self) -> Statement:
        return Statement(NO_HALF_CLOSE if self._received == SIZE else WRONG_SIZE, self._values())

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        self._received += len(data)
        if self._received > SIZE:
            self._fail(WRONG_SIZE)
            return RESET
        return Reply(data)

    def _fail(self, text: Text) -> None:
        self.attempt.stage.failed(text, **self._values())

    def _check(self) -> None:
        if self._ended:
            return
        if self._seen == self._received:
            self._fail(NO_HALF_CLOSE if self._received == SIZE else STUCK)
        self._seen = self._received
        self.attempt.stage.later(STILL, self._check)

    def ended(self) -> Reply:
        self._ended = True
        return CLOSE

    def closed(self, *, clean: bool, error: str) -> None:
        if self._received != SIZE:
            self._fail(WRONG_SIZE)
        elif not clean:
            self._fail(LEFT)
        else:
            self.attempt.stage.passed()


PROGRAM: Final = """\
def send():
    client.sendall(bytes(33554432))
    client.shutdown(socket.SHUT_WR)

threading.Thread(target=send).start()
received = 0
while data := client.recv(65536):
    received += len(data)
print(received)"""
"""Of the last hint."""

EXERCISE: Final = Exercise(
    number=5,
    page="half-close",
    title=Text("Half-close and backpressure", "半关闭与背压"),
    goal=Text(
        "send 32 MiB to an echo, half-close, and count what comes back",
        "向回显服务发送 32 MiB，半关闭，并数出返回的字节",
    ),
    task=Text(
        "Write a client. It connects to the port that is its argument, sends 33554432 bytes (32 MiB), and half-closes."
        " The server sends each byte back, and reads no more while its reply is not read. Your program reads the whole"
        " reply, prints the number of bytes that came back, and closes.",
        "编写一个客户端。它连接参数给出的端口，发送 33554432 个字节（32 MiB），然后半关闭。服务器把每个字节发送回来；"
        "如果它的回复没有被读取，它也停止读取。您的程序读完全部回复，打印返回的字节数，然后关闭连接。",
    ),
    hints=(
        Text(
            "sendall waits until the kernel accepts everything. If you read only after it, both sides wait for each"
            " other.",
            "sendall 会一直等到内核接受全部数据。如果之后才开始读取，双方就会互相等待。",
        ),
        Text(
            "Send in a thread, and read in the main thread. After sendall, the thread calls"
            " client.shutdown(socket.SHUT_WR).",
            "在一个线程中发送，在主线程中读取。sendall 之后，该线程调用 client.shutdown(socket.SHUT_WR)。",
        ),
        Text(f"After the connection:\n{PROGRAM}", f"连接之后：\n{PROGRAM}"),
    ),
    begin=Attempt,
)

"""Exercise 7: a WebSocket client by hand, which checks the accept key, and masks its frames."""

from __future__ import annotations

from functools import partial
from typing import Final

from echod.client.lessons.exercise import Exercise
from echod.client.lessons.judge import TcpServer
from echod.client.lessons.request_reply import unprinted
from echod.client.lessons.sockets import Connection, Sockets
from echod.client.lessons.stage import Stage
from echod.client.lessons.texts import Statement, Text, shown
from echod.faults.settings import WebSocketFault
from echod.model import CLOSE, PLAIN, Arrival, Reply, Say
from echod.transports.layers.http_answer import Resource
from echod.transports.layers.websocket_faults import FaultyWebSocket

HANDSHAKE: Final = 10.0  #: seconds
LONGEST: Final = 125  #: bytes of a message whose length is in one byte (RFC 6455 5.2)

NO_HANDSHAKE: Final = Text("the handshake failed: {error}", "握手失败：{error}")
OTHER_KEY: Final = Text(
    "now the server answers with the accept key of another request: your program must close without a frame",
    "现在服务器用另一个请求的 accept 值回答：您的程序必须关闭连接，不发送帧",
)
NO_FRAME: Final = Text(
    "the handshake is right; expected a text frame with your message",
    "握手是对的；应当发送一个包含您的消息的文本帧",
)
WRONG_FRAME: Final = Text("your frame is wrong: {error}", "您的帧不对：{error}")
NOT_TEXT: Final = Text(
    "your program sent the message {message}; expected a text frame of 1 to {most} bytes",
    "您的程序发送了消息 {message}；应当是 1 到 {most} 个字节的文本帧",
)
NOT_CLOSED: Final = Text(
    "your program sent {message}, and got {reply}; expected that it closes then",
    "您的程序发送了 {message}，收到了 {reply}；之后应当关闭连接",
)
NOT_REFUSED: Final = Text(
    "the server answered with the accept key of another request, and your program sent {message} nevertheless; expected"
    " that it compares Sec-WebSocket-Accept, and closes",
    "服务器用另一个请求的 accept 值回答，您的程序仍然发送了 {message}；应当比较 Sec-WebSocket-Accept，然后关闭连接",
)
STILL_OPEN: Final = Text(
    "the server answered with the accept key of another request; expected that your program closes the connection",
    "服务器用另一个请求的 accept 值回答；您的程序应当关闭连接",
)


class Attempt(TcpServer):
    """Two runs: in the first the accept key is right, in the second it is wrong."""

    def __init__(self, stage: Stage, sockets: Sockets) -> None:
        super().__init__(stage, sockets)
        self.reply = b""  # of the first run
        resource = Resource("/", "lesson", "lesson", page=False, choose_fault=lambda _facts, _query: self._fault())
        self.layers = (partial(FaultyWebSocket, clock=sockets.reactor, seconds=HANDSHAKE, resources={"/": resource}),)

    @property
    def misbehaves(self) -> bool:
        """Whether the accept key of this run is wrong."""
        return self.run > 0

    def _fault(self) -> WebSocketFault | None:
        return "bad-accept" if self.misbehaves else None

    def connection(self, say: Say) -> Client:
        return Client(self, say)

    def handshake_failed(self, error: str) -> None:
        self.stage.failed(NO_HANDSHAKE, error=error)

    def run_begins(self) -> None:
        super().run_begins()
        self.may_crash = True
        self.stage.note(OTHER_KEY)

    def printed(self, output: str) -> Statement | None:
        return unprinted(output, self.reply)


class Client(Connection[Attempt]):
    """The connection of the program, after its handshake."""

    _message = b""

    def missing(self) -> Statement:
        if self.attempt.misbehaves:
            return Statement(STILL_OPEN, {})
        if not self._message:
            return Statement(NO_FRAME, {})
        return Statement(NOT_CLOSED, {"message": shown(self._message), "reply": shown(self._message.upper())})

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        stage = self.attempt.stage
        if self.attempt.misbehaves:
            stage.failed(NOT_REFUSED, message=shown(data))
            return CLOSE
        if not arrival.text or not 0 < len(data) <= LONGEST:
            stage.failed(NOT_TEXT, message=shown(data), most=LONGEST)
            return CLOSE
        self._message = data
        self.attempt.reply = data.upper()
        return Reply(data.upper(), text=True)

    def closed(self, *, clean: bool, error: str) -> None:
        stage = self.attempt.stage
        if error:
            stage.failed(WRONG_FRAME, error=error)
        elif self.attempt.misbehaves:
            stage.passed()
        elif not self._message:
            stage.failed(NO_FRAME)
        else:
            stage.next_run()


EXERCISE: Final = Exercise(
    number=7,
    page="websocket",
    title=Text("From socket to WebSocket", "从套接字到 WebSocket"),
    goal=Text("check the accept key, and send a masked frame", "检查 accept 值，发送一个带掩码的帧"),
    task=Text(
        "Write a WebSocket client with a plain socket. It connects to the port that is its argument, and requests / of"
        " 127.0.0.1. If Sec-WebSocket-Accept in the response is the value for your key, it sends one masked text frame,"
        " prints the text of the reply, and closes. Otherwise it closes without a frame. Your program runs twice: the"
        " second time, the server answers with a wrong value.",
        "用普通的套接字编写一个 WebSocket 客户端。它连接参数给出的端口，向 127.0.0.1 请求 /。"
        "如果响应中的 Sec-WebSocket-Accept 是您的密钥对应的值，就发送一个带掩码的文本帧，打印回复的文本，然后关闭；"
        "否则不发送帧就关闭。您的程序会运行两次：第二次服务器用错误的值回答。",
    ),
    hints=(
        Text(
            "The accept value is base64 of the SHA-1 of your key and 258EAFA5-E914-47DA-95CA-C5AB0DC85B11, both as"
            " text, one after the other (RFC 6455 section 4.2.2).",
            "accept 的值是：把您的密钥和 258EAFA5-E914-47DA-95CA-C5AB0DC85B11 作为文本连在一起，取 SHA-1，再做 base64"
            "（RFC 6455 第 4.2.2 节）。",
        ),
        Text(
            "A masked frame is: 0x81, 0x80 + length, four bytes of mask, and each byte of the text XOR the mask.",
            "带掩码的帧是：0x81，0x80 + 长度，四个字节的掩码，然后是文本的每个字节与掩码异或的结果。",
        ),
        Text(
            "The program of the lesson, websocket_client.py, has the rest. Print nothing and close if the header has"
            " another value than this:\n"
            "accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()",
            "其余部分在本课的程序 websocket_client.py 中。如果响应头里的值与下面的不同，什么也不打印就关闭：\n"
            "accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()",
        ),
    ),
    begin=Attempt,
)

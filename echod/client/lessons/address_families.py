"""Exercise 9: the same client over IPv6, over a Unix stream, and over a Unix socket that keeps messages."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from echod.client.lessons.exercise import Exercise, Stage
from echod.client.lessons.sockets import Judge, Sockets, Wire
from echod.client.lessons.texts import Statement, Text, shown
from echod.model import CLOSE, PLAIN, Arrival, Reply, Say

INET6, STREAM, SEQPACKET = "AF_INET6, SOCK_STREAM", "AF_UNIX, SOCK_STREAM", "AF_UNIX, SOCK_SEQPACKET"
LONGEST: Final = 200  #: bytes of a message

NO_IPV6: Final = Text(
    "this machine has no IPv6: the part {part} is left out, and its port is 0",
    "这台机器没有 IPv6：省略 {part} 这一部分，它的端口是 0",
)
NOT_YET: Final = Text("no message has arrived yet over: {parts}", "还没有收到消息的套接字：{parts}")
NO_MESSAGE: Final = Text(
    "your program connected over {part}, and closed without a message; expected a message",
    "您的程序通过 {part} 连接之后没有发送消息就关闭了；应当发送一条消息",
)
TOO_LONG: Final = Text(
    "your program sent more than {most} bytes over {part}, beginning with {message}",
    "您的程序通过 {part} 发送了超过 {most} 个字节，开头是 {message}",
)
CLOSED_EARLY: Final = Text(
    "your program sent {message} over {part}, and closed before it had read the reply",
    "您的程序通过 {part} 发送了 {message}，还没有读取回复就关闭了",
)
NOT_PRINTED: Final = Text(
    "the server replied {reply} over {part}; expected it in the output of your program",
    "服务器通过 {part} 回复了 {reply}；您的程序应当把它打印出来",
)


class Attempt(Judge):
    """A server with three sockets."""

    def __init__(self, stage: Stage, sockets: Sockets) -> None:
        super().__init__(stage, sockets)
        self._left: list[str] = []  # the sockets over which no message has arrived
        self._replies: list[tuple[str, bytes]] = []

    def start(self) -> Mapping[str, str]:
        folder = self.stage.directory
        values = {
            "port": self._inet6(),
            "unix": os.path.join(folder, "stream.sock"),
            "seqpacket": os.path.join(folder, "seqpacket.sock"),
        }
        self._serve(STREAM, f"unix://{quote(values['unix'])}")
        self._serve(SEQPACKET, f"unix-seqpacket://{quote(values['seqpacket'])}")
        return values

    def _inet6(self) -> str:
        try:
            return str(self._serve(INET6, "tcp://[::1]:{port}"))
        except OSError:
            if socket.has_ipv6 and has_ipv6_loopback():
                raise
            self.stage.note(NO_IPV6, part=INET6)
            return "0"

    def _serve(self, part: str, url: str) -> int:
        bound, address = self.sockets.bind(url, EXERCISE.number)
        self.sockets.serve(bound, address, lambda _peer, say: self._begin(part, say))
        self._left.append(part)
        return address.port

    def _begin(self, part: str, say: Say) -> Wire:
        return Client(say, part, self)

    def missing(self) -> Statement:
        return Statement(NOT_YET, {"parts": "; ".join(self._left)})

    def served(self, part: str, reply: bytes) -> None:
        """The program has exchanged a message over one of the sockets."""
        if part in self._left:
            self._left.remove(part)
            self._replies.append((part, reply))
        if not self._left:
            self.stage.passed()

    def printed(self, output: str) -> Statement | None:
        for part, reply in self._replies:
            text = reply.decode("utf-8", "surrogateescape").strip()
            if output.count(text) < sum(other == reply for _, other in self._replies):
                return Statement(NOT_PRINTED, {"reply": shown(reply), "part": part})
        return None


class Client(Wire):
    """One of the connections of the program."""

    def __init__(self, say: Say, part: str, attempt: Attempt) -> None:
        super().__init__(say)
        self._part, self._attempt = part, attempt
        self._message = b""

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        self._message += data
        if len(self._message) > LONGEST:
            self._attempt.stage.failed(TOO_LONG, most=LONGEST, part=self._part, message=shown(self._message))
            return CLOSE
        return Reply(data.upper())

    def closed(self, *, clean: bool, error: str) -> None:
        if not self._message:
            self._attempt.stage.failed(NO_MESSAGE, part=self._part)
        elif not clean:
            self._attempt.stage.failed(CLOSED_EARLY, part=self._part, message=shown(self._message))
        else:
            self._attempt.served(self._part, self._message.upper())


def has_ipv6_loopback() -> bool:
    """Whether a socket can be bound to ::1."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


EXERCISE: Final = Exercise(
    number=9,
    page="families-and-types",
    title=Text("Address families and socket types", "地址族与套接字类型"),
    goal=Text("one client for IPv6, a Unix stream and seqpacket", "一个客户端：IPv6、Unix 字节流和 seqpacket"),
    task=Text(
        "Write a client for three servers. Its arguments are a port, and two paths. It connects to ::1 at the port, to"
        " the Unix stream socket at the first path, and to the Unix socket of type SOCK_SEQPACKET at the second path,"
        " in any order. Over each it sends a message, prints the reply, and closes.",
        "为三个服务器编写一个客户端。它的参数是一个端口和两个路径：连接 ::1 的这个端口、"
        "第一个路径上的 Unix 字节流套接字，以及第二个路径上类型为 SOCK_SEQPACKET 的 Unix 套接字，顺序任意。"
        "在每个连接上发送一条消息，打印回复，然后关闭。",
    ),
    hints=(
        Text(
            "Only family, type and address differ: socket.socket(FAMILY, TYPE), connect, sendall, recv, close.",
            "不同的只有地址族、类型和地址：socket.socket(FAMILY, TYPE)、connect、sendall、recv、close。",
        ),
        Text(
            'The address is ("::1", PORT) for AF_INET6, and the path, a text, for AF_UNIX.',
            'AF_INET6 的地址是 ("::1", PORT)；AF_UNIX 的地址是路径，即一个字符串。',
        ),
        Text(
            "A loop over (socket.AF_INET6, socket.SOCK_STREAM, address), (socket.AF_UNIX, socket.SOCK_STREAM, path) and"
            " (socket.AF_UNIX, socket.SOCK_SEQPACKET, other_path) needs the calls only once.",
            "对 (socket.AF_INET6, socket.SOCK_STREAM, address)、(socket.AF_UNIX, socket.SOCK_STREAM, path) 和"
            " (socket.AF_UNIX, socket.SOCK_SEQPACKET, other_path) 循环，这些调用只需要写一次。",
        ),
    ),
    begin=Attempt,
    arguments=("port", "unix", "seqpacket"),
)

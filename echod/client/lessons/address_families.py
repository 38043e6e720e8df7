"""Exercise 9: the same client over IPv6, over a Unix stream, and over a Unix socket that keeps messages."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from echod.client.lessons.exercise import Exercise
from echod.client.lessons.judge import Judge
from echod.client.lessons.request_reply import RequestReply, unprinted
from echod.client.lessons.sockets import Sockets
from echod.client.lessons.stage import Stage
from echod.client.lessons.texts import Statement, Text
from echod.model import Say

INET6, STREAM, SEQPACKET = "AF_INET6, SOCK_STREAM", "AF_UNIX, SOCK_STREAM", "AF_UNIX, SOCK_SEQPACKET"

NO_IPV6: Final = Text(
    "this machine has no IPv6: the part {part} is left out, and its port is 0",
    "这台机器没有 IPv6：省略 {part} 这一部分，它的端口是 0",
)
NOT_YET: Final = Text("no message has arrived yet over: {parts}", "还没有收到消息的套接字：{parts}")
OVER: Final = Text("over {part}: {wrong}", "通过 {part}：{wrong}")


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
        address = self.sockets.serve(url, lambda say: Client(self, say, part))
        self._left.append(part)
        return address.port

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
            if wrong := unprinted(output, reply, sum(other == reply for _, other in self._replies)):
                return Statement(OVER, {"part": part, "wrong": wrong})
        return None


class Client(RequestReply[Attempt]):
    """One of the connections of the program."""

    def __init__(self, attempt: Attempt, say: Say, part: str) -> None:
        super().__init__(attempt, say)
        self._part = part

    def statement(self, text: Text, **values: object) -> Statement:
        return Statement(OVER, {"part": self._part, "wrong": super().statement(text, **values)})

    def exchanged(self) -> None:
        self.attempt.served(self._part, self.reply)


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
        " in any order. Over each it sends a message, prints the text of the reply, and closes.",
        "为三个服务器编写一个客户端。它的参数是一个端口和两个路径：连接 ::1 的这个端口、"
        "第一个路径上的 Unix 字节流套接字，以及第二个路径上类型为 SOCK_SEQPACKET 的 Unix 套接字，顺序任意。"
        "在每个连接上发送一条消息，打印回复的文本，然后关闭。",
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

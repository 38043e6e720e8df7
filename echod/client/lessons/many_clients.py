"""Exercise 4: a server that serves other clients while one is silent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from echod.client.lessons.exercise import Exercise
from echod.client.lessons.judge import Judge
from echod.client.lessons.sockets import NO_SERVER, Connection, Sockets
from echod.client.lessons.stage import Stage
from echod.client.lessons.texts import Statement, Text, shown
from echod.model import CLOSE, NOTHING, PLAIN, Arrival, Reply, Say

WAITS: Final = 5.0  #: seconds that a client waits for its reply
ORDER: Final = ("second", "third", "first")
"""The clients in the order in which they send. The first one connects before the others, and is silent meanwhile."""

WAITING: Final = Text(
    "the client {client} has sent {request}, and waits for the reply {expected}",
    "客户端 {client} 已发送 {request}，正在等待回复 {expected}",
)
BLOCKED: Final = Text(
    "the client {client} got no reply within {seconds} s: it sent {request} while the first client was connected and"
    " silent; expected {expected}",
    "客户端 {client} 在 {seconds} 秒之内没有得到回复：第一个客户端已连接而没有发送时，它发送了 {request}；"
    "应当得到 {expected}",
)
FORGOTTEN: Final = Text(
    "the client first got no reply within {seconds} s: it sent {request} after the others had been served; expected"
    " {expected}",
    "客户端 first 在 {seconds} 秒之内没有得到回复：它在其他客户端得到服务之后发送了 {request}；应当得到 {expected}",
)
WRONG: Final = Text(
    "the client {client} sent {request}, and got {reply}; expected {expected}",
    "客户端 {client} 发送了 {request}，得到 {reply}；应当得到 {expected}",
)
CLOSED: Final = Text(
    "your server closed the connection of the client {client}; expected that it serves it until the client closes",
    "您的服务器关闭了客户端 {client} 的连接；它应当一直服务到客户端关闭",
)


class Attempt(Judge):
    """A silent client, and others that expect replies meanwhile."""

    def __init__(self, stage: Stage, sockets: Sockets) -> None:
        super().__init__(stage, sockets)
        self._clients: dict[str, Client] = {}
        self._waiting = ""  # the client that has sent its line

    def start(self) -> Mapping[str, str]:
        self._connect("first")
        return {}

    def _connect(self, name: str) -> None:
        def begin(say: Say) -> Client:
            self._clients[name] = Client(self, say, name)
            return self._clients[name]

        self.sockets.connect(self.stage.port, begin)

    def missing(self) -> Statement:
        if not self._waiting:
            return Statement(NO_SERVER, {"port": self.stage.port})
        return self._clients[self._waiting].missing()

    def connected(self, name: str) -> None:
        """The first client is connected: the second one connects. Any other sends at once."""
        if name == "first":
            self._next()
        else:
            self._ask(name)

    def _ask(self, name: str) -> None:
        self._waiting = name
        self._clients[name].say(Reply(request_of(name)))
        self.stage.later(WAITS, lambda: self._no_reply(name))

    def _no_reply(self, name: str) -> None:
        if self._waiting == name:
            text = FORGOTTEN if name == "first" else BLOCKED
            self.stage.failed(text, **{**values(name, b""), "seconds": f"{WAITS:g}"})

    def served(self, name: str) -> None:
        """A client has got its reply."""
        if name == ORDER[-1]:
            self.stage.passed()
        else:
            self._next()

    def _next(self) -> None:
        at = ORDER.index(self._waiting) + 1 if self._waiting else 0
        if ORDER[at] in self._clients:
            self._ask(ORDER[at])
        else:
            self._connect(ORDER[at])


def request_of(name: str) -> bytes:
    """The line that a client sends."""
    return f"hello from the {name}\n".encode()


def values(name: str, reply: bytes) -> dict[str, object]:
    """The values of a message about a client."""
    request = request_of(name)
    return {"client": name, "request": shown(request), "expected": shown(request.upper()), "reply": shown(reply)}


class Client(Connection[Attempt]):
    """A client that expects its line in upper case."""

    def __init__(self, attempt: Attempt, say: Say, name: str) -> None:
        super().__init__(attempt, say)
        self._name = name
        self._reply = b""

    def missing(self) -> Statement:
        return Statement(WAITING, values(self._name, self._reply))

    def opened(self) -> Reply:
        self.attempt.stage.later(0, lambda: self.attempt.connected(self._name))
        return NOTHING

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        self._reply += data
        expected = request_of(self._name).upper()
        if self._reply == expected:
            self.attempt.served(self._name)
        elif not expected.startswith(self._reply):
            self.attempt.stage.failed(WRONG, **values(self._name, self._reply))
            return CLOSE
        return NOTHING

    def closed(self, *, clean: bool, error: str) -> None:
        self.attempt.stage.failed(CLOSED, client=self._name)


PROGRAM: Final = """\
def serve(client):
    while data := client.recv(1024):
        client.sendall(data.upper())"""
"""Of the last hint."""

EXERCISE: Final = Exercise(
    number=4,
    page="many-clients",
    title=Text("Many clients at once", "同时服务许多客户端"),
    goal=Text("serve a second client while the first is silent", "第一个客户端沉默时，也能服务第二个客户端"),
    task=Text(
        "Write a server. It listens at 127.0.0.1 and the port that is its argument, and sends each client its bytes"
        " back in upper case, until the client closes. Three clients are connected at once. The first one sends nothing"
        " until the others have their replies.",
        "编写一个服务器。它监听 127.0.0.1 和参数给出的端口，把每个客户端发来的字节用大写字母发送回去，"
        "直到客户端关闭。三个客户端会同时连接。在其他客户端得到回复之前，第一个客户端什么也不发送。",
    ),
    hints=(
        Text(
            "recv waits for the silent client. While it waits, the server must call accept for the next client.",
            "recv 会等待沉默的客户端。在等待时，服务器必须为下一个客户端调用 accept。",
        ),
        Text(
            "Start a thread for each client: threading.Thread(target=serve, args=(client,), daemon=True).start()",
            "为每个客户端启动一个线程：threading.Thread(target=serve, args=(client,), daemon=True).start()",
        ),
        Text(
            f"The function of a thread. The main thread only calls accept, in a loop:\n{PROGRAM}",
            f"线程的函数如下；主线程只在循环中调用 accept：\n{PROGRAM}",
        ),
    ),
    begin=Attempt,
    learner_serves=True,
)

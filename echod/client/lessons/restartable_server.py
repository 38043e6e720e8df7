"""Exercise 3: a server that reads a whole line, closes without a reset, and can be started again at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from echod.client.lessons.exercise import Exercise
from echod.client.lessons.judge import Judge
from echod.client.lessons.sockets import NO_SERVER, Connection, Sockets
from echod.client.lessons.stage import Stage
from echod.client.lessons.texts import Statement, Text, shown
from echod.model import CLOSE, NOTHING, PLAIN, Arrival, Reply, Say

RECEIPT: Final = b"received"
PIECES: Final = (b"parcel " * 400, b"letter " * 400, b"the end\n")  #: of the line
BETWEEN: Final = 0.1  #: seconds between two pieces
LONGEST: Final = 200  #: bytes of the receipt
ENDS_WITHIN: Final = 5.0  #: seconds from the close of the first client to the end of the server

FIRST_SERVED: Final = Text(
    "the first client was served; start your server again at once", "第一个客户端已得到服务；请马上再次启动您的服务器"
)
EARLY: Final = Text(
    "your server replied {reply} after {sent} of {size} bytes; expected that it reads until the line end",
    "您的服务器在收到 {size} 个字节中的 {sent} 个之后就回复了 {reply}；应当一直读到换行符",
)
RESET: Final = Text(
    "your server reset the connection: it closed before it had read all {size} bytes of the line; {reply} arrived",
    "您的服务器重置了连接：它还没有读完这一行的全部 {size} 个字节就关闭了；收到的回复是 {reply}",
)
WRONG: Final = Text(
    "your server replied {reply}; expected {receipt}, and then the close of the connection",
    "您的服务器回复了 {reply}；应当先回复 {receipt}，然后关闭连接",
)
NO_RECEIPT: Final = Text(
    "your server has got the line of {size} bytes, and replied {reply}; expected {receipt}, and then the close of the"
    " connection",
    "您的服务器已收到 {size} 个字节的一行，回复了 {reply}；应当先回复 {receipt}，然后关闭连接",
)
STILL_SERVES: Final = Text(
    "your server did not end within {seconds} s after its first client; expected that it serves one client and ends",
    "您的服务器在第一个客户端离开 {seconds} 秒之后仍未结束；它应当只服务一个客户端，然后结束",
)
IN_USE: Final = Text("your server did not start again at once: {error}", "您的服务器不能马上再次启动：{error}")
ADDRESS_IN_USE: Final = "Address already in use"


class Attempt(Judge):
    """Two clients, one after the other, with a restart of the server between them."""

    def __init__(self, stage: Stage, sockets: Sockets) -> None:
        super().__init__(stage, sockets)
        self._client: Client | Probe | None = None
        self._served = 0  # clients
        self._has_restarted = False

    def start(self) -> Mapping[str, str]:
        self.sockets.connect(self.stage.port, self._begin)
        return {}

    def _begin(self, say: Say) -> Client:
        self._client = client = Client(self, say)
        return client

    def missing(self) -> Statement:
        if self._client is not None:
            return self._client.missing()
        if ADDRESS_IN_USE in self.stage.output:
            return Statement(IN_USE, {"error": ADDRESS_IN_USE})
        return Statement(NO_SERVER, {"port": self.stage.port})

    def client_served(self) -> None:
        """A client has got its receipt."""
        self._client = None
        self._served += 1
        if self._served == 2:
            self.stage.passed()
            return
        self.stage.later(ENDS_WITHIN, self._still_serves)
        if self.stage.has_program:
            self.stage.restart(self._restarted)
        else:
            self.probe()

    def probe(self) -> None:
        """Without a command: connect until the server has ended, and let the learner start it again."""
        self.sockets.connect(self.stage.port, self._begin_probe, self._refused)

    def _begin_probe(self, say: Say) -> Probe:
        self._client = probe = Probe(self, say)
        return probe

    def _refused(self) -> None:
        self._client = None
        self.stage.note(FIRST_SERVED)
        self._restarted()

    def _restarted(self) -> None:
        self._has_restarted = True
        self.sockets.connect(self.stage.port, self._begin)

    def _still_serves(self) -> None:
        if not self._has_restarted:
            self.stage.failed(STILL_SERVES, **patience())


def patience() -> dict[str, object]:
    """The values of STILL_SERVES."""
    return {"seconds": f"{ENDS_WITHIN:g}"}


class Probe(Connection[Attempt]):
    """A connection that ends at once: the server has not ended yet."""

    def missing(self) -> Statement:
        return Statement(STILL_SERVES, patience())

    def opened(self) -> Reply:
        return CLOSE

    def closed(self, *, clean: bool, error: str) -> None:
        self.attempt.stage.later(BETWEEN, self.attempt.probe)


class Client(Connection[Attempt]):
    """A client that sends a long line in pieces, and expects the receipt and the close."""

    def __init__(self, attempt: Attempt, say: Say) -> None:
        super().__init__(attempt, say)
        self._sent = 0  # pieces
        self._reply = b""

    def opened(self) -> Reply:
        self._send()
        return NOTHING

    def _send(self) -> None:
        self.say(Reply(PIECES[self._sent]))
        self._sent += 1
        if self._sent < len(PIECES):
            self.attempt.stage.later(BETWEEN, self._send)

    def _values(self) -> dict[str, object]:
        return {
            "reply": shown(self._reply),
            "receipt": RECEIPT.decode(),
            "size": sum(map(len, PIECES)),
            "sent": sum(map(len, PIECES[: self._sent])),
        }

    def missing(self) -> Statement:
        return Statement(NO_RECEIPT, self._values())

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        self._reply += data
        if len(self._reply) > LONGEST:
            self.attempt.stage.failed(WRONG, **self._values())
            return CLOSE
        if self._sent < len(PIECES):
            self.attempt.stage.failed(EARLY, **self._values())
        return NOTHING

    def closed(self, *, clean: bool, error: str) -> None:
        if not clean:
            self.attempt.stage.failed(RESET, **self._values())
        elif self._sent < len(PIECES):
            self.attempt.stage.failed(EARLY, **self._values())
        elif self._reply.strip() != RECEIPT:
            self.attempt.stage.failed(WRONG, **self._values())
        else:
            self.attempt.client_served()


PROGRAM: Final = """\
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
client, address = server.accept()
client.makefile().readline()
client.sendall(b"received")
client.close()"""
"""Of the last hint."""

EXERCISE: Final = Exercise(
    number=3,
    page="life-of-a-connection",
    title=Text("The life of a connection", "连接的一生"),
    goal=Text(
        "a server that closes without a reset, and can start again at once", "一个不会重置连接、可以马上重启的服务器"
    ),
    task=Text(
        "Write a server. It listens at 127.0.0.1 and the port that is its argument, serves one client, and ends. The"
        " client sends one line, which is longer than one recv returns. The server reads it to its line end, replies"
        " received, and closes. Then it is started again at once, and serves a second client.",
        "编写一个服务器。它监听 127.0.0.1 和参数给出的端口，为一个客户端服务，然后结束。"
        "客户端发送很长的一行，一次 recv 收不完。服务器一直读到换行符，回复 received，然后关闭连接。"
        "之后服务器会马上再次启动，为第二个客户端服务。",
    ),
    hints=(
        Text(
            "A close with unread bytes resets the connection, and the client may lose the reply. Read until the data"
            " ends with a line end.",
            "如果还有没读的字节就关闭，连接会被重置，客户端可能丢失回复。请一直读到数据以换行符结尾。",
        ),
        Text(
            "The side that closes first keeps the connection in TIME_WAIT, and bind refuses the port. SO_REUSEADDR"
            " permits it; socket.create_server sets this option.",
            "先关闭的一方让连接停在 TIME_WAIT 状态，bind 会拒绝这个端口。SO_REUSEADDR 允许重新使用；"
            "socket.create_server 会设置这个选项。",
        ),
        Text(f"The program, without its imports:\n{PROGRAM}", f"完整的程序（省略 import）：\n{PROGRAM}"),
    ),
    begin=Attempt,
    learner_serves=True,
)

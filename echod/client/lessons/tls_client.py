"""Exercise 8: a TLS client that accepts the right server, and refuses wrong ones."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from echod.client.lessons.exercise import Exercise
from echod.client.lessons.judge import TcpServer
from echod.client.lessons.request_reply import RequestReply, unprinted
from echod.client.lessons.sockets import Sockets
from echod.client.lessons.stage import Stage
from echod.client.lessons.texts import Statement, Text, shown
from echod.model import CLOSE, PLAIN, Arrival, Reply, Say
from echod.transports.layers.layer_interface import Build, Layer

NAME: Final = "localhost"
HANDSHAKE: Final = 10.0  #: seconds

RIGHT: Final = Text("a certificate for localhost", "一张 localhost 的证书")
OTHER_NAME: Final = Text("a certificate for another name", "一张属于另一个名字的证书")
OTHER_AUTHORITY: Final = Text(
    "a certificate for localhost by an authority that is not in your file",
    "一张 localhost 的证书，但签发者不在您的文件里",
)

PRESENTED: Final = Text(
    "now the server presents {certificate}: your program must refuse it",
    "现在服务器出示{certificate}：您的程序必须拒绝它",
)
REFUSED: Final = Text(
    "the server presented a certificate for localhost that your file verifies, and the handshake failed: {error}",
    "服务器出示了一张 localhost 的证书，您的文件可以验证它，但握手失败：{error}",
)
NOT_REFUSED: Final = Text(
    "your program sent {message} to a server with {certificate}; expected that it refuses this server",
    "服务器出示了{certificate}，您的程序仍然发送了 {message}；应当拒绝这个服务器",
)
STILL_OPEN: Final = Text(
    "the server presented {certificate}; expected that your program ends the connection",
    "服务器出示了{certificate}；您的程序应当结束连接",
)


class Run(NamedTuple):
    """One run of the program: the certificate of the server."""

    certificate: Text
    context: ssl.SSLContext


class Attempt(TcpServer):
    """A run with the right certificate, and one for each wrong certificate."""

    def __init__(self, stage: Stage, sockets: Sockets) -> None:
        super().__init__(stage, sockets)
        self._runs: list[Run] = []
        self.reply = b""  # of the first run
        self.layers = (self._layer,)

    def start(self) -> Mapping[str, str]:
        authority = os.path.join(self.stage.directory, "ca.pem")
        self._runs = runs(authority)
        return {**super().start(), "ca": authority}

    def _layer(self, build: Build) -> Layer:
        from echod.transports.layers.tls import TlsLayer  # slow to import

        return TlsLayer(build, self.sockets.reactor, HANDSHAKE, self._runs[self.run].context)

    def connection(self, say: Say) -> Client:
        return Client(self, say)

    @property
    def must_accept(self) -> bool:
        """Whether the certificate of this run is right."""
        return self.run == 0

    @property
    def certificate(self) -> Statement:
        """The certificate of this run."""
        return Statement(self._runs[self.run].certificate, {})

    def handshake_failed(self, error: str) -> None:
        if self.must_accept:
            self.stage.failed(REFUSED, error=error)
        else:
            self.run_passed()

    def run_passed(self) -> None:
        """The program did what was expected with this certificate."""
        if self.run == len(self._runs) - 1:
            self.stage.passed()
        else:
            self.stage.next_run()

    def run_begins(self) -> None:
        super().run_begins()
        self.may_crash = True
        self.stage.note(PRESENTED, certificate=self.certificate)

    def printed(self, output: str) -> Statement | None:
        return unprinted(output, self.reply)


class Client(RequestReply[Attempt]):
    """The connection of the program, after its handshake."""

    def missing(self) -> Statement:
        if self.attempt.must_accept:
            return super().missing()
        return Statement(STILL_OPEN, {"certificate": self.attempt.certificate})

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        if self.attempt.must_accept:
            return super().received(data, arrival)
        self.attempt.stage.failed(NOT_REFUSED, message=shown(data), certificate=self.attempt.certificate)
        return CLOSE

    def closed(self, *, clean: bool, error: str) -> None:
        if self.attempt.must_accept:
            super().closed(clean=True, error=error)  # after its close, the client may reset our close_notify
        else:
            self.attempt.run_passed()

    def exchanged(self) -> None:
        self.attempt.reply = self.reply
        self.attempt.run_passed()


def runs(authority_file: str) -> list[Run]:
    """A right certificate and wrong ones. The file gets the certificate of their new authority. Raises OSError."""
    from echod.tls import certificates, issuing  # these import `cryptography`, which is slow to import
    from echod.tls.certificate_facts import facts_of
    from echod.tls.server import ServerContexts

    now = datetime.now(UTC)
    authority = issuing.root(now)
    with open(authority_file, "wb") as file:
        file.write(authority.certificate_pem)
    issued = issuing.server(authority, [NAME], now)
    right = certificates.Certificate("lesson", issued.certificate_pem + issued.key_pem, facts_of(issued.certificate))
    return [
        Run(RIGHT, ServerContexts([right]).default),
        Run(OTHER_NAME, ServerContexts([certificates.wrong("wrong-host", [NAME], authority)]).default),
        Run(OTHER_AUTHORITY, ServerContexts([certificates.wrong("untrusted", [NAME], authority)]).default),
    ]


PROGRAM: Final = """\
context = ssl.create_default_context(cafile=sys.argv[2])
plain = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
client = context.wrap_socket(plain, server_hostname="localhost")"""
"""Of the last hint."""

EXERCISE: Final = Exercise(
    number=8,
    page="tls",
    title=Text("TLS in one evening", "一个晚上学会 TLS"),
    goal=Text("accept the right certificate, and refuse wrong ones", "接受正确的证书，拒绝错误的证书"),
    task=Text(
        "Write a TLS client. Its arguments are a port, and a file with the certificate of an authority. It connects to"
        " 127.0.0.1, and expects the name localhost. It sends a message, prints the text of the reply, and closes. Your"
        " program runs three times: the second server has a certificate for another name, the third one by another"
        " authority. Both must be refused.",
        "编写一个 TLS 客户端。它的参数是一个端口和一个文件，文件里是签发机构的证书。它连接 127.0.0.1，"
        "期望的名字是 localhost；发送一条消息，打印回复的文本，然后关闭。您的程序会运行三次："
        "第二个服务器的证书属于另一个名字，第三个服务器的证书由另一个机构签发。这两个都必须拒绝。",
    ),
    hints=(
        Text(
            "ssl.create_default_context(cafile=FILE) makes a context that verifies the chain and the name.",
            "ssl.create_default_context(cafile=FILE) 创建的上下文会验证证书链和名字。",
        ),
        Text(
            'context.wrap_socket(client, server_hostname="localhost") begins TLS. It raises an error for a wrong'
            " certificate: let it end your program, and send nothing.",
            'context.wrap_socket(client, server_hostname="localhost") 开始 TLS。证书不对时它会抛出错误：'
            "让程序就此结束，什么也不要发送。",
        ),
        Text(f"The connection:\n{PROGRAM}", f"建立连接：\n{PROGRAM}"),
    ),
    begin=Attempt,
    arguments=("port", "ca"),
)

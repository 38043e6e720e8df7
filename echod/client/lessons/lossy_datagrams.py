"""Exercise 10: stop-and-wait over UDP that loses, duplicates and reorders datagrams."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from typing import Final

from echod.client.lessons.exercise import Exercise
from echod.client.lessons.judge import Judge
from echod.client.lessons.sockets import Sockets
from echod.client.lessons.stage import Stage
from echod.client.lessons.texts import Statement, Text, shown
from echod.faults.settings import Faults
from echod.model import Arrival, Peer, Service

WORDS: Final = (
    "socket", "stream", "datagram", "port", "bind", "listen", "accept", "connect", "send", "receive", "close", "reset",
    "window", "segment", "packet", "timer",
)  # fmt: skip
MANY: Final = 10  #: words of a message
LOSS: Final = 0.2  #: the probability that a request is lost
FAULTS: Final = Faults(seed=7, drop=0.2, duplicate=0.3, delay=0.01, jitter=0.02)
"""Of the replies. Their delays differ, so that a reply may overtake an earlier one."""
STILL: Final = 5.0  #: seconds without a datagram
MOST: Final = 5_000  #: datagrams
_GET: Final = re.compile(rb"get ([0-9]{1,3})\s*")

NO_DATAGRAM: Final = Text("no datagram has arrived", "还没有收到数据报")
STUCK: Final = Text(
    "nothing arrived for {seconds} s after {request}: a request or a reply was lost; expected that your program sends"
    " the request again",
    "在 {request} 之后 {seconds} 秒没有收到数据报：请求或回复丢失了；您的程序应当再次发送请求",
)
NOT_DONE: Final = Text(
    "{request} was the last datagram; expected done and the {many} words",
    "最后一个数据报是 {request}；应当发送 done 和 {many} 个词",
)
DONE_LOST: Final = Text(
    "your program sent done, and did not wait for the reply: this datagram was lost. Expected done again, until the"
    " reply thanks",
    "您的程序发送了 done，却没有等到回复：这个数据报丢失了。应当再次发送 done，直到收到回复 thanks",
)
WRONG_REQUEST: Final = Text(
    "your program sent {request}; expected get and a number from 1 to {many}, or done and the {many} words",
    "您的程序发送了 {request}；应当发送 get 和 1 到 {many} 的数字，或者 done 和 {many} 个词",
)
WRONG_COUNT: Final = Text(
    "your program sent done with {found} words; expected {many}",
    "您的程序在 done 之后发送了 {found} 个词；应当是 {many} 个",
)
WRONG_WORD: Final = Text(
    "word {number} of your message is {found}; expected {word}. Replies arrive twice and late: compare the number at"
    " the beginning of each reply",
    "您的消息中第 {number} 个词是 {found}；应当是 {word}。回复会重复到达，也会迟到：请比较每个回复开头的数字",
)
TOO_MANY: Final = Text(
    "your program sent more than {most} datagrams; expected that it waits for a reply before it sends again",
    "您的程序发送了超过 {most} 个数据报；再次发送之前应当等待回复",
)


class Attempt(Judge):
    """A service that has the words of a message, over a bad network."""

    def __init__(self, stage: Stage, sockets: Sockets) -> None:
        super().__init__(stage, sockets)
        self.words = random.choices(WORDS, k=MANY)
        self.count = 0
        self.request = b""  # the last one
        self._seen = 0
        self._lost = random.Random(FAULTS.seed)

    def start(self) -> Mapping[str, str]:
        address = self.sockets.serve_datagrams("udp://127.0.0.1:{port}", Messages(self), FAULTS)
        return {"port": str(address.port)}

    def missing(self) -> Statement:
        if not self.count:
            return Statement(NO_DATAGRAM, {})
        if self.request.startswith(b"done"):
            return Statement(DONE_LOST, {})
        return Statement(NOT_DONE, {"request": shown(self.request), "many": MANY})

    def _check(self) -> None:
        if self._seen == self.count:
            self.stage.failed(STUCK, seconds=f"{STILL:g}", request=shown(self.request))
        self._seen = self.count
        self.stage.later(STILL, self._check)

    def reply(self, request: bytes) -> bytes | None:
        """The reply to a request, or None if the request is lost or wrong."""
        self.count += 1
        self.request = request
        if self.count == 1:
            self.stage.later(STILL, self._check)
        if self.count > MOST:
            self.stage.failed(TOO_MANY, most=MOST)
            return None
        got = _GET.fullmatch(request)
        number = int(got[1]) if got else 0
        if not request.startswith(b"done") and not 1 <= number <= MANY:
            self.stage.failed(WRONG_REQUEST, request=shown(request), many=MANY)
            return None
        if self._lost.random() < LOSS:
            return None
        if number:
            return f"{number} {self.words[number - 1]}".encode()
        self._judge(request)
        return b"thanks"

    def _judge(self, request: bytes) -> None:
        found = [shown(word) for word in request.split()[1:MOST]]
        if len(found) != MANY:
            self.stage.failed(WRONG_COUNT, found=len(found), many=MANY)
        for number, (one, word) in enumerate(zip(found, self.words, strict=False), 1):
            if one != word:
                self.stage.failed(WRONG_WORD, number=number, found=one, word=word)
        self.stage.passed()


class Messages(Service):
    """The service of the attempt."""

    kind = "lesson"
    summary = "has the words of a message"

    def __init__(self, attempt: Attempt) -> None:
        super().__init__()
        self._attempt = attempt

    def datagram(self, request: bytes, peer: Peer, arrival: Arrival, reply: Callable[[bytes], object]) -> None:
        answer = self._attempt.reply(request)
        if answer is not None:
            reply(answer)


EXERCISE: Final = Exercise(
    number=10,
    page="reliable-or-fast",
    title=Text("Reliable or fast", "可靠还是快速"),
    goal=Text(
        "fetch a message over UDP that loses and repeats datagrams", "通过会丢失、会重复数据报的 UDP 取回一条消息"
    ),
    task=Text(
        "Write a UDP client. It sends get 1 to 127.0.0.1 and the port that is its argument; the reply is 1 and a word."
        " The message has 10 words: get 2 to get 10 fetch the others. Requests and replies are lost, and replies are"
        " delivered twice, or late. At last your program sends done and the 10 words in their order, until it gets the"
        " reply thanks.",
        "编写一个 UDP 客户端。它向 127.0.0.1 和参数给出的端口发送 get 1，回复是 1 和一个词。消息有 10 个词："
        "get 2 到 get 10 取回其余的词。请求和回复会丢失，回复还会重复到达或迟到。最后您的程序发送 done 和按顺序排列的"
        " 10 个词，直到收到回复 thanks。",
    ),
    hints=(
        Text(
            "client.settimeout(0.2): if recv raises TimeoutError, send the same request again.",
            "client.settimeout(0.2)：如果 recv 抛出 TimeoutError，就再次发送同一个请求。",
        ),
        Text(
            "A reply that begins with another number belongs to an earlier request: drop it, and receive again.",
            "以别的数字开头的回复属于以前的请求：丢掉它，继续接收。",
        ),
        Text(
            "A function ask(request, start) sends, and receives until a reply starts with start; at TimeoutError it"
            ' sends again. words = [ask("get 1", "1 "), …], then ask("done " + " ".join(words), "thanks").',
            "写一个函数 ask(request, start)：发送，一直接收到以 start 开头的回复；遇到 TimeoutError 就再次发送。"
            '先得到 words = [ask("get 1", "1 "), …]，再调用 ask("done " + " ".join(words), "thanks")。',
        ),
    ),
    begin=Attempt,
)

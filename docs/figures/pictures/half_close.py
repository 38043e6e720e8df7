"""Lesson 5: each direction of a connection ends by itself."""

from docs.figures.drawing import Language, words
from docs.figures.sequence import Sequence


def draw(language: Language) -> Sequence:
    """The client ends its direction; the server sends the rest of its reply, and ends the other one."""
    t = words(language)
    drawing = Sequence(
        t("A half-close: each direction ends by itself", "半关闭：两个方向各自结束"),
        t(
            "The client sends two lines, and calls shutdown: a FIN tells the server that it has sent everything."
            " The server reads the end, still sends its reply in the other direction, and then closes: its FIN tells"
            " the client that the reply is complete.",
            "客户端发送两行文字，然后调用 shutdown：FIN 告诉服务器，客户端已经发送完毕。"
            "服务器读到结尾以后，仍然可以在另一个方向上发送回复，然后关闭连接：它的 FIN 告诉客户端，回复已经完整。",
        ),
        language,
        t("client", "客户端"),
        t("server", "服务器"),
        margin=170,
    )
    drawing.note("sendall")
    drawing.send(t("data: one, two", "数据：one、two"))
    drawing.note("shutdown(SHUT_WR)")
    drawing.send("FIN")
    drawing.note("", 'recv → b""')
    drawing.note("", "sendall")
    drawing.reply(t("data: ONE, TWO", "数据：ONE、TWO"))
    drawing.note("recv", "close")
    drawing.reply("FIN")
    drawing.note('recv → b""')
    return drawing

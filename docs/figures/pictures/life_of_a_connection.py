"""Lesson 3: the packets of a connection, from a capture, with the calls and the states of both ends."""

from docs.figures.captured_segments import add
from docs.figures.drawing import Language, words
from docs.figures.sequence import Sequence

NOTES = {  # before a segment: the client's, and the server's
    0: (("connect()", "LISTEN"),),
    1: (("SYN-SENT", "SYN-RECV"),),
    2: (("ESTABLISHED", ""),),
    3: (("sendall()", "ESTABLISHED"), ("", "accept()")),
    5: (("", "recv()"), ("", "sendall()")),
    7: (("recv()", "close()"), ("", "FIN-WAIT-1")),
    8: (("CLOSE-WAIT", ""),),
    9: (("close()", "FIN-WAIT-2"), ("LAST-ACK", "")),
    10: (("", "TIME-WAIT"),),
}


def draw(language: Language) -> Sequence:
    """Handshake, data both ways, and the goodbyes; the server closes first and is in TIME-WAIT."""
    t = words(language)
    drawing = Sequence(
        t("The eleven packets of a connection", "一个连接的十一个数据包"),
        t(
            "Handshake: the client sends SYN, the server SYN and ACK, the client ACK. Data: the client sends parcel,"
            " and the server acknowledges 6 bytes; the server sends received, and the client acknowledges 8 bytes."
            " Close: the server sends FIN; the client acknowledges it and sends its own; the server acknowledges that."
            " The client's end is then gone, and the server's end is in TIME-WAIT for 60 seconds.",
            "握手：客户端发送 SYN，服务器回复 SYN 和 ACK，客户端再回复 ACK。"
            "数据：客户端发送 parcel，服务器确认 6 个字节；"
            "服务器发送 received，客户端确认 8 个字节。"
            "关闭：服务器发送 FIN，客户端确认；客户端发送自己的 FIN，服务器确认。"
            "此后客户端一方的连接消失，服务器一方处于 TIME-WAIT 状态，持续 60 秒。",
        ),
        language,
        t("client", "客户端"),
        t("server", "服务器"),
    )

    def notes(number: int) -> None:
        for left, right in NOTES.get(number, ()):
            drawing.note(left, right)
        if number == 11:
            drawing.note(t("closed", "已关闭"), t("60 s later:", "60 秒后："))
            drawing.note("", t("closed", "已关闭"))

    add(drawing, "connection", notes)
    return drawing

"""Lesson 3: the packets of a connection that the server resets, from a capture."""

from docs.figures.captured_segments import add
from docs.figures.drawing import Language, words
from docs.figures.sequence import Sequence


def draw(language: Language) -> Sequence:
    """Five bytes of the reply arrive, then RST ends both directions at once."""
    t = words(language)
    drawing = Sequence(
        t("The packets of a connection that the server resets", "被服务器重置的连接的数据包"),
        t(
            "After the handshake the client sends 26 bytes, and the server acknowledges them. The server sends hello,"
            " five bytes, and the client acknowledges them. Then the server sends RST: the connection is gone at both"
            " ends, without FIN and without TIME-WAIT.",
            "握手以后，客户端发送 26 个字节，服务器确认。服务器发送五个字节 hello，客户端确认。然后服务器发送 RST："
            "两端的连接立刻消失，没有 FIN，也没有 TIME-WAIT。",
        ),
        language,
        t("client", "客户端"),
        t("server", "服务器"),
    )

    def notes(number: int) -> None:
        if number == 8:
            drawing.note("recv():", t("closed", "已关闭"))
            drawing.note("ECONNRESET", kind="wrong")

    add(drawing, "reset", notes)
    return drawing

"""Lesson 2: three messages sent over a stream, and as datagrams."""

from docs.figures.drawing import Drawing, Language, words

MESSAGES = ("hello", "", "bye")


def draw(language: Language) -> Drawing:
    """The stream joins the messages; the datagrams keep them apart, and one is lost."""
    t = words(language)
    drawing = Drawing(
        t("Three messages over a stream, and as datagrams", "同样的三条消息：字节流与数据报"),
        t(
            "A program sends hello, an empty message and bye. Over a stream the receiver gets the bytes h, e, l, l, o,"
            " b, y, e: one call of recv returns hell, the next one obye, and the empty message has left no trace. As"
            " datagrams, hello and the empty message arrive as they were sent; the datagram bye is lost.",
            "程序发送三条消息：hello、空消息和 bye。通过字节流，接收方得到 h、e、l、l、o、b、y、e 八个字节："
            "第一次 recv 返回 hell，第二次返回 obye，空消息没有留下任何痕迹。"
            "通过数据报，hello 和空消息原样到达，而数据报 bye 丢失了。",
        ),
        language,
    )
    drawing.text(
        20, 32, t("Stream (TCP): bytes in order, without boundaries", "字节流（TCP）：字节按顺序到达，没有边界")
    )
    for number, message in enumerate(MESSAGES):
        drawing.box(20, 48 + 40 * number, 130, 32, f'send("{message}")', kind="client")
        if message:
            drawing.arrow(150, 64 + 40 * number, 178, 104)
    for number, letter in enumerate("".join(MESSAGES)):
        drawing.box(180 + 22 * number, 90, 20, 28, letter, kind="kernel")
    for number, part in enumerate(("hell", "obye")):
        drawing.arrow(356, 104, 388, 84 + 40 * number)
        drawing.box(390, 68 + 40 * number, 110, 32, f'recv → "{part}"', kind="server")
    drawing.text(
        20, 204, t("Datagrams (UDP): messages, of which any may be lost", "数据报（UDP）：保留消息边界，但可能丢失")
    )
    for number, message in enumerate(MESSAGES):
        y = 220 + 40 * number
        drawing.box(20, y, 130, 32, f'sendto("{message}")', kind="client")
        lost = message == "bye"
        drawing.box(230, y + 2, 76, 28, message or t("empty", "空"), kind="wrong" if lost else "kernel")
        drawing.line(150, y + 16, 230, y + 16)
        if lost:
            drawing.line(306, y + 16, 340, y + 16)
            drawing.cross(340, y + 16)
            drawing.text(352, y + 21, t("lost", "丢失"), "wrong")
        else:
            drawing.arrow(306, y + 16, 388, y + 16)
            drawing.box(390, y, 110, 32, f'→ "{message}"', kind="server")
    return drawing

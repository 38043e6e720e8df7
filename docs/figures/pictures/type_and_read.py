"""Lesson 6: a client that types and reads by turns, and one that does both at once."""

from docs.figures.drawing import Drawing, Kind, Language, words


def draw(language: Language) -> Drawing:
    """With one thread a received line waits for the keyboard; with two threads it does not."""
    t = words(language)
    drawing = Drawing(
        t("A chat client with one thread, and with two", "一个线程的聊天客户端与两个线程的聊天客户端"),
        t(
            "With one thread the client calls input, sendall, recv and print by turns. While input waits for the"
            " keyboard, a line of Bea lies in the receive buffer and is not printed. With two threads, one calls input"
            " and sendall, and the other one calls recv and print, so Bea's line appears at once.",
            "只有一个线程时，客户端轮流调用 input、sendall、recv 和 print。input 等待键盘的时候，"
            "Bea 的话停在接收缓冲区里，没有显示出来。有两个线程时，一个线程调用 input 和 sendall，"
            "另一个线程调用 recv 和 print，Bea 的话立刻就会显示。",
        ),
        language,
    )

    def lane(y: float, kind: Kind, *calls: str) -> None:
        for number, call in enumerate(calls):
            drawing.box(20 + 127 * number, y, 98, 36, call, kind=kind)
            if number:
                drawing.arrow(127 * number - 9, y + 18, 127 * number + 19, y + 18, kind)

    drawing.text(20, 32, t("One thread: each call waits for its turn", "一个线程：每个调用都要轮到才执行"))
    lane(46, "client", "input()", "sendall", "recv", "print")
    drawing.text(20, 106, t("waits for you", "等待键盘"), "wrong")
    drawing.box(222, 112, 202, 36, t("in the buffer: bea: hi", "缓冲区里：bea: hi"), kind="wrong")
    drawing.arrow(323, 112, 323, 84, "wrong", dashed=True)
    drawing.text(20, 190, t("Two threads: both wait at the same time", "两个线程：同时等待"))
    lane(204, "client", "input()", "sendall")
    drawing.text(274, 227, t("← the main thread", "← 主线程"), "quiet")
    lane(252, "server", "recv", "print")
    drawing.text(274, 275, t("← the second thread: bea: hi", "← 第二个线程：bea: hi"), "quiet")
    return drawing

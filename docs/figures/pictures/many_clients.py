"""Lesson 4: three clients and the server, four ways."""

from docs.figures.drawing import Drawing, Language, words

ROW = 124.0  # the height of one way


def draw(language: Language) -> Drawing:
    """One after another, a thread for each, a selector, a reactor."""
    t = words(language)
    drawing = Drawing(
        t("Three clients and one server, four ways", "三个客户端与一个服务器：四种方式"),
        t(
            "One after another: the server reads from client 1, and clients 2 and 3 wait in the kernel. Threads: each"
            " client has a thread of the server. Selector: one thread waits for all sockets with select, and its loop"
            " serves the socket that is ready. Reactor: Twisted's loop waits, and calls your method for each client.",
            "逐个服务：服务器读取客户端 1 的数据，客户端 2 和 3 在内核里等待。线程：每个客户端有自己的线程。"
            "selector：一个线程用 select 等待所有套接字，循环处理就绪的套接字。"
            "reactor：Twisted 的循环负责等待，并为每个客户端调用您的方法。",
        ),
        language,
    )
    titles = (
        t("One client after another", "一次服务一个客户端"),
        t("A thread for each client", "每个客户端一个线程"),
        t("A selector: one thread, your loop", "selector：一个线程，您自己写循环"),
        t("A reactor: one thread, its loop, your methods", "reactor：一个线程，它的循环，您的方法"),
    )
    for row, title in enumerate(titles):
        top = 16 + ROW * row
        drawing.text(20, top + 14, title)
        for number in range(3):
            y = top + 26 + 30 * number
            drawing.box(20, y, 90, 24, t(f"client {number + 1}", f"客户端 {number + 1}"), kind="client")
            if row == 0:
                drawing.arrow(110, y + 12, 198, y + 12, dashed=number > 0)
            elif row == 1:
                drawing.box(
                    200,
                    y,
                    300,
                    24,
                    t(f"thread {number + 1}: recv, sendall", f"线程 {number + 1}：recv、sendall"),
                    kind="server",
                )
                drawing.arrow(110, y + 12, 198, y + 12)
            else:
                drawing.arrow(110, y + 12, 198, top + 68 + 10 * (number - 1))
        if row == 0:
            drawing.box(200, top + 26, 300, 24, "recv, sendall", kind="server")
            drawing.box(
                200, top + 56, 300, 54, t("the kernel's queue, until accept", "内核的队列，等待 accept"), kind="kernel"
            )
        elif row > 1:
            selector = row == 2
            drawing.box(200, top + 44, 130, 48, "select()" if selector else "reactor", kind="server")
            drawing.arrow(330, top + 68, 368, top + 68)
            after = (
                (t("your loop:", "您的循环："), "recv, sendall")
                if selector
                else (t("your method:", "您的方法："), "dataReceived")
            )
            drawing.box(370, top + 44, 130, 48, *after, kind="server")
    return drawing

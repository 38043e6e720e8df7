"""Lesson 5: the buffers between a client that only sends and a server that replies."""

from docs.figures.drawing import Drawing, Language, words


def draw(language: Language) -> Drawing:
    """Every buffer on the way there and back is full, so each program waits for the other one."""
    t = words(language)
    drawing = Drawing(
        t("A deadlock: every buffer is full", "死锁：所有缓冲区都满了"),
        t(
            "From the client to echod: the client's sendall waits, because the client's send buffer and the server's"
            " receive buffer are full. echod does not read, because it has 64 KiB of replies that it cannot send. On"
            " the way back, the server's send buffer and the client's receive buffer are full, because the client does"
            " not read.",
            "从客户端到 echod：客户端的发送缓冲区和服务器的接收缓冲区都满了，所以 sendall 一直等待。"
            "echod 有 64 KiB 的回复发不出去，所以不再读取。"
            "回来的方向上，服务器的发送缓冲区和客户端的接收缓冲区也满了，因为客户端不读取。",
        ),
        language,
    )
    drawing.text(20, 30, t("requests", "请求"), "client")
    drawing.text(500, 262, t("replies", "回复"), "server", "end")
    client = (t("client", "客户端"), t("sendall waits", "sendall 等待"), t("no recv", "没有 recv"))
    server = ("echod", t("64 KiB unsent", "64 KiB 未发出"), t("reads no more", "不再读取"))
    drawing.box(20, 44, 124, 196, *client, kind="client")
    drawing.box(376, 44, 124, 196, *server, kind="server")
    full = t("full", "已满")
    send, receive = t("send buffer", "发送缓冲区"), t("receive buffer", "接收缓冲区")
    drawing.box(196, 44, 128, 42, f"{send}", full, kind="wrong")
    drawing.box(196, 92, 128, 42, f"{receive}", full, kind="wrong")
    drawing.box(196, 150, 128, 42, f"{receive}", full, kind="wrong")
    drawing.box(196, 198, 128, 42, f"{send}", full, kind="wrong")
    drawing.arrow(144, 65, 194, 65, "client")
    drawing.arrow(324, 113, 374, 113, "client")
    drawing.arrow(376, 219, 326, 219, "server")
    drawing.arrow(196, 171, 146, 171, "server")
    return drawing

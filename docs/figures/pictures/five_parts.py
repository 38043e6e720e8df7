"""Lesson 1: the five parts of a socket, as the two ends of a conversation and as `whoami` prints them."""

from docs.figures.drawing import WIDTH, Drawing, Language, words


def draw(language: Language) -> Drawing:
    """Two programs, their sockets, and the five parts between them."""
    t = words(language)
    drawing = Drawing(
        t("The five parts of a socket", "套接字的五个部分"),
        t(
            "A client program has a socket with the local address 127.0.0.1 and the local port 40000. A server program"
            " has a socket with the address 127.0.0.1 and the port 10011. The protocol TCP connects the two sockets."
            " Each end calls its own address and port local, and those of the other end remote.",
            "客户端程序有一个套接字：本地地址是 127.0.0.1，本地端口是 40000。服务器程序也有一个套接字："
            "地址是 127.0.0.1，端口是 10011。两个套接字之间的协议是 TCP。"
            "每一端都把自己的地址和端口叫作“本地”，把对方的叫作“远端”。",
        ),
        language,
    )
    left, right, width = 20.0, WIDTH - 180.0, 160.0
    drawing.box(left, 16, width, 34, t("client program", "客户端程序"), kind="client")
    drawing.box(right, 16, width, 34, t("server program", "服务器程序"), kind="server")
    for x in (left + width / 2, right + width / 2):
        drawing.line(x, 50, x, 66)
    drawing.box(left, 66, width, 76, t("socket", "套接字"), "127.0.0.1", "40000", kind="client")
    drawing.box(right, 66, width, 76, t("socket", "套接字"), "127.0.0.1", "10011", kind="server")
    drawing.arrow(left + width, 104, right, 104)
    drawing.arrow(right, 104, left + width, 104)
    drawing.label(WIDTH / 2, 109, "TCP", "kernel")
    rows = (
        (t("protocol", "协议"), "tcp", "tcp"),
        (t("local address", "本地地址"), "127.0.0.1", "127.0.0.1"),
        (t("local port", "本地端口"), "40000", "10011"),
        (t("remote address", "远端地址"), "127.0.0.1", "127.0.0.1"),
        (t("remote port", "远端端口"), "10011", "40000"),
    )
    for number, (name, client, server) in enumerate(rows):
        y = 176.0 + 26 * number
        drawing.text(left + width / 2, y, client, "client", "middle")
        drawing.text(WIDTH / 2, y, f"{number + 1}. {name}", None, "middle")
        drawing.text(right + width / 2, y, server, "server", "middle")
    return drawing

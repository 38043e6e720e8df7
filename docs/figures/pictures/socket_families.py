"""Lesson 9: what the address of a socket is in each family, and between which programs it works."""

from docs.figures.drawing import Drawing, Language, words


def draw(language: Language) -> Drawing:
    """Three families, the form of their addresses, and their types."""
    t = words(language)
    drawing = Drawing(
        t("Three families of addresses", "三个地址族"),
        t(
            "AF_INET: an address of 4 bytes and a port, such as 127.0.0.1 and 9091. AF_INET6: an address of 16 bytes"
            " and a port, such as ::1 and 9091. Both connect programs of any two machines. AF_UNIX: a path of at most"
            " 107 bytes, or an abstract name, between programs of one machine.",
            "AF_INET：4 个字节的地址和端口，例如 127.0.0.1 和 9091。AF_INET6：16 个字节的地址和端口，例如 ::1 和 9091。"
            "这两个地址族可以连接任意两台机器上的程序。"
            "AF_UNIX：最多 107 个字节的路径，或者一个抽象名字，只用于同一台机器上的程序之间。",
        ),
        language,
    )
    rows = (
        ("AF_INET", ("127.0.0.1", 2), t("4 bytes", "4 个字节"), ("9091", t("port", "端口"))),
        ("AF_INET6", ("::1", 2), t("16 bytes", "16 个字节"), ("9091", t("port", "端口"))),
    )
    drawing.text(20, 30, t("between any two machines", "任意两台机器之间"), "quiet")
    for number, (family, (address, _), size, (port, name)) in enumerate(rows):
        y = 44.0 + 66 * number
        drawing.box(20, y, 110, 34, family, kind="client")
        drawing.box(150, y, 200, 34, address, kind="kernel")
        drawing.box(358, y, 142, 34, port, kind="server")
        drawing.text(250, y + 51, size, "kernel", "middle")
        drawing.text(429, y + 51, f"{name}{t(': 2 bytes', '：2 个字节')}", "server", "middle")
    drawing.text(20, 194, t("on one machine", "同一台机器上"), "quiet")
    drawing.box(20, 208, 110, 34, "AF_UNIX", kind="client")
    drawing.box(150, 208, 350, 34, "/run/user/1000/echod/whoami.sock", kind="kernel")
    drawing.text(
        325,
        259,
        t("a path: at most 107 bytes and a zero byte", "路径：最多 107 个字节，再加一个零字节"),
        "kernel",
        "middle",
    )
    drawing.box(150, 270, 42, 34, "\\0", kind="wrong")
    drawing.box(196, 270, 304, 34, "client-4711", kind="kernel")
    drawing.text(
        325,
        321,
        t("abstract name: no file, begins with a zero byte", "抽象名字：以零字节开头，没有文件"),
        "kernel",
        "middle",
    )
    return drawing

"""Lesson 8: the handshake of TLS 1.3, the three checks of the client, and the two ends (RFC 8446)."""

from docs.figures.drawing import Language, words
from docs.figures.sequence import Sequence


def draw(language: Language) -> Sequence:
    """Two messages each way, then data, then close_notify before the FIN."""
    t = words(language)
    drawing = Sequence(
        t("A connection with TLS 1.3", "一个 TLS 1.3 连接"),
        t(
            "After the handshake of TCP the client sends ClientHello, with the name localhost. The server sends"
            " ServerHello, its certificate, a signature and Finished. The client checks the authority, the name and"
            " the time, and sends Finished. The data after that is encrypted. At the end the server sends"
            " close_notify, and then FIN.",
            "TCP 握手之后，客户端发送 ClientHello，其中有名字 localhost。"
            "服务器发送 ServerHello、证书、签名和 Finished。"
            "客户端检查签发机构、名字和时间，然后发送 Finished。此后的数据都是加密的。"
            "结束时，服务器先发送 close_notify，再发送 FIN。",
        ),
        language,
        t("client", "客户端"),
        t("server", "服务器"),
        margin=120,
    )
    drawing.note("wrap_socket()")
    drawing.send(t("ClientHello: localhost", "ClientHello：localhost"), "plain")
    drawing.reply(t("ServerHello, certificate, …", "ServerHello、证书……"))
    drawing.note(t("authority?", "签发机构？"), kind="kernel")
    drawing.note(t("name?", "名字？"), kind="kernel")
    drawing.note(t("time?", "时间？"), kind="kernel")
    drawing.send("Finished", "kernel")
    drawing.note("sendall()")
    drawing.send(t("encrypted: hello", "加密：hello"), "kernel")
    drawing.reply(t("encrypted: HELLO", "加密：HELLO"), "kernel")
    drawing.note("", t("close()", "close()"))
    drawing.reply(t("encrypted: close_notify", "加密：close_notify"), "kernel")
    drawing.reply("FIN")
    return drawing

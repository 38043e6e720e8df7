"""Lesson 7: a frame of a WebSocket, bit by bit and byte by byte (RFC 6455, section 5)."""

from docs.figures.drawing import Drawing, Kind, Language, words

TEXT = b"Hello"
MASK = bytes.fromhex("37fa213d")


def frame() -> bytes:
    """The frame with the text, as a client sends it: FIN and opcode 1, the mask bit and the length, mask, text."""
    masked = bytes(byte ^ MASK[number % 4] for number, byte in enumerate(TEXT))
    return bytes([0x81, 0x80 | len(TEXT)]) + MASK + masked


def draw(language: Language) -> Drawing:
    """The bits of the head, the masking of each byte, and the whole frame."""
    t = words(language)
    sent = frame()
    drawing = Drawing(
        t("A WebSocket frame with the text Hello", "内容为 Hello 的 WebSocket 帧"),
        t(
            "The bits of the first byte: FIN is 1, three reserved bits are 0, the opcode is 1, a text. The second byte:"
            " the mask bit is 1, and the length is 5. Each byte of the text is combined with a byte of the mask by"
            f" exclusive or. The frame has the bytes {sent.hex(' ')}.",
            "第一个字节的各个位：FIN 为 1，三个保留位为 0，操作码为 1，表示文本。第二个字节：掩码位为 1，长度为 5。"
            f"文本的每个字节与掩码的一个字节做异或。整个帧的字节是 {sent.hex(' ')}。",
        ),
        language,
    )
    drawing.text(20, 32, t("The two bytes of the head, in bits", "帧头的两个字节，逐位显示"))
    fields: tuple[tuple[str, int, Kind], ...] = (
        ("FIN", 1, "client"),
        (t("reserved", "保留"), 3, "quiet"),
        (t("opcode", "操作码") + f" {sent[0] & 15}", 4, "server"),
        (t("mask", "掩码"), 1, "kernel"),
        (t("length", "长度") + f" {sent[1] & 127}", 7, "plain"),
    )
    bits = f"{sent[0]:08b}{sent[1]:08b}"
    at = 0
    for name, count, kind in fields:
        for number in range(at, at + count):
            drawing.box(_x(number), 44, 26, 28, bits[number], kind=kind)
        drawing.text((_x(at) + _x(at + count - 1) + 26) / 2, 92, name, kind, "middle")
        at += count

    drawing.text(20, 130, t("Each byte of the text, and of the mask: exclusive or", "文本的每个字节与掩码做异或"))
    rows = ((t("text", "文本"), TEXT), (t("mask", "掩码"), (MASK * 2)[: len(TEXT)]), (t("sent", "发送"), sent[6:]))
    for number, letter in enumerate(TEXT.decode()):
        drawing.text(_column(number) + 30, 154, letter, None, "middle")
    kinds: tuple[Kind, ...] = ("client", "kernel", "server")
    for row, ((name, data), kind) in enumerate(zip(rows, kinds, strict=True)):
        drawing.text(20, 182 + 36 * row, name, kind)
        for number, byte in enumerate(data):
            drawing.box(_column(number), 163 + 36 * row, 60, 28, f"{byte:02x}", kind=kind)

    drawing.text(20, 300, t("The whole frame: head, mask, text", "整个帧：帧头、掩码、文本"))
    for number, byte in enumerate(sent):
        part: Kind = "plain" if number < 2 else "kernel" if number < 6 else "server"
        drawing.box(20 + 44 * number, 312, 38, 28, f"{byte:02x}", kind=part)
    return drawing


def _x(bit: int) -> float:
    return 20 + 29 * bit + (14 if bit > 7 else 0)


def _column(number: int) -> float:
    return 110 + 76 * number

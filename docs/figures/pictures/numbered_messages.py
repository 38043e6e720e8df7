"""Lesson 10: the numbers that a client sends, and the replies that arrive, from the run that the page shows."""

import re
from pathlib import Path

from docs.figures.drawing import Drawing, Language, words

PAGE = Path(__file__).parents[2] / "course" / "reliable-or-fast.md"
COUNT = 20


def arrivals() -> list[int]:
    """The numbers in the order of their arrival, of the first run on the page."""
    found = re.search(r"(?m)^arrived: ([\d ]+)$", PAGE.read_text("utf-8"))
    assert found
    return [int(number) for number in found[1].split()]


def draw(language: Language) -> Drawing:
    """A line from each number to each of its replies; a lost one ends in a cross."""
    t = words(language)
    arrived = arrivals()
    lost = sorted(set(range(COUNT)) - set(arrived))
    twice = sorted({number for number in arrived if arrived.count(number) > 1})
    late = [number for at, number in enumerate(arrived) if number < max(arrived[: at + 1])]

    def listed(numbers: list[int]) -> str:
        return t(", ", "、").join(map(str, numbers))

    drawing = Drawing(
        t("Twenty datagrams, and the replies that arrive", "二十个数据报，以及到达的回复"),
        t(
            f"The client sends the numbers 0 to 19. Lost: {listed(lost)}. Twice: {listed(twice)}. After a later one:"
            f" {listed(late)}. The others arrive once and in order.",
            f"客户端发送 0 到 19。丢失：{listed(lost)}；重复：{listed(twice)}；迟到：{listed(late)}。"
            "其余的按顺序到达一次。",
        ),
        language,
    )
    drawing.text(20, 30, t("sent", "发送"), "client")
    drawing.text(20, 208, t("arrived, in this order", "到达的顺序"), "server")
    for number in range(COUNT):
        drawing.box(_x(number) - 11, 40, 22, 26, kind="wrong" if number in lost else "client")
        drawing.text(_x(number), 58, str(number), None, "middle")
        if number in lost:
            drawing.line(_x(number), 66, _x(number), 96, "wrong")
            drawing.cross(_x(number), 100)
    for at, number in enumerate(arrived):
        special = number in late or number in arrived[:at]
        drawing.line(_x(number), 66, _x(at), 156, "kernel" if special else "server", dashed=number in arrived[:at])
        drawing.box(_x(at) - 11, 160, 22, 26, kind="kernel" if special else "server")
        drawing.text(_x(at), 178, str(number), None, "middle")
    drawing.line(20, 232, 50, 232, "kernel", dashed=True)
    drawing.text(58, 237, t("a second copy", "第二份"), "kernel")
    drawing.line(190, 232, 220, 232, "kernel")
    drawing.text(228, 237, t("too late", "迟到"), "kernel")
    drawing.cross(340, 232)
    drawing.text(354, 237, t("lost", "丢失"), "wrong")
    return drawing


def _x(place: int) -> float:
    return 32.0 + 24 * place

"""Requests of other links for the state of a topic, which a node of this hub answers."""

from __future__ import annotations

from typing import Any

from echod.bus.broker_messages import BrokerMessage
from echod.bus.broker_messages import Kind as WireKind
from echod.bus.frames import Frame, Kind
from echod.bus.local_hub import Node


class StateAnswers:
    """The open requests, by the number with which a node was asked."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[BrokerMessage, Node, bytes]] = {}

    def begin(self, number: int, join: BrokerMessage, source: Node, end: bytes) -> None:
        """A node was asked for the state that `join` requests. `end` is the payload of END."""
        self._open[number] = join, source, end

    def __contains__(self, number: int) -> bool:
        return number in self._open

    def answer(self, node: Node, frame: Frame) -> tuple[WireKind, dict[str, Any]] | None:
        """The message to publish for a part or the end of a state; None if another node was asked."""
        join, source, end = self._open[frame.number]
        if source is not node:
            return None
        fields = {"other": join.link, "number": join.sequence, "topic": frame.topic}
        if frame.kind is Kind.STATE:
            return WireKind.PART, fields | {"payload": frame.payload}
        del self._open[frame.number]
        return WireKind.END, fields | {"payload": end}

    def forget_node(self, node: Node) -> None:
        """A node has ended; the other link asks again."""
        self._open = {number: one for number, one in self._open.items() if one[1] is not node}

    def forget_link(self, link: int) -> None:
        """Another link has ended."""
        self._open = {number: one for number, one in self._open.items() if one[0].link != link}

    def clear(self) -> None:
        """The connection is lost."""
        self._open.clear()

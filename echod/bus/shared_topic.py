"""A topic that several daemons have: its standing in this daemon, its links and nodes, and a state that arrives."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from echod.bus.broker_messages import LINKS, NODES, BrokerMessage
from echod.bus.frame_socket import OVERHEAD, WAITING

STATE: Final = 256 * WAITING  #: bytes of the state of a topic


class Standing(Enum):
    """The standing of this hub in a topic."""

    ALONE = "alone"  #: the hub orders the messages itself
    JOINING = "joining"  #: the same, and it has asked for the state
    CURRENT = "current"  #: the broker orders the messages


@dataclass(eq=False)
class SharedTopic:
    """A topic that other daemons may have as well."""

    standing: Standing = Standing.ALONE
    links: list[int] = field(default_factory=list)  #: those that are READY, in their order
    nodes: dict[int, int] = field(default_factory=dict)  #: the link of each node
    tries: int = 0
    request: int = 0  #: the number of the JOIN that has returned; 0: none has
    since: list[BrokerMessage] = field(default_factory=list)  #: messages after that JOIN
    since_bytes: int = 0
    parts: list[bytes] = field(default_factory=list)
    parts_bytes: int = 0
    part_at: float = 0.0  #: when the last one arrived
    was_lost: bool = False  #: the nodes have been notified of the loss of other daemons

    def forget_answer(self, now: float) -> None:
        """Forget what has arrived of a state, and the messages since it was requested."""
        self.request, self.since, self.since_bytes = 0, [], 0
        self.parts, self.parts_bytes, self.part_at = [], 0, now

    def add_part(self, part: bytes, now: float) -> bool:
        """Add a part of the state. False: it has more than STATE bytes."""
        self.part_at = now
        self.parts.append(part)
        self.parts_bytes += len(part) + OVERHEAD
        return self.parts_bytes <= STATE

    def hold(self, message: BrokerMessage) -> int:
        """Hold a message while the state arrives. Returns the bytes that it counts for."""
        size = len(message.payload) + OVERHEAD
        self.since.append(message)
        self.since_bytes += size
        return size

    def add_link(self, link: int, *, is_own: bool) -> bool:
        """Add a link that is READY. False: it is there already, or it is not this hub's and LINKS others are."""
        if link in self.links or (len(self.links) >= LINKS and not is_own):
            return False
        self.links.append(link)
        return True

    def add_node(self, node: int, link: int, *, is_own: bool) -> bool:
        """Set the link of a node. False: the node is new and not of this hub, and NODES others are there."""
        if node not in self.nodes and len(self.nodes) >= NODES and not is_own:
            return False
        self.nodes[node] = link
        return True

    def source_for(self, link: int) -> int:
        """The link that answers a JOIN of another one: the first other one; 0: none."""
        return next((one for one in self.links if one != link), 0)

    def remove(self, gone: int) -> list[int]:
        """Remove a link. Returns its nodes."""
        if gone in self.links:
            self.links.remove(gone)
        nodes = [node for node, link in self.nodes.items() if link == gone]
        for node in nodes:
            del self.nodes[node]
        return nodes

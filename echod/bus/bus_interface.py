"""The interface of a bus: topics whose messages reach all processes in one order.

Each process that serves a chat or a console keeps a *replica* of its rooms or its queue. All changes are messages of
one topic. Each process gets all messages of a topic, its own too, in the same order, so that the replicas are equal. A
name, for example, belongs to the first message that claims it. The bus does not look into messages.

`echod.bus.local_bus` implements it between the workers of one daemon, with a hub in their parent. The hub of
`echod.bus.brokered_hub` does it between machines, over a broker.

Messages may be lost for one process only: it reads too slowly, or it was not connected. Its replica is then restored
from the state of another node. All bounds are those of an outbox (`echod.services.outbox`): a slow process loses
messages and gets their number. It delays neither other processes nor connections.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Protocol

MESSAGE: Final = 524_288  #: bytes of the largest message: an answer of 64 KiB in which JSON escapes each byte
TOPIC: Final = 255  #: bytes of the longest topic


class Replica(Protocol):
    """The state of one topic in this process. Its methods do not block, and raise only as they say."""

    def received(self, node: int, message: bytes) -> int:
        """Apply a message of a node, which may be this one. Returns its cost in units of work (`gate.work_budget`).

        A wrong message raises an exception.
        """

    def left(self, node: int) -> None:
        """A node has left, and sends no more messages: it has ended, or lost its connection to the bus."""

    def together(self, connected: bool) -> None:
        """The nodes of other machines are lost, and leave after this; or they are connected again."""

    def state(self) -> Iterator[bytes]:
        """The state for another node, in parts of at most MESSAGE bytes. It must not change while it is read."""

    def restored(self, node: int, parts: Iterable[bytes] | None, lost: int) -> None:
        """Continue with the state of another node; None: no other node has one, and this one continues with its own.

        `node` is the number of this node from now on. It is called once before the first message, and again after
        messages were lost: `lost` of them. Send again all that this process has and the state does not. If the parts
        are wrong, change nothing and raise an exception.
        """


class Topic(Protocol):
    """One topic, in one process."""

    def publish(self, message: bytes, *, must: bool = False) -> bool:
        """Send a message to all nodes, this one too. False: too many messages wait, and it is not sent.

        A message that `must` be sent is sent nevertheless: use it only for what is bounded in another way, such as
        one message for each connection. Raises ValueError if it has more than MESSAGE bytes.
        """


class Bus(Protocol):
    """The bus, in one process."""

    def join(self, topic: str, replica: Replica) -> Topic:
        """Join a topic with a replica, once for each topic. Raises ValueError if the name has more than TOPIC bytes."""

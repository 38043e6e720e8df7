"""Accepting in several processes that share a listening socket: none of them takes many more connections than another.

The kernel wakes all of them for a new connection, and the first one accepts it. The busier process is slower, so the
connections are shared fairly; in a burst, chance decides. A process that is ahead therefore leaves new connections to
the others for LEFT seconds, and then accepts a few: another process may hang.
"""

from __future__ import annotations

from typing import Final

from echod.gate.connections import ConnectionGate

LEFT: Final = 0.004  #: seconds: a new connection waits at most so long if all other processes hang
A_FEW: Final = 8  #: connections accepted after that


class AcceptShare:
    """Decides for one listener; `gate` counts the connections of this process and of the others."""

    def __init__(self, gate: ConnectionGate | None) -> None:
        self._gate = gate
        self.leaving = False  #: whether new connections are left to other processes now

    def most(self, usual: int) -> int:
        """The connections to accept in this turn: `usual`, or A_FEW; 0: accept again after LEFT seconds."""
        if self._gate is None or not self._gate.is_ahead:
            self.leaving = False
            return usual
        self.leaving = not self.leaving
        return 0 if self.leaving else A_FEW

"""The faults of one running service: which connections and datagrams they apply to, how often, and when they change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from echod.faults.parsing import listed
from echod.faults.pattern import Pattern
from echod.faults.settings import NO_FAULTS, Faults
from echod.gate.access import Access, canonical

REPORTED_EVERY: Final = 1.0  #: seconds between two events of the same fault; the second has the count of both

Later = Callable[[float, Callable[[], None]], Any]
"""Calls a function after some seconds; the result has `cancel`."""


Count = Callable[[str, int], None]
"""Counts a fault, by its key, and how often it was injected."""


def _nothing(_name: str, **_fields: object) -> None:
    """The default of `tell`: no event."""


class FaultInjector:
    """The faults of a service. `faults` are the configured ones, and `current` those of the running script's step.

    Connections are numbered from 0, and so are datagrams and flows, each by itself. A change of the faults begins these
    numbers again. `tell` gets the events of faults. `seed` is used if the faults have none.
    """

    def __init__(
        self, name: str, faults: Faults, later: Later, seed: int, tell: Callable[..., None] = _nothing
    ) -> None:
        self.name = name
        self.faults = self.current = faults
        self.step = 0  #: of the script, from 0
        self.generation = 0  #: changes when the numbers begin again
        self._later, self._tell, self._seed = later, tell, seed
        self._connections = self._flows = self._datagrams = 0
        self._changed: dict[Callable[[], None], None] = {}
        self._unreported: dict[str, tuple[Any, int]] = {}  # by fault: the timer of the next event, and the count for it
        self._unavailable: set[str] = set()  # the reported faults, until a change
        self._timer: Any = None
        self._script_begun = self._ended = False
        self._access: Access | None = None
        self._select()

    @property
    def seed(self) -> int:
        """The seed in use."""
        return self._seed if self.faults.seed is None else self.faults.seed

    # configuration

    def begin(self) -> None:
        """Begin the script, if the faults have one and it has not begun yet."""
        if self.faults.script is not None and not self._script_begun:
            self._take_step(0)

    def end(self) -> None:
        """Stop the script and the events. The faults of its step stay."""
        self._ended = True
        self._stop_script()
        for timer, _ in self._unreported.values():
            timer.cancel()
        self._unreported.clear()

    def _stop_script(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def change(self, faults: Faults) -> None:
        """Use other faults from now on, also for open connections. The numbers begin again."""
        self._stop_script()
        self.faults = faults
        self.generation += 1
        self._unavailable.clear()
        self._connections = self._flows = self._datagrams = 0
        if faults.script is None:
            self._use(faults)
        else:
            self._take_step(0)

    def _take_step(self, index: int) -> None:
        script = self.faults.script
        assert script is not None
        self._timer, self._script_begun = None, True
        if index == len(script.steps) and script.repeat:
            index = 0
        self.step = index
        if index == len(script.steps):
            self._use(NO_FAULTS)
            self._tell("faults.changed", service=self.name, faults="none", by="the end of the script")
            return
        step = script.steps[index]
        if step.seconds is not None:
            self._timer = self._later(step.seconds, lambda: self._take_step(index + 1))
        self._use(step.faults)
        self._tell(
            "faults.changed", service=self.name, faults=listed(step.faults), by=f"step {index + 1} of the script"
        )

    def _use(self, faults: Faults) -> None:
        self.current = faults
        self._select()
        for call in tuple(self._changed):
            call()

    def _select(self) -> None:
        self._access = Access(self.faults.clients) if self.faults.clients else None

    def subscribe(self, call: Callable[[], None]) -> None:
        """Call `call` after each change of the faults."""
        self._changed[call] = None

    def unsubscribe(self, call: Callable[[], None]) -> None:
        """Stop calling `call`."""
        self._changed.pop(call, None)

    # connections and datagrams

    def connection(self, host: bytes, count: Count) -> Injection:
        """A new connection of `host`: 4 or 16 bytes, or none for a Unix peer. `count` counts its faults."""
        self._connections += 1
        return Injection(self, host, self._connections - 1, count)

    def flow(self) -> Pattern:
        """The random numbers of a new flow of datagrams."""
        self._flows += 1
        return Pattern(self.seed, self._flows - 1)

    def datagram(self, host: bytes) -> Faults:
        """The faults of the reply to the next datagram, which `host` has sent."""
        self._datagrams += 1
        return self.selected(host, self._datagrams - 1)

    def selected(self, host: bytes, number: int) -> Faults:
        """The current faults if they apply to a connection or datagram of this number and host, else none."""
        of, access = self.faults, self._access
        if of.every is not None and (number + 1) % of.every:
            return NO_FAULTS
        if of.first is not None and number >= of.first:
            return NO_FAULTS
        if access is not None and not (host and access.allows(canonical(host))):
            return NO_FAULTS
        return self.current

    # events

    def report(self, fault: str, times: int = 1) -> None:
        """Publish the event of an injected fault, at most once in REPORTED_EVERY seconds."""
        if self._ended:
            return
        if fault in self._unreported:
            timer, before = self._unreported[fault]
            self._unreported[fault] = (timer, before + times)
        else:
            self._report(fault, times)

    def report_unavailable(self, fault: str, error: str) -> None:
        """Publish that a fault has no effect, once until the faults change."""
        if fault not in self._unavailable:
            self._unavailable.add(fault)
            self._tell("fault.unavailable", service=self.name, fault=fault, error=error)

    def _report(self, fault: str, times: int) -> None:
        self._unreported[fault] = (self._later(REPORTED_EVERY, lambda: self._report_again(fault)), 0)
        self._tell("fault.injected", service=self.name, fault=fault, count=times)

    def _report_again(self, fault: str) -> None:
        _, times = self._unreported.pop(fault)
        if times:
            self._report(fault, times)


class Injection:
    """The faults of one connection. `own` replaces those of the service if the session has chosen others."""

    __slots__ = ("_count", "_host", "_number", "_seen", "_selected", "injector", "own", "pattern")

    def __init__(self, injector: FaultInjector, host: bytes, number: int, count: Count) -> None:
        self.injector = injector
        self.pattern = Pattern(injector.seed, number)
        self._count = count
        self.own: Faults | None = None
        self._host, self._number = host, number
        self._seen: Faults | None = None  # the faults of the service for which `_selected` was computed
        self._selected = NO_FAULTS

    @property
    def faults(self) -> Faults:
        """The faults that apply now."""
        if self.own is not None:
            return self.own
        if self._seen is not self.injector.current:
            self._seen = self.injector.current
            self._selected = self.injector.selected(self._host, self._number)
        return self._selected

    def refuses(self) -> bool:
        """Whether the connection is refused; if so, this is counted."""
        if self.faults.refuse:
            self.count("refuse")
        return self.faults.refuse

    def count(self, fault: str, times: int = 1) -> None:
        """Count an injected fault, by its key."""
        self._count(fault, times)
        self.injector.report(fault, times)

    def choose(self, faults: Faults) -> None:
        """Use other faults for this connection only; their seed, if they have one, begins the pattern again."""
        self.own = faults
        if faults.seed is not None:
            self.pattern = Pattern(faults.seed, self._number)

"""The faults of a service: which connections and datagrams have them, scripts, counts and events."""

from ipaddress import ip_network

from twisted.internet.task import Clock

from echod.events import Counters
from echod.faults.injector import FaultInjector
from echod.faults.settings import NO_FAULTS, Faults, Script, Step

HOST = b"\x7f\0\0\1"
MAPPED = bytes(10) + b"\xff\xff" + HOST


def ignore(fault, times):
    """Count nothing."""


def made(faults, seed=9):
    clock, events = Clock(), []
    injector = FaultInjector(
        "echo", faults, clock.callLater, seed, lambda name, **fields: events.append((name, fields))
    )
    injector.begin()
    return injector, clock, events


def test_every_and_first_count_the_connections_of_the_service():
    third, _, _ = made(Faults(refuse=True, every=3))
    assert [third.connection(HOST, ignore).faults.refuse for _ in range(7)] == [
        False,
        False,
        True,
        False,
        False,
        True,
        False,
    ]
    two, _, _ = made(Faults(refuse=True, first=2))
    counters = Counters()
    assert [two.connection(HOST, counters.inject).refuses() for _ in range(4)] == [True, True, False, False]
    assert counters.faults == {"refuse": 2}


def test_datagrams_are_counted_by_themselves():
    injector, _, _ = made(Faults(drop=1.0, first=1))
    injector.connection(HOST, ignore)
    assert [injector.datagram(HOST).drop for _ in range(2)] == [1.0, 0.0]


def test_only_the_listed_clients_have_faults():
    injector, _, _ = made(Faults(silent=True, clients=(ip_network("127.0.0.0/8"),)))
    hosts = [HOST, MAPPED, b"\x0a\0\0\1", b""]
    assert [injector.connection(host, ignore).faults.silent for host in hosts] == [True, True, False, False]


def test_connections_have_numbers_that_a_change_begins_again():
    injector, _, _ = made(NO_FAULTS)
    before = [injector.connection(HOST, ignore).pattern.uniform(b"x", 0) for _ in range(2)]
    assert before[0] != before[1]
    injector.change(Faults(delay=1.0))
    assert [injector.connection(HOST, ignore).pattern.uniform(b"x", 0) for _ in range(2)] == before
    assert made(Faults(seed=9))[0].flow().uniform(b"x", 0) == before[0]


def test_an_open_connection_follows_a_change_unless_it_has_chosen_faults():
    injector, _, _ = made(NO_FAULTS)
    follows, own = injector.connection(HOST, ignore), injector.connection(HOST, ignore)
    own.choose(Faults(delay=2.0))
    injector.change(Faults(delay=1.0))
    assert (follows.faults.delay, own.faults.delay) == (1.0, 2.0)


def test_a_script_changes_the_faults_and_ends_without_any():
    script = Script((Step(Faults(delay=1.0), 10.0), Step(Faults(delay=2.0), 5.0)))
    injector, clock, events = made(Faults(script=script))
    seen = []
    injector.subscribe(lambda: seen.append(injector.current.delay))
    assert injector.current.delay == 1.0
    clock.advance(10)
    clock.advance(5)
    assert seen == [2.0, 0.0]
    assert injector.current == NO_FAULTS
    assert not clock.getDelayedCalls()
    assert [(name, fields["faults"], fields["by"]) for name, fields in events] == [
        ("faults.changed", 'delay = "1s"', "step 1 of the script"),
        ("faults.changed", 'delay = "2s"', "step 2 of the script"),
        ("faults.changed", "none", "the end of the script"),
    ]


def test_a_script_repeats_until_the_end():
    script = Script((Step(Faults(delay=1.0), 10.0), Step(NO_FAULTS, 5.0)), repeat=True)
    injector, clock, _ = made(Faults(script=script))
    clock.pump([5] * 6)
    assert injector.current.delay == 1.0
    injector.end()
    assert not clock.getDelayedCalls()
    injector.change(NO_FAULTS)
    injector.unsubscribe(len)
    assert injector.current == NO_FAULTS


def test_a_script_begins_once_and_again_after_a_change():
    script = Script((Step(Faults(delay=1.0), 10.0), Step(Faults(delay=2.0))))
    injector, clock, _ = made(Faults(script=script))
    clock.advance(6)
    injector.begin()
    clock.advance(6)
    injector.begin()  # as at each reload, also in the last step, which has no timer
    assert (injector.current.delay, injector.step) == (2.0, 1)
    injector.change(Faults(script=script))
    assert (injector.current.delay, injector.step) == (1.0, 0)


def test_after_the_end_no_event_and_no_timer_begins():
    injector, clock, events = made(NO_FAULTS)
    injector.end()
    injector.report("drop")
    assert not events
    assert not clock.getDelayedCalls()


def test_an_unavailable_fault_is_reported_once_until_a_change():
    injector, _, events = made(NO_FAULTS)
    for _ in range(2):
        injector.report_unavailable("half-open-after", "EPERM")
        injector.report_unavailable("drop", "ENOSYS")
    injector.change(Faults(delay=1.0))
    injector.report_unavailable("drop", "ENOSYS")
    assert [(name, fields["fault"], fields["error"]) for name, fields in events] == [
        ("fault.unavailable", "half-open-after", "EPERM"),
        ("fault.unavailable", "drop", "ENOSYS"),
        ("fault.unavailable", "drop", "ENOSYS"),
    ]


def test_an_event_is_published_once_a_second_with_the_count():
    injector, clock, events = made(NO_FAULTS)
    for _ in range(5):
        injector.report("drop")
    injector.report("corrupt", 3)
    clock.advance(1)
    clock.advance(1)
    assert [(fields["fault"], fields["count"]) for _, fields in events] == [("drop", 1), ("corrupt", 3), ("drop", 4)]
    assert {name for name, _ in events} == {"fault.injected"}
    assert not clock.getDelayedCalls()

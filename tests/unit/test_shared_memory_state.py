"""The limits of a daemon over several processes: each `state` here is that of one process."""

import os
import random
from ipaddress import ip_network

import pytest

from echod.daemon.daemon_wide_state import SharedState
from echod.events import Closing
from echod.gate.access import Access
from echod.gate.address_cookies import answer_to
from echod.gate.datagram_member_gate import CHALLENGES, OUTPUT
from echod.gate.limits import Limits, Rate
from echod.gate.network_rate import BYTES, TOTAL
from echod.gate.refusal import Refusal
from echod.gate.total_buffer import Pressure
from echod.shared_memory.limits import SharedHandshakes
from echod.shared_memory.memory import PARENT, SharedMemory
from echod.shared_memory.state import SharedMemoryState

EVERYBODY = Access([ip_network("0.0.0.0/0"), ip_network("::/0")])
HOST, OTHER = bytes([192, 0, 2, 1]), bytes([198, 51, 100, 1])


class Processes:
    """A parent and its workers. `made` are the states: that of the parent first."""

    def __init__(self, workers: int = 2) -> None:
        self.now = 1000.0
        self.told: list[str] = []
        self.memory = SharedMemory.create(workers)
        self.made = [self.state(PARENT)]
        self.workers = [self.start() for _ in range(workers)]
        self.parent = self.made[0]

    def state(self, column: int) -> SharedMemoryState:
        return SharedMemoryState(
            lambda: self.now,
            lambda name, **_fields: self.told.append(name),
            memory=SharedMemory(self.memory.descriptor),
            column=column,
            membership=lambda _service, _context: pytest.fail("no service asks for it"),
        )

    def start(self) -> SharedMemoryState:
        column = self.memory.assign()
        state = self.state(column)
        self.made.append(state)
        return state

    def kill(self, number: int) -> None:
        """As the parent does when a worker has ended."""
        self.parent.release(number + 1)


@pytest.fixture
def processes():
    made = Processes()
    yield made
    os.close(made.memory.descriptor)


def datagram_gates(processes: Processes, rate: Rate, service: str = "echo"):
    return [
        one.datagram_gate(service, EVERYBODY, Limits(rate=rate), own_ports=set(), broadcasts=set())
        for one in processes.workers
    ]


def test_it_is_a_shared_state(processes):
    state: SharedState = processes.workers[0]
    assert state.send_budget.total == 0


def test_faults_have_the_same_seed_in_all_processes(processes):
    first, second = (one.fault_seed for one in processes.workers[:2])
    assert first == second
    assert 0 < first < 2**63


def test_connections_of_a_service_are_limited_over_all_processes(processes):
    gates = [one.connection_gate("echo", EVERYBODY, Limits(connections=3)) for one in processes.workers]
    apart = processes.workers[1].connection_gate("upper", EVERYBODY, Limits(connections=1))
    admitted = [gates[number].admit(b"", loopback=True) for number in (0, 1, 0, 1, 0)]
    assert [gate.open_elsewhere for gate in gates] == [1, 2]
    assert admitted == [None, None, None, Refusal.CONNECTIONS, Refusal.CONNECTIONS]
    assert apart.admit(b"", loopback=True) is None, "another service has its own slots"
    gates[0].release(b"")
    assert gates[1].admit(b"", loopback=True) is None
    processes.kill(0)
    assert [gates[1].admit(b"", loopback=True) for _ in range(2)] == [None, Refusal.CONNECTIONS]


def test_connections_of_a_client_are_limited_over_all_processes(processes):
    limits = Limits(per_client=2)
    gates = [one.connection_gate("echo", EVERYBODY, limits) for one in processes.workers]
    six = bytes.fromhex("20010db8000000010000000000000001"), bytes.fromhex("20010db80000000100000000000000ff")
    assert [gates[0].admit(HOST, loopback=True), gates[1].admit(HOST, loopback=True)] == [None, None]
    assert gates[0].admit(HOST, loopback=True) is Refusal.PER_CLIENT
    assert gates[1].admit(OTHER, loopback=True) is None
    assert [gates[0].admit(one, loopback=True) for one in six] == [None, None]
    assert gates[1].admit(six[0], loopback=True) is Refusal.PER_CLIENT
    gates[1].release(HOST)
    assert gates[0].admit(HOST, loopback=True) is None


def test_a_killed_process_holds_no_slots_and_its_successor_begins_with_none(processes):
    gate = processes.workers[0].connection_gate("echo", EVERYBODY, Limits(connections=2, per_client=1))
    assert gate.admit(HOST, loopback=True) is None
    processes.kill(0)
    successor = processes.start().connection_gate("echo", EVERYBODY, Limits(connections=2, per_client=1))
    assert successor.admit(HOST, loopback=True) is None
    assert (
        processes.workers[1].connection_gate("echo", EVERYBODY, Limits(connections=2)).admit(b"", loopback=True) is None
    )


@pytest.mark.parametrize("seed", range(4))
def test_a_network_gets_its_rate_and_one_burst_for_each_process(processes, seed):
    """For any division of the datagrams, and any pauses; each process serves them by one or in runs."""
    chance, rate = random.Random(seed), Rate(100, 50)
    gates = datagram_gates(processes, rate)
    began, admitted = processes.now, 0
    for step in range(4000):
        processes.now += chance.choice((0, 0, 0.001, 0.01, 3.0 if step % 500 == 0 else 0.002))
        gate, port = (
            chance.choice(gates) if step % 1000 < 700 else gates[step // 1000 % 2],
            chance.randrange(1024, 60_000),
        )
        count = chance.randrange(1, 6)
        if gate.admit_run(HOST, port, count, 10 * count, loopback=False) is True:
            admitted += count
        else:
            for _ in range(count):
                admitted += gate.admit(HOST, port, chance.randbytes(10), loopback=False) is None
    assert admitted <= rate.per_second * (processes.now - began) + len(gates) * rate.burst + 1
    assert admitted > rate.per_second * (processes.now - began) / 4


def test_two_processes_that_serve_a_network_in_turn_admit_as_many_as_one_would(processes):
    """The second burst is only for the first look at a network."""
    rate = Rate(100, 100)
    gates = datagram_gates(processes, rate)
    first = [gate.admit(HOST, 5000, b"first", loopback=False) for gate in gates]
    assert first == [None, None]
    more = sum(gates[number % 2].admit(HOST, 5000 + number, b"x", loopback=False) is None for number in range(300))
    assert more in (98, 99)


def test_a_quiet_network_is_not_limited_by_a_busy_one(processes):
    gates = datagram_gates(processes, Rate(10, 10))
    for number in range(100):
        gates[0].admit(HOST, 5000 + number, b"x", loopback=False)
    assert gates[1].admit(OTHER, 5000, b"x", loopback=False) is None
    assert gates[1].admit(HOST, 5000, b"x", loopback=False) is None, "the first look: a burst of its own"


def test_bytes_of_a_network_are_limited_over_all_processes(processes):
    gates = datagram_gates(processes, Rate(1_000_000, 1_000_000))
    for gate in gates:
        gate.admit(HOST, 5000, b"", loopback=False)
    size = 32_768
    refusals = [gates[number % 2].admit(HOST, 6000 + number, bytes(size), loopback=False) for number in range(40)]
    assert refusals.count(None) == BYTES.burst / size
    assert set(refusals) == {None, Refusal.BYTES}


def test_all_networks_together_are_limited_over_all_processes_and_services(processes):
    rate = Rate(1_000_000, 1_000_000)
    gates = [datagram_gates(processes, rate, "echo")[0], datagram_gates(processes, rate, "upper")[1]]
    half = int(TOTAL.burst) // 2
    for state in processes.workers:
        state.publish()
    assert gates[0].admit_run(HOST, 5000, half, 0, loopback=False) is True
    assert gates[1].admit_run(OTHER, 5000, half - 1, 0, loopback=False) is True
    assert gates[1].admit(OTHER, 5000, b"", loopback=False) is None
    assert [gate.admit(OTHER, 5001, b"", loopback=False) for gate in gates] == [Refusal.TOTAL] * 2
    processes.kill(0)
    assert gates[1].admit(OTHER, 5001, b"", loopback=False) is Refusal.TOTAL, "what it took is taken"


def test_new_connections_of_a_client_are_limited_over_all_processes(processes):
    limits = Limits(new_per_client=Rate(1, 10))
    gates = [one.connection_gate("echo", EVERYBODY, limits) for one in processes.workers]
    results = [gates[number % 2].admit(HOST, loopback=False) for number in range(40)]
    assert 10 <= results.count(None) <= 11
    assert set(results) == {None, Refusal.NEW_PER_CLIENT}


def test_output_and_challenges_of_members_are_limited_over_all_processes(processes):
    gates = [one.members for one in processes.workers]
    for gate in gates:
        assert gate.may_send(HOST, 1)
    size = 4096
    sent = sum(gates[number % 2].may_send(HOST, size) for number in range(1000))
    assert sent in (OUTPUT.burst // size, OUTPUT.burst // size - 1)
    refusals = [gates[number % 2].refuses_to_challenge(b"address", OTHER, bytes(20)) for number in range(40)]
    assert CHALLENGES.burst <= refusals.count(None) <= CHALLENGES.burst + 1


def test_a_challenge_of_one_process_is_answered_to_another(processes):
    one, other = (state.members.cookies for state in processes.workers)
    challenge = one.challenge(b"address")
    assert other.answered(b"address", answer_to(challenge))
    assert not other.answered(b"another", answer_to(challenge))
    processes.kill(0)
    assert processes.start().members.cookies.answered(b"address", answer_to(challenge))


def test_consents_of_members_are_known_to_all_processes_until_they_end(processes):
    one, other = (state.members.consents for state in processes.workers)
    one.keep(b"address", processes.now + 30)
    assert other.until(b"address") == processes.now + 30
    one.keep(b"address", 0)
    assert other.until(b"address") == 0
    one.keep(b"address", processes.now + 30)
    one.keep(b"another", processes.now + 5)
    processes.now += 10
    processes.kill(0)
    assert other.until(b"address") == processes.now + 20
    assert other.until(b"another") == 0


def test_consents_that_have_ended_give_their_places_to_others(processes):
    """More members in all than the table has places, a thousand at once."""
    consents = processes.workers[0].members.consents
    kept = 0
    for number in range(70_000):
        processes.now += 0.03
        consents.keep(b"%d" % number, processes.now + 30)
        kept += consents.until(b"%d" % number) > processes.now
    assert kept == 70_000


def test_unsent_bytes_are_those_of_all_processes(processes):
    one, other = (state.send_budget for state in processes.workers)
    marks = [budget.mark(1000) for budget in (one, other)]
    pressures: list[Pressure] = []
    marks[0].join(pressures.append)
    one.change(400)
    other.change(700)
    assert (other.total, marks[1].pressure) == (1100, Pressure.FULL)
    assert marks[0].pressure is Pressure.NONE, "it sees the sum at its next change or publication"
    processes.workers[0].publish()
    assert (one.total, pressures[-1]) == (1100, Pressure.FULL)
    assert processes.told == ["reading.paused"]
    processes.kill(1)
    one.refresh()
    assert (one.total, pressures[-1]) == (400, Pressure.NONE)


def test_lines_that_outboxes_dropped_are_those_of_all_processes(processes):
    for number, state in enumerate(processes.workers, 1):
        state.send_budget.miss(number)
        state.send_budget.end_reader()
    assert processes.parent.send_budget.figures() == {"missed": 3, "readers_ended": 2}
    processes.kill(1)
    assert processes.parent.send_budget.figures() == {"missed": 3, "readers_ended": 2}


def test_unfinished_handshakes_of_all_processes_are_bounded(processes):
    ended: list[str] = []
    made = [SharedHandshakes(processes.memory, column, most=3) for column in (1, 2)]
    names = {name: (lambda name=name: ended.append(name)) for name in "abcdef"}
    for name in "ab":
        made[0].begin(names[name])
    made[1].begin(names["c"])
    made[0].begin(names["d"])
    assert ended == ["a"], "the oldest of this process"
    made[0].end(names["b"])
    made[1].begin(names["e"])
    assert (ended, made[0].in_all()) == (["a"], 3)
    processes.kill(1)
    assert made[0].in_all() == 1


def test_a_process_without_a_handshake_may_begin_one_above_the_bound(processes):
    made = [SharedHandshakes(processes.memory, column, most=1) for column in (1, 2)]
    ended: list[int] = []
    made[0].begin(lambda: ended.append(0))
    made[1].begin(lambda: ended.append(1))
    assert (ended, made[0].in_all()) == ([], 2)
    made[1].begin(lambda: ended.append(2))
    assert (ended, made[0].in_all()) == ([1], 2)


def test_the_parent_collects_the_counters_of_its_workers(processes):
    of = [state.counters("echo", "tcp://127.0.0.1:7") for state in processes.made]
    assert processes.parent.counters("echo", "tcp://127.0.0.1:7") is of[0]
    of[0].accepted = 1  # the parent may count as well
    for number, counters in enumerate(of[1:], 1):
        counters.accepted, counters.open, counters.bytes_in = 10 * number, 2, 2**40
        counters.refuse(Refusal.DENIED, number)
        counters.closed[Closing.IDLE] = 8
    for state in processes.workers:
        state.publish()
    for _ in range(2):
        processes.parent.collect()
        assert of[0].figures() == {
            "accepted": 31, "open": 4, "bytes_in": 2**41, "refused:denied": 3, "closed:idle": 16
        }  # fmt: skip
    of[1].close(Closing.IDLE)
    processes.workers[0].publish()
    processes.parent.collect()
    assert (of[0].open, of[0].closed) == (3, {Closing.IDLE: 17})


def test_counters_never_fall_when_a_worker_is_killed_and_its_connections_are_closed(processes):
    address = ("echo", "tcp://127.0.0.1:7")
    ours, theirs = processes.parent.counters(*address), processes.workers[0].counters(*address)
    theirs.accepted, theirs.open = 5, 3
    theirs.closed[Closing.DONE] = 2
    processes.workers[0].publish()
    for _ in range(2):
        processes.parent.collect()
    processes.kill(0)
    processes.parent.collect()
    assert ours.figures() == {"accepted": 5, "closed:done": 2, "closed:worker": 3}
    successor = processes.start()
    theirs = successor.counters(*address)
    theirs.accepted = theirs.open = 1
    successor.publish()
    processes.parent.collect()
    assert ours.figures() == {"accepted": 6, "open": 1, "closed:done": 2, "closed:worker": 3}

"""Rooms and queues in several processes: as those of one process, and equal in all of them."""

import random
import unittest
from functools import partial
from typing import Any
from unittest import mock

import pytest
from twisted.logger import globalLogPublisher

from echod.bus.frames import Frame, Kind
from echod.bus.local_bus import LocalBus
from echod.membership import Unanswerable
from echod.model import Context, End
from echod.services.chat import Chat, ChatOptions
from echod.services.console import Console, ConsoleOptions
from echod.services.in_process_membership import LocalMembership
from echod.services.replicated_membership import Memberships
from echod.services.replicated_queue import ReplicatedQueue
from echod.services.replicated_rooms import ReplicatedRooms
from tests.bus import Processes, alone
from tests.unit import test_services_chat, test_services_console
from tests.unit.test_services_chat import Member
from tests.unit.test_services_console import Client, Operator

BROKEN = (
    *(
        b"",
        b"{",
        b"[]",
        b'["say"]',
        b'["limits", 0, "x"]',
        b'["limits", 0, "x", 1, 1]',
        b'["unknown", 1]',
        b'["enter", 1, 2, [], 3]',
        b"\xff",
    ),
    *(b'["message", 1]', b'["say", [], "x"]'),
)


@unittest.skip("it runs in the class of one process only")
def elsewhere(_: object) -> None:
    """In place of an inherited test: trial finds it in the base class also if it is None here."""


class OverABus(unittest.TestCase):
    """Its subclasses run the tests of one process with replicated rooms and queues."""

    def setUp(self):
        patch = mock.patch("echod.services.in_process_membership.LocalMembership", alone)
        patch.start()
        self.addCleanup(patch.stop)


class ChattingOverABus(OverABus, test_services_chat.Chatting):
    """Every test of the chat, with replicated rooms; except two that look into the rooms of one process.

    Hypothesis runs a test in one class only.
    """

    test_lines_do_not_depend_on_the_chunks = elsewhere

    test_history_is_bounded_by_bytes_too = elsewhere
    test_one_host_creates_at_most_half_of_the_rooms = elsewhere


class ConsolingOverABus(OverABus, test_services_console.Consoling):
    """Every test of the console, with a replicated queue; except those that look into the queue of one process.

    In the others of these, a client leaves with a message of its own: after that which ended it.
    """

    test_any_data_is_shown_and_counted = elsewhere
    test_half_closed_clients_give_way_only_to_clients_of_their_host = elsewhere
    test_one_host_uses_at_most_half_of_the_queue = elsewhere
    test_the_cost_of_a_message_is_independent_of_the_clients = elsewhere
    test_waiting_messages_are_bounded_for_each_client_and_in_all = elsewhere


@pytest.fixture
def processes():
    made = Processes(3)
    yield made
    made.close()


@pytest.fixture
def small():
    """Processes that lose messages soon."""
    made = Processes(3, bound=10_000)
    yield made
    made.close()


def chats(processes: Processes, **options: Any) -> list[Chat]:
    made = [chat_of(processes, bus, **options) for bus in processes.buses]
    processes.settle()
    return made


def chat_of(processes: Processes, bus: LocalBus, **options: Any) -> Chat:
    return Chat(ChatOptions(**options), processes.context(membership=processes.membership(bus)))


def consoles(processes: Processes, **options: Any) -> list[Console]:
    made = [
        Console(ConsoleOptions(**options), processes.context(membership=processes.membership(bus)))
        for bus in processes.buses
    ]
    processes.settle()
    return made


def processes_do_nothing_else(processes: Processes) -> None:
    """A turn in which no process reads or writes the bus."""
    processes.reactor.advance(0)


def state_of(service: Any) -> list[bytes]:
    replica = service.rooms if isinstance(service, Chat) else service.queue
    return list(replica.state())


def same(services: list[Any]) -> bool:
    """Whether all replicas are equal, and hold more than the limits."""
    first, *others = map(state_of, services)
    assert len(first) > 1
    return all(one == first for one in others)


def test_a_room_is_one_room(processes):
    made = chats(processes, history=5)
    anna, bob, carla = (Member(chat) for chat in made)
    processes.settle()
    assert [one.heard()[0].partition(";")[0] for one in (anna, bob, carla)] == [
        "-- welcome: you are guest1, in lobby with no other members",
        "-- welcome: you are guest2, in lobby with guest1",
        "-- welcome: you are guest3, in lobby with guest1, guest2",
    ]
    anna.says("/nick anna", "hello", "/me waves", "/msg guest2 psst", "/who")
    processes.settle()
    assert anna.heard()[-2:] == ["-- you are now anna", "-- in lobby: anna, guest2, guest3"]
    shown = ["-- guest1 is now anna", "anna: hello", "* anna waves"]
    assert (bob.heard(), carla.heard()) == ([*shown, "anna (to you): psst"], shown)
    bob.says("/join garden", "alone")
    carla.says("/join #garden")
    processes.settle()
    assert carla.heard() == ["-- guest2 has left", "-- you are in garden with guest2",
                             "-- recent lines:", "guest2: alone"]  # fmt: skip
    assert anna.heard() == ["-- guest2 has left", "-- guest3 has left"]
    anna.says("/join")
    processes.settle()
    assert anna.heard() == ["-- the rooms: lobby (1), garden (2)"]
    assert same(made)


@pytest.mark.parametrize("end", ["quit", "half-close"])
def test_lines_that_arrive_at_once_are_answered_in_order_before_the_end(processes, end):
    made = chats(processes)
    bob = Member(made[1])
    processes.settle()
    anna = Member(made[0])
    anna.send(b"/nick anna\n/unknown\nhello\n/who\n" + (b"/quit\nignored\n" if end == "quit" else b""))
    if end == "half-close":
        anna.perform(anna.session.ended())
    processes.settle()
    welcome, *heard = anna.heard()
    assert welcome.startswith("-- welcome: you are guest2")
    assert heard == [
        "-- you are now anna",
        "-- unknown command /unknown; /help lists the commands",
        "-- in lobby: guest1, anna",
        *(["-- goodbye"] if end == "quit" else []),
    ]
    assert anna.ended is End.CLOSE
    assert bob.heard()[-3:] == ["-- guest2 is now anna", "anna: hello", "-- anna has left"]
    assert same(made)


def test_the_first_of_two_members_gets_a_name_and_the_other_is_refused(processes):
    made = chats(processes)
    people = [Member(chat) for chat in made]
    processes.settle()
    for one in people:
        one.heard()
        one.says("/nick Anna")
    processes.settle()
    heard = [one.heard() for one in people]
    assert sum("-- you are now Anna" in lines for lines in heard) == 1
    assert sum("-- the name Anna is taken" in lines for lines in heard) == 2
    people[0].says("/nick аnnа")
    processes.settle()
    assert any("taken" in line or "mixes" in line for line in people[0].heard())
    assert same(made)


def test_messages_of_a_broken_process_change_no_replica(processes):
    """The hub does not look into messages; each process skips those that it cannot apply."""
    failures: list[Any] = []
    observer: Any = failures.append
    made = chats(processes)
    anna, rooms = Member(made[0]), made[0].rooms
    assert isinstance(rooms, ReplicatedRooms)
    topic = rooms._topic
    processes.settle()
    globalLogPublisher.addObserver(observer)
    try:
        for message in BROKEN:
            topic.publish(message)
        processes.settle()
    finally:
        globalLogPublisher.removeObserver(observer)
    assert len([one for one in failures if "log_failure" in one]) % 3 == 0, "all processes fail alike"
    anna.heard()
    bob = Member(made[2])
    bob.says("still here")
    processes.settle()
    assert anna.heard()[-1] == "guest2: still here"
    assert same(made)


FORGED = (
    *((b"",), (b'["limits", "x", 1, 1, 1]',), (b'["limits", 5, 5, 0, {}]',), (b'["lines", 5]',), (b'["lines", [5]]',)),
    (b'["members", [[1, 1, "guest1", "host"]]]', b'["members", [[1]]]'),
    (
        b'["limits", ["text", 9, 9], 0, 0, 0]',
        b'["client", [1, 1], 1, "peer", "host", 0, 0, false]',
        b'["waiting", [1, 2]]',
    ),
)


@pytest.mark.parametrize("forged", FORGED, ids=range(len(FORGED)))
@pytest.mark.parametrize("make", [chats, consoles])
def test_a_replica_that_gets_a_wrong_state_keeps_its_own(processes, make, forged):
    made = make(processes)
    if make is chats:
        Member(made[0]).says("/nick anna", "hello")
        topic = made[0].rooms._topic
    else:
        Client(made[0]).says(b"hello\n")
        topic = made[0].queue._topic
    processes.settle()
    before = state_of(made[0])
    for part in forged:
        topic.frame(Frame(Kind.PART, 9, "", part))
    topic.frame(Frame(Kind.RESTORED, 9, "", b"0"))
    processes.settle()
    assert len(before) > 1
    assert state_of(made[0]) == before


def test_members_of_a_process_that_ends_leave(processes):
    made = chats(processes)
    anna, bob = Member(made[0]), Member(made[1])
    processes.settle()
    anna.heard()
    bob.says("/nick bob")
    processes.settle()
    processes.kill(processes.buses[1])
    assert anna.heard() == ["-- guest2 is now bob", "-- bob has left"]
    anna.says("/nick bob", "/who")
    processes.settle()
    assert anna.heard() == ["-- you are now bob", "-- in lobby: bob"]
    assert same([made[0], made[2]])


def test_a_process_that_starts_later_has_names_and_history(processes):
    made = chats(processes, history=3)
    anna = Member(made[0])
    anna.says("/nick anna", "one", "two \udcff", "three", "four", "/join garden")
    processes.settle()
    late = chat_of(processes, processes.start(), history=3)
    processes.settle()
    bob = Member(late)
    processes.settle()
    assert bob.heard()[1:] == ["-- recent lines:", "anna: two \\xff", "anna: three", "anna: four"]
    bob.says("/nick anna", "/join garden", "hi")
    processes.settle()
    assert bob.heard() == ["-- the name anna is taken", "-- you are in garden with anna"]
    assert anna.heard()[-2:] == ["-- guest2 has joined", "guest2: hi"]
    assert same([*made, late])


def test_a_process_that_is_too_slow_loses_lines_with_a_notice_and_nothing_else(small):
    made = chats(small, room_lines_per_second=0, lines_per_second=0, history=20)
    people = [Member(chat) for chat in made]
    small.settle()
    small.stop(small.buses[2])
    for number in range(300):
        people[number % 2].says(f"{number} " + "x" * 100)
        if number == 150:
            late = Member(made[0])
            late.says("/nick late", "/join garden")
        small.settle()
    assert sum(" x" in line for line in people[0].heard()) == 150, "others get every line"
    people[2].heard()
    people[2].says("/nick slow")
    small.go_on(small.buses[2])
    heard = people[2].heard()
    assert [line for line in heard if "missing" in line] == [
        f"-- up to {small.hub.lost} lines are missing here: the daemon is too busy"
    ]
    assert heard[-1] == "-- you are now slow"
    assert same(made)
    people[2].says("/who", "hello")
    small.settle()
    assert people[2].heard() == ["-- in lobby: guest1, guest2, slow"]
    assert people[0].heard()[-1] == "slow: hello"


def test_members_join_and_leave_while_their_process_gets_nothing(small):
    """Their first and last messages are in the part that was dropped."""
    made = chats(small, room_lines_per_second=0, lines_per_second=0)
    anna, gone = Member(made[0]), Member(made[2])
    small.settle()
    bus = small.buses[2]
    small.stop(bus)
    late = Member(made[2])
    gone.session.lost()
    bus._socket.flush()
    for number in range(200):
        anna.says(f"{number} " + "x" * 100)
        small.settle()
    small.go_on(bus)
    assert late.heard()[0].startswith("-- welcome: you are guest3") or "missing" in late.heard()[0]
    anna.heard()
    late.says("/who", "hello")
    small.settle()
    assert late.heard()[-1] == "-- in lobby: guest1, guest3"
    assert anna.heard() == ["guest3: hello"]
    assert same(made)


def test_members_and_operators_learn_that_other_servers_are_lost_and_restored(processes):
    made, consoles_made = chats(processes), consoles(processes)
    anna, bob = Member(made[0]), Member(made[1])
    operator = Operator(consoles_made[0])
    replicas: list[Any] = [made[0].rooms, consoles_made[0].queue]
    processes.settle()
    anna.heard()
    bob.heard()
    for connected in (False, True):
        for replica in replicas:
            replica.together(connected)
    processes.settle()
    assert anna.heard() == [
        "-- the connection to other servers is lost: only members of this one read you",
        "-- the connection to other servers is restored",
    ]
    assert bob.heard() == []
    assert [event["connected"] for event in operator.heard("bus")] == [False, True]


def test_a_member_that_ends_without_the_hub_is_removed_later(processes):
    """It waits for the results of its lines, which were on their way to the hub."""
    made = chats(processes)
    anna, bob, carol = Member(made[0]), Member(made[1]), Member(made[1])
    processes.settle()
    bob.says("one")
    old, processes.hub = processes.hub, type(processes.hub)(processes.reactor)
    bob.session.ended()
    carol.session.ended()
    carol.session.lost()
    old.close()
    processes.settle()
    for bus in processes.buses:
        processes.connect(bus)
        processes.settle()
    anna.heard()
    anna.says("/who")
    processes.settle()
    assert anna.heard() == ["-- in lobby: guest1"]
    assert same(made)


def test_without_the_hub_members_talk_in_their_process_and_meet_again_later(processes):
    made = chats(processes, history=2)
    people = [Member(chat) for chat in made for _ in range(2)]
    processes.settle()
    people[0].says("/nick anna", "/join garden")
    people[2].says("/nick bob", "/join garden", "together")
    processes.settle()
    for one in people:
        one.heard()
    old, processes.hub = processes.hub, type(processes.hub)(processes.reactor)
    old.close()
    processes.settle()
    assert people[0].heard() == ["-- bob has left"]
    assert sorted(people[1].heard()) == [f"-- guest{number} has left" for number in (4, 5, 6)]
    people[1].says("still here", "/join garden", "/nick bob")
    processes.settle()
    assert people[0].heard() == ["-- guest2 has joined", "-- guest2 is now bob"]
    people[5].says("/join attic")
    processes.settle()
    people[5].heard()
    for bus in processes.buses:
        processes.connect(bus)
        processes.settle()
    heard = people[2].heard()
    assert heard[0] == "-- anna has left"
    assert heard[-1].startswith("-- you are now guest"), "the other one was first"
    assert heard[-1].endswith("in garden with anna, bob")
    assert people[5].heard() == [], "it keeps its name and its room, which the others did not have"
    people[0].says("all of us")
    people[4].session.lost()
    people[4].session.lost()
    processes.settle()
    people[0].says("/join")
    processes.settle()
    assert people[0].heard()[-1] == "-- the rooms: lobby (1), garden (3), attic (1)"
    assert people[2].heard()[-1] == people[1].heard()[-1] == "anna: all of us"
    assert same(made)


def test_the_rate_of_a_room_counts_the_lines_of_all_processes(processes):
    made = chats(processes, room_lines_per_second=10, lines_per_second=0)
    people = [Member(chat) for chat in made]
    processes.settle()
    heard = 0
    people[2].heard()
    for second in range(20):
        for number in range(30):
            people[number % 2].says(f"{second}")
            processes.settle()
        heard += sum(line.endswith(f": {second}") for line in people[2].heard())
        processes.reactor.advance(1)
    assert 10 * 19 <= heard <= 10 * 19 + 2 * 20
    assert people[0].heard()[-1] == "-- not sent: more than 10 lines a second in lobby"


def test_messages_to_one_member_are_limited_over_all_processes(processes):
    made = chats(processes, room_lines_per_second=10, lines_per_second=0)
    people = [Member(chat) for chat in made]
    processes.settle()
    people[2].heard()
    for number in range(60):
        people[number % 2].says("/msg guest3 psst", "/msg stranger psst")
        processes.settle()
    assert len(people[2].heard()) == 20
    assert set(people[0].heard()[-2:]) == {
        "-- not sent: more than 10 lines a second to guest3", "-- unknown name stranger"
    }  # fmt: skip


def test_commands_that_only_show_names_and_refused_lines_stay_in_their_process(processes):
    """A flood of them must not delay other processes."""
    made = chats(processes, room_lines_per_second=10, lines_per_second=0)
    anna = Member(made[0])
    processes.settle()
    anna.heard()
    rooms = made[0].rooms
    assert isinstance(rooms, ReplicatedRooms)
    with mock.patch.object(rooms._topic, "publish", wraps=rooms._topic.publish) as published:
        for _ in range(20):
            anna.says("/who", "/nick", "/join", "/msg stranger hi", "/help", "hello")
            processes.settle()
    assert published.call_count == 20, "the burst of the room"
    assert len(anna.heard()) == 20 * (1 + 1 + 1 + 1 + 8)
    anna.says("/nick anna", "/who", "/join garden", "/nick", "/join", "/who")
    processes.settle()
    assert anna.heard() == [
        "-- you are now anna", "-- in lobby: anna", "-- you are in garden with no other members",
        "-- you are anna; /nick NAME changes it", "-- the rooms: lobby (0), garden (1)", "-- in garden: anna",
    ]  # fmt: skip


def test_dropped_messages_of_a_client_stay_in_its_process(processes):
    made = consoles(processes, unanswered=5)
    operator, client = Operator(made[0]), Client(made[1])
    processes.settle()
    operator.heard()
    queue = made[1].queue
    assert isinstance(queue, ReplicatedQueue)
    with mock.patch.object(queue, "publish", wraps=queue.publish) as published:
        for _ in range(50):
            client.says(b"x\n")
            processes.settle()
    assert published.call_count == 6
    assert [event["event"] for event in operator.heard()] == ["said"] * 5 + ["missed"]
    client.session.lost()
    processes.settle()
    assert [event["unanswered"] for event in operator.heard("left")] == [50]
    assert len(state_of(made[0])) == 2


def test_a_full_bus_refuses_a_line_with_a_notice_but_no_member(small):
    made = chats(small, room_lines_per_second=0, lines_per_second=0)
    anna = Member(made[0])
    small.settle()
    anna.heard()
    for _ in range(100):
        anna.says("x" * 1000)
        processes_do_nothing_else(small)
    assert anna.heard()[-1] == "-- not sent: the daemon is too busy"
    bob = Member(made[0])
    small.settle()
    assert bob.heard()[0].startswith("-- welcome: you are guest2")
    assert same(made)


def test_limits_of_a_reload_apply_in_all_processes_at_the_same_message(processes):
    made = chats(processes, rooms=2)
    anna, bob = Member(made[0]), Member(made[1])
    anna.says("/join one", "/join two")
    processes.settle()
    made[0].rooms.reconfigure(0, 10, 0)
    anna.says("/join two")
    bob.says("/join three")
    processes.settle()
    assert anna.heard()[-1] == "-- you are in two with no other members"
    assert same(made)
    for chat in made[1:]:
        chat.rooms.reconfigure(0, 10, 0)
    processes.settle()
    assert same(made)


def test_a_service_that_is_added_again_has_its_new_limits(processes):
    memberships = [Memberships(bus) for bus in processes.buses]
    old = [one.of("chat", processes.context()) for one in memberships]
    for one in old:
        one.rooms(0, 1, 0)
        one.queue("", 1, 1)
    processes.settle()
    assert memberships[0].of("chat", processes.context()) is old[0]
    assert memberships[0].of("another", processes.context()) is not old[0]
    rooms = old[0].rooms(0, 7, 0)
    assert old[0].rooms(0, 9, 0) is rooms, "as before `reconfigure`"
    memberships[1].of("chat", processes.context()).queue("away", 5, 5)
    processes.settle()
    for one in old:
        assert b'["limits",0,7,0,0]' in list(one.rooms(0, 1, 0).state())
        assert list(one.queue("", 1, 1).state()) == [b'["limits",["away",5,5],0,0,null]']


@pytest.mark.parametrize("seed", range(6))
def test_each_member_hears_the_same_as_in_one_process(processes, seed):
    """A script of random commands, and the same members in one process."""
    chance = random.Random(seed)
    options = {"history": 3, "rooms": 3, "room_lines_per_second": 40}
    local = LocalMembership(processes.context())
    together = [Chat(ChatOptions(**options), processes.context(membership=local)) for _ in range(3)]
    apart = chats(processes, **options)
    people: list[tuple[Member, Member]] = []
    for step in range(250):
        if len(people) < 3 or chance.random() < 0.05:
            at = chance.randrange(3)
            people.append((Member(together[at]), Member(apart[at])))
        elif chance.random() < 0.06:
            for one in people.pop(chance.randrange(len(people))):
                one.session.lost()
        else:
            command = chance.choice(
                ("hello", "/me waves", "/who", "/join", f"/nick {chance.choice('abcI1')}{chance.choice('xyl1')}",
                 f"/join {chance.choice('stuv')}", f"/msg guest{chance.randrange(9)} psst", "/nick", "/nick -")
            )  # fmt: skip
            for one in chance.choice(people):
                one.says(command)
        processes.settle()
        for one, other in people:
            assert one.heard() == other.heard(), step
        if chance.random() < 0.1:
            processes.reactor.advance(chance.random())
    assert same(apart)


@pytest.mark.parametrize("seed", range(6))
def test_replicas_are_equal_after_any_losses_and_ends(seed):
    """Processes are stopped, continued, killed and started while members talk, join and leave."""
    processes, chance = Processes(3, bound=3_000), random.Random(seed)
    made = {bus: chat_of(processes, bus, room_lines_per_second=0) for bus in processes.buses}
    people: dict[LocalBus, list[Member]] = {bus: [] for bus in made}
    stopped: set[LocalBus] = set()
    for _ in range(400):
        bus, chose = chance.choice(list(made)), chance.random()
        if chose < 0.05 and bus not in stopped and len(stopped) < len(made) - 1:
            processes.stop(bus)
            stopped.add(bus)
        elif chose < 0.1 and bus in stopped:
            processes.go_on(bus)
            stopped.discard(bus)
        elif chose < 0.12 and bus not in stopped and len(made) > 2:
            processes.kill(bus)
            del made[bus], people[bus]
        elif chose < 0.16 and len(made) < 5:
            bus = processes.start()
            made[bus], people[bus] = chat_of(processes, bus, room_lines_per_second=0), []
        elif chose < 0.3 or not people[bus]:
            people[bus].append(Member(made[bus]))
        elif chose < 0.4:
            people[bus].pop(chance.randrange(len(people[bus]))).session.lost()
        else:
            text = chance.choice(("x" * 500, f"/nick n{chance.randrange(40)}", f"/join r{chance.randrange(4)}"))
            chance.choice(people[bus]).says(text)
        if chance.random() < 0.5:
            processes.settle()
    for bus in stopped:
        processes.go_on(bus)
    processes.settle()
    assert processes.hub.lost
    assert same(list(made.values()))
    for bus, ours in people.items():
        for one in ours:
            one.heard()
            one.says("/who")
        processes.settle()
        assert all("-- in " in one.heard()[-1] for one in ours), bus
    processes.close()


# the console


def test_a_queue_is_one_queue(processes):
    """The operator is in the parent, and the clients in two workers."""
    made = consoles(processes, away="no operator now")
    client, other = Client(made[1]), Client(made[2])
    client.says(b"hello\n")
    processes.settle()
    assert client.heard == b"no operator now\n"
    operator = Operator(made[0])
    processes.settle()
    events = operator.heard()
    assert [event["event"] for event in events] == ["here", "said"]
    assert [one["client"] for one in events[0]["clients"]] == [1, 2]
    results: list[Any] = []
    made[0].queue.answer(None, "hi", operator.number, results.append)
    made[0].queue.answer(9, "hi", operator.number, results.append)
    assert results == []
    processes.settle()
    assert results[0] == 1
    assert str(results[1]) == "client 9 is not connected"
    assert client.heard.endswith(b"hi\n")
    other.says(b"a question \xff\n")
    other.ends()
    processes.settle()
    assert [event.get("text") for event in operator.heard()] == ["hi", "a question \udcff"]
    assert same(made)
    made[0].queue.answer(2, "\udcff yes", operator.number, results.append)
    processes.settle()
    assert (results[-1], other.heard, other.ended.value) == (2, b"\\udcff yes\n", "close")
    assert [event["event"] for event in operator.heard()] == ["answered", "left"]
    assert same(made)


def test_operators_in_two_processes_see_the_same_numbers_and_answers(processes):
    made = consoles(processes)
    client = Client(made[2])
    operators = [Operator(made[0]), Operator(made[1])]
    processes.settle()
    assert [one.number for one in operators] == [1, 2]
    for one in operators:
        one.heard()
    client.says(b"hello\n")
    processes.settle()
    made[1].queue.answer(1, "hi", 2, lambda _result: None)
    processes.settle()
    said, answered = operators[0].heard()
    assert (said["text"], answered["text"], answered["by"]) == ("hello", "hi", 2)
    operators[1].seat.leave()
    operators[1].seat.leave()
    processes.settle()
    late = Operator(made[1])
    processes.settle()
    assert late.heard()[0]["operators"] == 2
    assert same(made)


def test_clients_and_operators_of_a_process_that_ends_leave(processes):
    made = consoles(processes, away="away")
    operators = [Operator(made[0]), Operator(made[1])]
    client, other = Client(made[1]), Client(made[2])
    client.says(b"a question\n")
    processes.settle()
    operators[0].heard()
    processes.kill(processes.buses[1])
    [left] = operators[0].heard()
    assert (left["event"], left["client"], left["unanswered"]) == ("left", 1, 1)
    processes.kill(processes.buses[0])
    other.says(b"hello\n")
    processes.settle()
    assert other.heard == b"away\n", "no operator is left"


def test_without_the_hub_clients_wait_for_the_operators_of_their_process(processes):
    made = consoles(processes, away="away")
    operator, clients = Operator(made[0]), [Client(console) for console in made]
    clients[2].says(b"together\n")
    processes.settle()
    assert len(operator.heard("said")) == 1
    old, processes.hub = processes.hub, type(processes.hub)(processes.reactor)
    old.close()
    processes.settle()
    assert [event["client"] for event in operator.heard("left")] == [2, 3]
    for client in clients:
        client.says(b"alone\n")
    assert [event["client"] for event in operator.heard("said")] == [1]
    assert [client.heard for client in clients] == [b"", b"away\n", b"away\n"]
    for bus in processes.buses:
        processes.connect(bus)
        processes.settle()
    said = operator.heard("said")
    assert [event["text"] for event in said] == ["alone", "together", "alone"]
    for event in said:
        made[1].queue.answer(event["client"], "together again", None, lambda _result: None)
    processes.settle()
    assert [client.heard.removeprefix(b"away\n") for client in clients] == [
        b"",
        b"together again\n",
        b"together again\n" * 2,
    ]
    assert same(made)


def test_an_unknown_change_of_a_client_is_skipped(processes):
    made = consoles(processes)
    client, queue = Client(made[1]), made[0].queue
    client.says(b"hello\n")
    processes.settle()
    before = state_of(made[0])
    assert isinstance(queue, ReplicatedQueue)
    queue._change("unknown", (2, 1), queue._clients[2, 1])
    assert state_of(made[0]) == before


def test_closing_the_queue_dismisses_the_operators_of_each_process(processes):
    made = consoles(processes)
    dismissed: list[int] = []
    for number, console in enumerate(made[:2]):
        console.queue.add_operator(lambda *_given: None, lambda _event: None, partial(dismissed.append, number))
    processes.settle()
    made[0].retire()
    assert dismissed == [0]
    processes.settle()
    assert dismissed == [0], "the other process closes its own"
    made[1].retire()
    processes.settle()
    assert dismissed == [0, 1]
    assert state_of(made[2]) == [b'["limits",["",100,1000],0,2,null]']


def test_operators_and_their_answers_learn_of_lost_messages(small):
    made = consoles(small)
    operator, client = Operator(made[0]), Client(made[1])
    client.says(b"first\n")
    small.settle()
    operator.heard()
    small.stop(small.buses[0])
    results: list[Any] = []
    made[0].queue.answer(1, "an answer", operator.number, results.append)
    small.buses[0]._socket.flush()
    for number in range(60):
        client.says(f"{number} {'x' * 1000}\n".encode())
        small.settle()
    small.go_on(small.buses[0])
    assert [event for event in operator.heard("missed") if "events" in event] == [
        {"event": "missed", "events": small.hub.lost}
    ]
    [result] = results
    assert result == 1 or isinstance(result, Unanswerable)
    assert same(made)
    client.says(b"last\n")
    small.settle()
    assert operator.heard()[-1]["event"] in ("said", "missed")


def test_an_answer_that_is_too_long_or_that_the_bus_refuses_is_an_error(small):
    made = consoles(small)
    client = Client(made[1])
    client.says(b"first\n")
    small.settle()
    results: list[Any] = []
    made[0].queue.answer(1, "x" * 65_537, None, results.append)
    assert [str(one) for one in results] == ["an answer is too long; the maximum is 65536 bytes"]
    made[0].queue.answer(1, "é" * 40_000, None, results.append)
    small.settle()
    assert str(results[1]) == "an answer of 80001 bytes is too long; the maximum is 65536"
    for _ in range(60):
        made[0].queue.answer(1, "x" * 60_000, None, results.append)
    assert str(results[-1]) == "not sent: the daemon is too busy"
    small.settle()
    assert len(results) == 62


@pytest.mark.parametrize("seed", range(4))
def test_queues_are_equal_after_any_losses_and_ends(seed):
    processes, chance = Processes(4, bound=1_500), random.Random(seed)
    made = dict(zip(processes.buses, consoles(processes, unanswered=5, unanswered_in_all=20), strict=True))
    clients: dict[LocalBus, list[Client]] = {bus: [] for bus in made}
    operators: dict[LocalBus, list[Operator]] = {bus: [] for bus in made}
    stopped: set[LocalBus] = set()
    for _ in range(300):
        bus, chose = chance.choice(list(made)), chance.random()
        if chose < 0.05 and len(stopped) < len(made) - 1:
            processes.stop(bus)
            stopped.add(bus)
        elif chose < 0.12 and bus in stopped:
            processes.go_on(bus)
            stopped.discard(bus)
        elif chose < 0.14 and bus not in stopped and len(made) > 2:
            processes.kill(bus)
            del made[bus], clients[bus], operators[bus]
        elif chose < 0.3:
            clients[bus].append(Client(made[bus]))
        elif chose < 0.4:
            operators[bus].append(Operator(made[bus]))
        elif chose < 0.5 and clients[bus]:
            one = clients[bus].pop()
            chance.choice((one.ends, one.session.lost))()
        elif chose < 0.55 and operators[bus]:
            operators[bus].pop().seat.leave()
        elif chose < 0.7:
            made[bus].queue.answer(chance.randrange(9), "answer", None, lambda _result: None)
        elif clients[bus]:
            chance.choice(clients[bus]).says(b"x" * 400 + b"\n")
        if chance.random() < 0.5:
            processes.settle()
    for bus in stopped:
        processes.go_on(bus)
    processes.settle()
    assert processes.hub.lost
    assert same(list(made.values()))
    processes.close()


def test_the_context_of_a_membership_may_have_no_daemon():
    membership = alone(Context())
    assert membership.rooms(0, 1, 0) is membership.rooms(0, 1, 0)
    assert membership.queue("", 1, 1) is membership.queue("", 1, 1)

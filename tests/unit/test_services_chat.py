"""A chat without sockets: the lines that members receive, and bad input."""

from itertools import pairwise
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echod.gate.total_buffer import Pressure, SendBudget
from echod.gate.work_budget import PORTION, UNIT_BYTES, WorkBudget
from echod.model import Context, End, Peer
from echod.services import nicks
from echod.services.chat import BURST, Chat, ChatOptions
from echod.services.line_buffer import HINT, LONGEST
from echod.services.outbox import WAITING
from echod.services.rooms import NAMED, NEWS, SUMMARY, Room
from echod.socket_names import Inet
from tests.turns import Turns

FROM_A_STREAM = Peer("tcp", Inet("127.0.0.1", 10012), Inet("127.0.0.1", 40_000))
FROM_DATAGRAMS = Peer("udp", Inet("127.0.0.1", 10012), Inet("127.0.0.1", 40_000))


class Member:
    """A peer of the chat, and all that it heard; a `deaf` one takes nothing."""

    def __init__(self, chat, peer=FROM_A_STREAM, deaf=False):
        self.pieces = []
        self.ended = End.NOTHING
        self.deaf = deaf
        self.held = []
        self.session = chat.session(peer, self.perform)
        self.perform(self.session.opened())

    def perform(self, reply):
        assert self.ended is End.NOTHING or reply.more is None, "said something behind the end"
        if self.deaf:
            self.held.append(reply)
            return
        self.pieces += reply.more or ()
        if reply.end is not End.NOTHING:
            self.ended = reply.end
            self.session.lost()

    def send(self, data):
        self.perform(self.session.received(data))

    def says(self, *lines):
        for line in lines:
            self.send(line.encode("utf-8", "surrogateescape") + b"\n")

    def heard(self):
        """The lines received since the last call."""
        lines = b"".join(self.pieces).decode().splitlines()
        self.pieces.clear()
        return lines

    def hears_again(self):
        self.deaf = False
        held, self.held = self.held, []
        for reply in held:
            self.perform(reply)


class Chatting(SynchronousTestCase):
    def test_replies_of_commands_count_as_work(self):
        turns, unlimited = Turns(), {"lines_per_second": 0, "room_lines_per_second": 0}
        chat = Chat(ChatOptions(**unlimited), Context(work=WorkBudget(turns.later), later=turns.later))
        people = [Member(chat) for _ in range(NAMED)]
        turns.all()
        outbox = people[0].session._outbox
        for command in (b"/who\n", b"/help\n", b"/unknown\n"):
            before = outbox.put_in_all
            people[0].send(command * PORTION)
            size = outbox.put_in_all - before
            self.assertLess(size, PORTION * UNIT_BYTES + 2_000, command)
            self.assertGreater(size, PORTION * UNIT_BYTES / 2, command)
            turns.all()

    def test_one_host_creates_at_most_half_of_the_rooms(self):
        chat = self.chat(rooms=9, lines_per_second=0)
        crowd = [Member(chat) for _ in range(8)]
        for number, one in enumerate(crowd):
            one.says(f"/join room{number}")
        self.assertIn("your host has created 4 rooms; the rest is for other hosts", crowd[-1].heard()[-1])
        other = Member(chat, Peer("tcp", FROM_A_STREAM.local, Inet("192.0.2.1", 40_000)))
        other.says("/join ours")
        self.assertIn("-- you are in ours", other.heard()[-1])
        for one in crowd[:4]:
            one.says("/quit")
        crowd[-1].says("/join room7")
        self.assertIn("-- you are in room7", crowd[-1].heard()[-1])
        crowd[-1].says("/quit")
        self.assertEqual(list(chat.rooms._made_by), [other.session._peer.share])

    def test_private_lines_to_a_member_have_the_limit_of_a_room(self):
        chat = self.chat(lines_per_second=0, room_lines_per_second=5)
        anna, bob, carl = self.several(chat, "anna", "bob", "carl")
        for number in range(20):
            (anna, carl)[number % 2].says(f"/msg bob {number}")
        self.assertEqual(len(bob.heard()), 10)
        self.assertEqual(anna.heard()[-1], "-- not sent: more than 5 lines a second to bob")
        self.clock.advance(1)
        anna.says("/msg bob again")
        self.assertEqual(bob.heard(), ["anna (to you): again"])
        successor = Chat(ChatOptions(room_lines_per_second=1), chat.context)
        successor.take_over_from(chat)
        carl.heard()
        for number in range(3):
            carl.says(f"/msg bob {number}")
        self.assertEqual(len(bob.heard()), 2)

    def test_a_history_is_put_as_a_whole(self):
        changes = []
        budget = mock.Mock(pressure=Pressure.NONE, change=changes.append)
        chat = Chat(ChatOptions(history=1000, lines_per_second=0, room_lines_per_second=0), Context(send_budget=budget))
        talker = Member(chat)
        talker.says(*map(str, range(1000)))
        changes.clear()
        newcomer = Member(chat)
        self.assertEqual(len(newcomer.heard()), 1002)
        self.assertLess(len(changes), 50)

    def test_histories_count_in_the_send_budget_and_are_shorter_above_it(self):
        budget = SendBudget()
        options = ChatOptions(history=1000, rooms=100, lines_per_second=0, room_lines_per_second=0)
        chat = Chat(options, Context(send_budget=budget.mark(1 << 20)))
        people = [Member(chat) for _ in range(50)]
        for number, one in enumerate(people):
            one.says(f"/join room{number}", *["x" * 4000] * 100)
        self.assertGreater(budget.total, 1 << 19)
        self.assertLess(budget.total, (1 << 20) + 50 * 8192)
        for one in people:
            one.says("/quit")
        self.assertEqual(budget.total, 0)

    def test_a_closed_room_frees_its_name(self):
        chat = self.chat(lines_per_second=0)
        people = self.several(chat, *(f"member{number}" for number in range(40)))
        for number, one in enumerate(people):
            one.says(f"/join room{number}")
        looks = mock.Mock(side_effect=lambda: "x")
        with mock.patch.object(Room, "look", property(lambda _self: looks(), lambda _self, _value: None), create=True):
            people[0].says("/join new")
        self.assertLess(looks.call_count, 10)
        first, second = self.several(chat := self.chat(lines_per_second=0), "anna", "bob")
        first.says("/join paypal")
        second.says("/join paypa1")
        self.assertIn("looks like paypal", second.heard()[-1])
        first.says("/join lobby")
        second.says("/join paypa1")
        self.assertIn("you are in paypa1", second.heard()[-1])

    def chat(self, **options):
        self.clock = Clock()
        return Chat(ChatOptions(**options), Context(clock=self.clock.seconds))

    def several(self, chat, *names, peer=FROM_A_STREAM):
        people = [Member(chat, peer) for _ in names]
        for one, name in zip(people, names, strict=True):
            one.says(f"/nick {name}")
        for one in people:
            one.heard()
        return people

    def test_a_member_removed_over_datagrams_gets_a_goodbye(self):
        anna, bob = self.several(chat := self.chat(), "anna", "bob", peer=FROM_DATAGRAMS)
        zoe = Member(chat)
        for one in anna, bob, zoe:
            one.heard()
        for one in anna, zoe:
            one.perform(one.session.ended())
        self.assertEqual((anna.heard(), anna.ended), (["-- goodbye"], End.CLOSE))
        self.assertEqual((zoe.heard(), zoe.ended), (["-- anna has left"], End.CLOSE), "a stream has an end of its own")

    def test_a_new_member_gets_a_welcome_and_the_others_a_notice(self):
        chat = self.chat()
        anna = Member(chat)
        self.assertEqual(
            anna.heard(), ["-- welcome: you are guest1, in lobby with no other members; /help lists the commands"]
        )
        bob = Member(chat)
        self.assertEqual(bob.heard(), ["-- welcome: you are guest2, in lobby with guest1; /help lists the commands"])
        self.assertEqual(anna.heard(), ["-- guest2 has joined"])

    def test_a_line_is_sent_to_the_other_members_of_the_room(self):
        anna, bob, carl = self.several(self.chat(), "anna", "bob", "carl")
        anna.says("hello", "", "   ", "//shrug")
        for other in (bob, carl):
            self.assertEqual(other.heard(), ["anna: hello", "anna: /shrug"])
        self.assertEqual(anna.heard(), [])

    def test_actions_and_private_lines(self):
        anna, bob, carl = self.several(self.chat(), "anna", "bob", "carl")
        anna.says("/me waves", "/msg BOB psst: carl snores", "/msg dora hello", "/msg bob", "/me")
        self.assertEqual(bob.heard(), ["* anna waves", "anna (to you): psst: carl snores"])
        self.assertEqual(carl.heard(), ["* anna waves"])
        self.assertEqual(
            anna.heard(),
            [
                "-- unknown name dora",
                "-- /msg needs a name and a text: /msg NAME TEXT",
                "-- /me needs a text: /me waves",
            ],
        )

    def test_lines_stay_in_their_room(self):
        chat = self.chat()
        anna, bob, carl = self.several(chat, "anna", "bob", "carl")
        anna.says("/join #garden")
        self.assertEqual(anna.heard(), ["-- you are in garden with no other members"])
        self.assertEqual(bob.heard(), ["-- anna has left"])
        carl.says("/join GARDEN", "/who", "roses!")
        self.assertEqual(
            carl.heard(), ["-- anna has left", "-- you are in garden with anna", "-- in garden: anna, carl"]
        )
        self.assertEqual(anna.heard(), ["-- carl has joined", "carl: roses!"])
        self.assertEqual(bob.heard(), ["-- carl has left"])
        carl.says("/join", "/join garden", "/join a b", "/join gаrden")
        self.assertEqual(
            carl.heard(),
            [
                "-- the rooms: lobby (1), garden (2)",
                "-- you are in garden already",
                "-- U+0020 cannot be part of a name: it is made of letters, digits and _-.",
                "-- gаrden mixes CYRILLIC and LATIN; expected letters of one script",
            ],
        )
        for one in (anna, carl):
            one.says("/quit")
        bob.says("/join")
        self.assertEqual(bob.heard(), ["-- the rooms: lobby (1)"])

    def test_the_number_of_rooms_is_bounded(self):
        anna, bob = self.several(self.chat(rooms=2), "anna", "bob")
        anna.says("/join garden")
        bob.says("/join kitchen", "/join 9arden")
        self.assertEqual(bob.heard()[-1], "-- the maximum of 2 rooms is reached; /join without a name lists them")

    def test_a_taken_name_or_one_that_looks_like_it_is_refused(self):
        chat = self.chat()
        anna, bob, carl = self.several(chat, "anna", "bob", "carl")
        carl.says("/nick BOB", "/nick b0b", "/nick ＡＮＮＡ", "/nick bоb", "/nick", "/nick an\u202ena", "/nick Carl")
        self.assertEqual(
            carl.heard(),
            [
                "-- the name BOB is taken",
                "-- the name b0b is taken: it looks like bob",
                "-- the name ANNA is taken",
                "-- bоb mixes CYRILLIC and LATIN; expected letters of one script",
                "-- you are carl; /nick NAME changes it",
                "-- U+202E cannot be part of a name: it is made of letters, digits and _-.",
                "-- you are now Carl",
            ],
        )
        self.assertEqual(anna.heard(), ["-- carl is now Carl"])
        bob.says("/quit")
        carl.says("/nick b0b")
        self.assertEqual(anna.heard(), ["-- bob has left", "-- Carl is now b0b"])

    def test_a_guest_does_not_get_a_taken_name(self):
        chat = self.chat()
        (impostor,) = self.several(chat, "guest2")
        self.assertIn("you are guest3", Member(chat).heard()[0])
        impostor.says("/nick guest4")
        self.assertIn("you are guest5", Member(chat).heard()[0])

    def test_help_lists_every_command_and_unknown_ones_are_refused(self):
        [anna] = self.several(self.chat(), "anna")
        anna.says("/help")
        said = "\n".join(anna.heard())
        for command in ("/nick", "/join", "/who", "/msg", "/me", "/quit"):
            self.assertIn(command, said)
        anna.says("/dance", "/", "/" + "x" * 100, "/\x1b[2J")
        self.assertEqual(
            anna.heard(),
            [f"-- unknown command /{word}; /help lists the commands" for word in ("dance", "", "x" * 40, "\\x1b[2J")],
        )

    def test_leaving_by_quit_by_half_close_and_by_a_lost_connection(self):
        chat = self.chat()
        anna, bob, carl, dora = self.several(chat, "anna", "bob", "carl", "dora")
        anna.says("/quit")
        self.assertEqual((anna.heard()[-1], anna.ended), ("-- goodbye", End.CLOSE))
        bob.send(b"the last words")
        bob.perform(bob.session.ended())
        self.assertEqual(bob.ended, End.CLOSE)
        carl.session.lost()
        self.assertEqual(
            dora.heard(), ["-- anna has left", "bob: the last words", "-- bob has left", "-- carl has left"]
        )
        for gone in (anna, bob, carl):
            gone.says("and another thing")
            gone.session.lost()
        self.assertEqual(dora.heard(), [])
        dora.says("/who")
        self.assertEqual(dora.heard(), ["-- in lobby: dora"])

    def test_a_new_member_is_shown_recent_lines(self):
        chat = self.chat(history=2)
        anna, bob = self.several(chat, "anna", "bob")
        anna.says("one", "two", "/me naps")
        carl = Member(chat)
        self.assertEqual(carl.heard()[1:], ["-- recent lines:", "anna: two", "* anna naps"])
        anna.says("/join garden", "roses")
        bob.says("/join garden")
        self.assertEqual(bob.heard()[-2:], ["-- recent lines:", "anna: roses"])

    def test_history_is_bounded_by_bytes_too(self):
        chat = self.chat(history=1000, lines_per_second=0, room_lines_per_second=0)
        [anna] = self.several(chat, "anna")
        for _ in range(100):
            anna.says("x" * LONGEST)
        [room] = chat.rooms._rooms.values()
        self.assertLessEqual(sum(map(len, room.history)), WAITING)
        self.assertGreater(len(room.history), 10)

    def test_datagrams_are_lines_without_an_end(self):
        chat = self.chat()
        anna, bob = self.several(chat, "anna", "bob", peer=FROM_DATAGRAMS)
        bob.pieces.clear()
        anna.send(b"hello")
        anna.send(b"two\r\nlines\n")
        anna.send(b" " * 32)
        self.assertEqual(bob.pieces, [b"anna: hello\n", b"anna: two\n", b"anna: lines\n"])

    def test_a_line_that_is_too_long_is_dropped_and_reported_once(self):
        anna, bob = self.several(self.chat(), "anna", "bob")
        for _ in range(40):
            anna.send(b"x" * 65_536)
        anna.says("", "sorry")
        self.assertEqual(anna.heard(), [f"-- not sent: a line has at most {LONGEST} bytes"])
        self.assertEqual(bob.heard(), ["anna: sorry"])

    def test_a_member_that_sends_too_fast_is_notified_once(self):
        anna, bob = self.several(self.chat(lines_per_second=3), "anna", "bob")
        for number in range(1000):
            anna.says(f"{number}")
        heard = bob.heard()
        self.assertEqual(heard, [f"anna: {number}" for number in range(3 * BURST - 1)])  # and /nick
        self.assertEqual(anna.heard(), ["-- not sent: more than 3 lines a second"])
        self.clock.advance(1)
        anna.says("slower now")
        self.assertEqual(bob.heard(), ["anna: slower now"])

    def test_a_flood_of_joins_and_leaves_is_reported_as_counts(self):
        chat = Chat(ChatOptions(), Context(clock=Clock().seconds, later=lambda _s, call: self.put_off.append(call)))
        self.put_off = []
        anna = Member(chat)
        anna.heard()
        crowd = [Member(chat) for _ in range(500)]
        for one in crowd[:200]:
            one.session.lost()
        for _ in range(3):
            calls, self.put_off = self.put_off, []
            for call in calls:
                call()
        heard = anna.heard()
        self.assertEqual(len(heard), NEWS[1])  # her own coming was the first of them
        self.assertEqual(heard[-1], f"-- {500 - NEWS[1] + 1} more have joined, 200 have left")
        self.assertGreater(SUMMARY, 0)

    def test_a_room_has_a_limit_for_all_its_members(self):
        chat = self.chat(room_lines_per_second=5)
        people = self.several(chat, *(f"m{number}" for number in range(20)))
        for one in people:
            one.heard()
        for one in people:
            one.says("hello")
        self.assertEqual(
            people[-1].heard(),
            [f"m{n}: hello" for n in range(10)] + [(sorry := "-- not sent: more than 5 lines a second in lobby")],
        )
        people[0].says("/me waves")
        self.assertEqual(people[0].heard()[-1], sorry)
        people[0].says("/join garden", "hello", "/msg m1 still there?")
        self.assertNotIn(sorry, people[0].heard(), "another room has a measure of its own, and so have two people")
        self.assertIn("m0 (to you): still there?", people[1].heard())
        self.clock.advance(1)
        people[1].says("again")
        self.assertEqual(people[2].heard()[-1], "m1: again")

    def test_a_reload_changes_the_limits(self):
        before = self.chat(room_lines_per_second=1)
        anna, bob = self.several(before, "anna", "bob")
        anna.says(*"12345")
        self.assertEqual(bob.heard(), ["anna: 1", "anna: 2"])
        after = Chat(ChatOptions(room_lines_per_second=0), before.context)
        after.take_over_from(before)
        anna.says(*"678")
        self.assertEqual(bob.heard(), ["anna: 6", "anna: 7", "anna: 8"])

    def test_a_long_list_of_names_is_cut(self):
        chat = self.chat()
        crowd = [Member(chat) for _ in range(NAMED + 20)]
        self.assertIn(" and 109 more; /help", crowd[-1].heard()[0])
        crowd[0].heard()
        crowd[0].says("/who")
        self.assertTrue(crowd[0].heard()[-1].endswith(f"guest{NAMED} and 20 more"))

    def test_a_member_that_does_not_read_loses_lines_and_delays_no_other(self):
        chat = self.chat(lines_per_second=0, room_lines_per_second=0)
        anna, bob = self.several(chat, "anna", "bob")
        deaf = Member(chat, deaf=True)
        deaf.hears_again()
        deaf.deaf = True
        for one in (anna, bob, deaf):
            one.heard()
        line = "x" * 1000
        for _ in range(2000):
            anna.says(line)
        self.assertEqual(bob.heard(), [f"anna: {line}"] * 2000)
        self.assertLess(deaf.session._outbox.waiting, WAITING + 1)
        deaf.hears_again()
        heard = deaf.heard()
        self.assertEqual(len(heard) - 1 + int(heard[0].split()[1]), 2000)
        self.assertTrue(heard[0].endswith("lines are missing here: you read too slowly"))

    def test_lines_of_members_are_escaped(self):
        anna, bob = self.several(self.chat(lines_per_second=0, room_lines_per_second=0), "anna", "bob")
        codes = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
        evil = [chr(code) for code in (*codes, 0xFEFF)]
        evil += ["\x1b]0;title\x07", "\x1b[2J", "\udcff\udcfe", "-- anna has left\r-- bob is root"]
        for text in evil:
            anna.says(f"a{text}b", f"/me {text}", f"/msg bob {text}", f"/nick {text}", f"/join {text}", f"/{text}")
        for one in (anna, bob):
            for piece in one.pieces:
                for line in piece.decode().split("\n"):
                    self.assertTrue(line.isprintable(), ascii(line))

    @settings(max_examples=60, deadline=None)
    @given(st.binary(max_size=400), st.data())
    def test_lines_do_not_depend_on_the_chunks(self, data, draws):
        places = draws.draw(st.sets(st.integers(0, len(data))))
        at = sorted({0, len(data), *places})
        outcomes = []
        for pieces in ([data], [data[begin:end] for begin, end in pairwise(at)]):
            anna, bob = self.several(self.chat(lines_per_second=0, room_lines_per_second=0), "anna", "bob")
            for piece in pieces:
                if piece and anna.ended is End.NOTHING:
                    anna.send(piece)
            if anna.ended is End.NOTHING:
                anna.perform(anna.session.ended())
            outcomes.append((anna.heard(), bob.heard()))
        self.assertEqual(*outcomes)
        self.assertTrue(all(line.isprintable() for heard in outcomes[0] for line in heard))

    def test_a_reload_takes_over_members_and_clients(self):
        before = self.chat(history=5, lines_per_second=0, room_lines_per_second=0)
        anna, bob = self.several(before, "anna", "bob")
        anna.says("one", "two", "three")
        after = Chat(ChatOptions(history=2), Context(clock=self.clock.seconds))
        after.take_over_from(before)
        bob.heard()
        carl = Member(after)
        self.assertEqual(carl.heard()[1:], ["-- recent lines:", "anna: two", "anna: three"])
        carl.says("hello")
        self.assertEqual(bob.heard(), ["-- guest3 has joined", "guest3: hello"])


class Floods(SynchronousTestCase):
    """Input of one member must not delay the others; the work is counted, not timed."""

    def test_a_read_of_many_lines_is_processed_in_portions(self) -> None:
        """An empty line and a line that comes too fast count as well."""
        for line in b"\n", b"x\n", b"/who\n":
            asked, turns = [0.0], Turns()

            def clock(asked=asked) -> float:
                asked[0] += 1
                return 0.0

            chat = Chat(ChatOptions(lines_per_second=1), Context(clock=clock, work=WorkBudget(turns.later)))
            member = Member(chat)
            asked[0] = 0
            reply = member.session.received(line * 30_000)
            self.assertTrue(reply.held)
            self.assertLessEqual(asked[0], 2 * PORTION)
            member.perform(reply)
            portions = 0
            while reply.held:
                turns.turn()
                member.perform(reply := member.session.proceed())
                portions += 1
            self.assertEqual(portions, 30_000 // PORTION)
            self.assertEqual(sum("not sent: more than" in told for told in member.heard()), line != b"\n")

    def test_invisible_characters_and_piles_of_marks_are_shown_as_numbers(self) -> None:
        chat = Chat(ChatOptions(lines_per_second=0, room_lines_per_second=0))
        one, other = Member(chat), Member(chat)
        for command in "", "/me ", "/msg guest2 ":
            other.heard()
            one.says(command + "a\u3164b" + "\u0301" * 1000)
            [said] = other.heard()
            self.assertIn("a\\u{3164}b\u0301\u0301\\u{301}", said)
            self.assertEqual(said.count("\u0301"), nicks.MARKS)

    def test_a_byte_order_mark_does_not_make_a_command_a_line(self) -> None:
        chat = Chat()
        for peer in FROM_A_STREAM, FROM_DATAGRAMS:
            one = Member(chat, peer)
            one.heard()
            one.send(b"\xef\xbb\xbf/nick")
            one.send(b"\n")
            self.assertIn("you are guest", one.heard()[0])

    def test_a_client_with_lines_that_end_with_cr_is_notified_once(self) -> None:
        now = Clock()
        chat = Chat(None, Context(clock=now.seconds, later=now.callLater))
        one = Member(chat)
        one.heard()
        one.send(b"hello\r")
        now.advance(0.9)
        self.assertEqual(one.heard(), [])
        now.advance(0.2)
        self.assertEqual(one.heard(), [HINT])
        one.send(b"again\r")
        now.advance(5)
        self.assertEqual(one.heard(), [])

    def test_held_lines_are_sent_after_the_half_close(self) -> None:
        turns = Turns()
        chat = Chat(
            ChatOptions(lines_per_second=0, room_lines_per_second=0), Context(work=WorkBudget(turns.later, portion=10))
        )
        one, other = Member(chat), Member(chat)
        other.heard()
        one.send(b"".join(b"%d\n" % number for number in range(15)) + b"last")
        one.session.lost()
        self.assertEqual(other.heard()[:16], [*(f"guest1: {number}" for number in range(15)), "guest1: last"])

    def test_a_blank_line_does_not_make_the_next_too_fast(self) -> None:
        now = Clock()
        chat = Chat(ChatOptions(lines_per_second=1), Context(clock=now.seconds))
        one, other = Member(chat), Member(chat)
        one.send(b"x\n" * 20)
        other.heard()
        now.advance(5)
        one.send(b"\nhello\n")
        self.assertEqual(other.heard(), ["guest1: hello"])

    def test_a_new_room_is_not_compared_letter_by_letter_with_every_other(self) -> None:
        chat = Chat(ChatOptions(rooms=1000, lines_per_second=0, room_lines_per_second=0))
        members = [Member(chat) for _ in range(50)]
        for number, member in enumerate(members):
            member.says(f"/join room{number}")
        with mock.patch("echod.services.nicks.lookalike_key", wraps=nicks.lookalike_key) as made:
            members[0].says("/join another")
        self.assertLess(made.call_count, 5)

    def test_datagrams_that_arrive_faster_than_they_are_processed_are_dropped(self) -> None:
        turns = Turns()
        chat = Chat(ChatOptions(lines_per_second=0), Context(work=WorkBudget(turns.later, portion=1, turn=1)))
        member = Member(chat, FROM_DATAGRAMS)
        member.heard()
        turns.all()
        member.send(b"/me waves\n" * 5_000)
        member.send(b"x" * 60_000)
        self.assertIn("-- too fast: your lines are dropped until the earlier ones are processed", member.heard())

    def test_a_line_that_ends_the_conversation_ends_it_for_the_rest_too(self) -> None:
        """Nothing is processed or sent after /quit, however the end arrives."""
        chat = Chat(ChatOptions(), Context())
        member = Member(chat)
        member.send(b"/quit")  # without a line end: processed when the peer half-closes
        member.perform(member.session.ended())
        self.assertEqual(member.heard()[-1], "-- goodbye")
        self.assertIs(member.ended, End.CLOSE)
        self.assertIs(member.session.ended().end, End.CLOSE)
        self.assertIs(member.session.proceed().end, End.NOTHING)
        self.assertIs(member.session._leave().end, End.CLOSE)
        member.session._hear_hint()
        self.assertEqual(member.heard(), [])

    def test_held_lines_end_the_conversation_at_the_half_close(self) -> None:
        turns = Turns()
        chat = Chat(ChatOptions(), Context(work=WorkBudget(turns.later, portion=2, turn=2)))
        member = Member(chat)
        turns.all()
        member.send(b"\n\n/quit\nlost\n")
        member.perform(member.session.ended())
        self.assertEqual(member.heard()[-1], "-- goodbye")

    def test_a_nick_that_is_the_same_is_no_news(self) -> None:
        chat = Chat(ChatOptions(), Context())
        one, other = Member(chat), Member(chat)
        one.says("/nick anna")
        other.heard()
        one.says("/nick anna")
        self.assertEqual(other.heard(), [])

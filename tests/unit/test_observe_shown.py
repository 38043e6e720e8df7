"""What services show: a thousand lines a second, and then how many more there were."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echod.observe.shown import A_SECOND, Shown


class Lines(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.lines: list[str] = []
        self.shown = Shown(self.lines.append, self.clock.seconds, self.clock.callLater)

    def test_pass_as_they_are(self) -> None:
        for line in ("one", "", "two"):
            self.shown(line)
        self.shown.settle()
        self.assertEqual(self.lines, ["one", "", "two"])

    def test_beyond_so_many_a_second_are_counted(self) -> None:
        for number in range(A_SECOND + 3):
            self.shown(str(number))
        self.assertEqual(self.lines, list(map(str, range(A_SECOND))))
        self.clock.advance(1)
        self.assertEqual(self.lines[A_SECOND:], ["… 3 more lines in that second"])
        self.shown("later")
        self.assertEqual(self.lines[A_SECOND:], ["… 3 more lines in that second", "later"])

    def test_are_needed_only_where_there_is_room(self) -> None:
        for _ in range(2):
            for _ in range(A_SECOND):
                self.assertTrue(self.shown.has_room())
                self.shown("x")
            self.assertFalse(self.shown.has_room())
            self.shown("")
            self.clock.advance(1)

    def test_that_were_counted_are_told_once(self) -> None:
        for _ in range(A_SECOND + 1):
            self.shown("x")
        self.shown.settle()
        self.shown.settle()
        self.assertEqual(self.lines[A_SECOND:], ["… 1 more line in that second"])

    def test_of_every_second_are_counted_anew(self) -> None:
        for _ in range(3):
            for _ in range(A_SECOND):
                self.shown("x")
            self.clock.advance(1)
        self.shown.settle()
        self.assertEqual(self.lines, ["x"] * 3 * A_SECOND)

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from([1, 999, 1000, 1001, 2500]), st.sampled_from([0.0, 0.5, 1.0, 7.0]))))
    def test_are_shown_or_counted_every_one(self, bursts: list[tuple[int, float]]) -> None:
        self.setUp()
        for count, pause in bursts:
            for _ in range(count):
                self.shown("x")
            self.clock.advance(pause)
        self.shown.settle()
        counted = sum(int(line.split()[1]) for line in self.lines if line.startswith("…"))
        self.assertEqual(self.lines.count("x") + counted, sum(count for count, _ in bursts))

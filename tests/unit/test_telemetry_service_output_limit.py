"""The output of services: a thousand lines a second, then the number of dropped lines."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echod.telemetry.service_output_limit import A_SECOND, BYTES_A_SECOND, ServiceOutput


class Lines(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.lines: list[str] = []
        self.shown = ServiceOutput(self.write, self.clock.seconds, self.clock.callLater)

    def write(self, line: str) -> int:
        """Append a line. Returns its bytes with its line feed."""
        self.lines.append(line)
        return len(line.encode()) + 1

    def test_lines_pass_unchanged(self) -> None:
        for line in ("one", "", "two"):
            self.shown(line)
        self.shown.report_suppressed()
        self.assertEqual(self.lines, ["one", "", "two"])

    def test_lines_above_the_limit_are_counted(self) -> None:
        for number in range(A_SECOND + 3):
            self.shown(str(number))
        self.assertEqual(self.lines, list(map(str, range(A_SECOND))))
        self.clock.advance(1)
        self.assertEqual(self.lines[A_SECOND:], ["… 3 more lines in that second"])
        self.shown("later")
        self.assertEqual(self.lines[A_SECOND:], ["… 3 more lines in that second", "later"])

    def test_has_room_is_false_above_the_limit(self) -> None:
        for _ in range(2):
            for _ in range(A_SECOND):
                self.assertTrue(self.shown.has_room())
                self.shown("x")
            self.assertFalse(self.shown.has_room())
            self.shown("")
            self.clock.advance(1)

    def test_lines_above_the_limit_of_bytes_are_counted(self) -> None:
        for _ in range(2):
            for _ in range(A_SECOND):
                self.shown("é" * 500)
            self.assertEqual(len(self.lines), BYTES_A_SECOND // 1001)
            self.assertFalse(self.shown.has_room())
            self.shown("a short line that would fit")  # else the count would not be of what came after the last
            self.clock.advance(1)
            self.assertEqual(self.lines.pop(), f"… {A_SECOND + 1 - BYTES_A_SECOND // 1001} more lines in that second")
            self.assertLessEqual(sum(len(line.encode()) + 1 for line in self.lines), BYTES_A_SECOND)
            self.lines.clear()

    def test_bytes_are_counted_as_written(self) -> None:
        shown = ServiceOutput(lambda line: self.write("x" * 999 + line), self.clock.seconds, self.clock.callLater)
        for _ in range(A_SECOND):
            shown("")
        self.assertLessEqual(sum(len(line) + 1 for line in self.lines), BYTES_A_SECOND + 1000)

    def test_the_number_of_dropped_lines_is_printed_once(self) -> None:
        for _ in range(A_SECOND + 1):
            self.shown("x")
        self.shown.report_suppressed()
        self.shown.report_suppressed()
        self.assertEqual(self.lines[A_SECOND:], ["… 1 more line in that second"])

    def test_a_line_of_the_next_second_comes_before_the_report_is_due(self) -> None:
        self.clock.advance(0.5)
        for _ in range(A_SECOND + 1):
            self.shown("x")
        self.clock.advance(0.6)
        self.shown("later")
        self.assertEqual(self.lines[A_SECOND:], ["… 1 more line in that second", "later"])
        self.clock.advance(0.6)
        self.assertEqual(len(self.lines), A_SECOND + 2)

    def test_each_second_has_its_own_count(self) -> None:
        for _ in range(3):
            for _ in range(A_SECOND):
                self.shown("x")
            self.clock.advance(1)
        self.shown.report_suppressed()
        self.assertEqual(self.lines, ["x"] * 3 * A_SECOND)

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from([1, 999, 1000, 1001, 2500]), st.sampled_from([0.0, 0.5, 1.0, 7.0]))))
    def test_every_line_is_printed_or_counted(self, bursts: list[tuple[int, float]]) -> None:
        self.setUp()
        for count, pause in bursts:
            for _ in range(count):
                self.shown("x")
            self.clock.advance(pause)
        self.shown.report_suppressed()
        counted = sum(int(line.split()[1]) for line in self.lines if line.startswith("…"))
        self.assertEqual(self.lines.count("x") + counted, sum(count for count, _ in bursts))

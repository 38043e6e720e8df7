"""Output never raises and never waits for who does not read; what does not get out is counted."""

import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from echod.telemetry import background_writer as module
from echod.telemetry.background_writer import Output
from echod.telemetry.threads import NoThread

LONG = 10.0  # seconds after which a test says that something waits for ever


def lines(output: Output, *texts: str) -> None:
    """Hand out lines."""
    for text in texts:
        output.line(text)


class Outputs(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.file = self.folder / "log"

    def started(self, target: int | str) -> Output:
        """An output that writes from its thread."""
        output = Output(target)
        output.start()
        self.addCleanup(output.stop)
        return output

    def opened(self, path: str) -> int:
        """A descriptor for writing, closed at the end."""
        descriptor = os.open(path, os.O_WRONLY)
        self.addCleanup(os.close, descriptor)
        return descriptor

    def at_once(self, call: Callable[[], object]) -> None:
        """Fail where a call has not returned after LONG."""
        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        thread.join(LONG)
        self.assertFalse(thread.is_alive(), "it waits for somebody to read")

    def wait_until(self, true: Callable[[], bool], what: str) -> None:
        """Fail where something does not come true within LONG."""
        deadline = time.monotonic() + LONG
        while not true():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.001)


class Files(Outputs):
    def test_get_every_line_in_order_before_the_thread_from_it_and_after_it(self) -> None:
        output = Output(str(self.file))
        output.line("before")
        self.assertEqual(self.file.read_text("utf-8"), "before\n")
        output.start()
        for number in range(1000):
            output.line(str(number))
        output.stop()
        output.line("after")
        lines = self.file.read_text("utf-8").splitlines()
        self.assertEqual(lines, ["before", *map(str, range(1000)), "after"])
        self.assertEqual(output.lost, 0)

    def test_are_appended_to_and_readable_by_no_stranger(self) -> None:
        self.addCleanup(os.umask, os.umask(0))
        Output(str(self.file)).line("one")
        Output(str(self.file)).line("two")
        self.assertEqual(self.file.read_text("utf-8"), "one\ntwo\n")
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o640)

    def test_get_text_that_is_no_unicode(self) -> None:
        output = Output(str(self.file))
        output.line("naïve \udcff")
        self.assertEqual(self.file.read_bytes(), "naïve \\udcff\n".encode())

    def test_that_cannot_be_opened_are_an_error_at_once(self) -> None:
        self.assertRaises(OSError, Output, str(self.folder))
        self.assertRaises(OSError, Output, str(self.folder / "missing" / "log"))

    def test_of_a_relative_path_stay_where_they_were(self) -> None:
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        output = Output("log")
        os.chdir("/")
        output.reopen()
        output.line("one")
        self.assertEqual(self.file.read_text("utf-8"), "one\n")

    def test_are_inherited_by_no_child(self) -> None:
        before = set(os.listdir("/proc/self/fd"))
        output = Output(str(self.file))
        output.reopen()
        for descriptor in set(os.listdir("/proc/self/fd")) - before:
            if os.path.exists(f"/proc/self/fd/{descriptor}"):
                self.assertFalse(os.get_inheritable(int(descriptor)))


class Reopening(Outputs):
    def test_goes_on_in_a_new_file_after_somebody_renamed_the_old(self) -> None:
        output = self.started(str(self.file))
        output.line("one")
        self.wait_until(lambda: self.file.read_text("utf-8") == "one\n", "the line is not written")
        self.file.rename(self.folder / "log.1")
        output.reopen()
        output.line("two")
        output.stop()
        self.assertEqual((self.folder / "log.1").read_text("utf-8"), "one\n")
        self.assertEqual(self.file.read_text("utf-8"), "two\n")

    def test_that_fails_goes_on_with_the_old(self) -> None:
        output = Output(str(self.file))
        self.file.rename(self.folder / "log.1")
        self.file.mkdir()
        self.assertRaises(OSError, output.reopen)
        output.line("one")
        self.assertEqual((self.folder / "log.1").read_text("utf-8"), "one\n")
        self.assertEqual(output.lost, 0)

    def test_of_a_pipe_waits_for_no_reader(self) -> None:
        os.mkfifo(self.file)
        self.at_once(lambda: self.assertRaisesRegex(OSError, "no process reads from it", Output, str(self.file)))
        first = os.open(self.file, os.O_RDONLY | os.O_NONBLOCK)
        output = Output(str(self.file))
        self.assertTrue(os.get_blocking(output._descriptor))  # or it would lose lines where the pipe is full
        os.close(first)
        self.at_once(lambda: self.assertRaisesRegex(OSError, "no process reads from it", output.reopen))
        output.line("to nobody")
        self.assertEqual(output.lost, 1)
        second = os.open(self.file, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, second)
        output.line("to the next reader")
        output.reopen()
        output.line("again")
        self.assertEqual(os.read(second, 100), b"to the next reader\nagain\n")

    def test_keeps_no_descriptor(self) -> None:
        output = Output(str(self.file))
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            output.reopen()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_while_the_thread_is_about_to_write_puts_no_line_into_anybody_elses_file(self) -> None:
        output = Output(str(self.file))
        others = self.folder / "another connection"
        write = os.write

        def write_late(descriptor: int, data: memoryview) -> int:
            self.patch(os, "write", write)
            output.reopen()
            self.addCleanup(os.close, os.open(others, os.O_WRONLY | os.O_CREAT))  # takes the lowest free number
            return write(descriptor, data)

        self.patch(os, "write", write_late)
        output.line("one")
        self.assertEqual(others.read_bytes(), b"")
        self.assertEqual(self.file.read_text("utf-8"), "one\n")

    def test_a_descriptor_that_was_given_does_nothing(self) -> None:
        output = Output(self.opened(os.devnull))
        output.reopen()
        output.line("one")
        self.assertEqual(output.lost, 0)


class Troubles(Outputs):
    def test_a_full_disk_costs_the_lines_and_nothing_else(self) -> None:
        output = Output(self.opened("/dev/full"))
        output.line("one")
        self.assertEqual(output.lost, 1)
        output.start()
        for _ in range(10):
            output.line("more")
        output.stop()
        self.assertEqual(output.lost, 11)

    def test_a_closed_pipe_and_a_closed_descriptor_do_too(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        for closed in (False, True):
            if closed:
                os.close(writing)
            output = Output(writing)
            output.line("one")
            self.assertEqual(output.lost, 1)
            if not closed:  # or its number is somebody else's by now
                output.start()
                output.line("two")
                output.stop()
                self.assertEqual(output.lost, 2)

    def test_a_line_that_fitted_in_part_does_not_spoil_the_next(self) -> None:
        pipe = Pipe(self)
        os.set_blocking(pipe.writing, False)
        pipe.fill(leave=4096)
        output = Output(pipe.writing)
        output.line("x" * 10_000)
        self.assertEqual(output.lost, 1)
        part = pipe.read()
        self.assertTrue(part.endswith(b"x"))
        output.line("whole")
        output.line("another")
        self.assertEqual((part + pipe.read()).splitlines()[-2:], [b"whole", b"another"])
        self.assertEqual(output.lost, 1)


class Pipe:
    """A pipe, and who reads from it when told."""

    def __init__(self, test: Outputs) -> None:
        self.reading, self.writing = os.pipe()
        test.addCleanup(os.close, self.writing)
        test.addCleanup(os.close, self.reading)
        os.set_blocking(self.reading, False)

    def fill(self, leave: int = 0) -> None:
        """Write until nothing more fits, but for so many octets."""
        blocking = os.get_blocking(self.writing)
        os.set_blocking(self.writing, False)
        try:
            while True:
                os.write(self.writing, bytes(4096))
        except BlockingIOError:
            os.set_blocking(self.writing, blocking)
        if leave:
            os.read(self.reading, leave)

    def read(self) -> bytes:
        """All that is there."""
        whole = b""
        try:
            while piece := os.read(self.reading, 65536):
                whole += piece
        except BlockingIOError:
            pass
        return whole


class NobodyReads(Outputs):
    """A full pipe: a terminal that somebody stopped, a pager, a log collector that hangs."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(module, "AT_THE_END", 0.05)
        self.patch(module, "WAITING", 100)
        self.pipe = Pipe(self)
        self.addCleanup(self.pipe.read)  # lets the thread go on, and end
        self.pipe.fill()

    def test_lines_wait_and_get_out_when_somebody_reads(self) -> None:
        output = self.started(self.pipe.writing)
        self.at_once(lambda: lines(output, *map(str, range(100))))
        self.assertEqual(output.lost, 0)
        read = self.pipe.read()
        deadline = time.monotonic() + LONG
        while not read.endswith(b"\n99\n") and time.monotonic() < deadline:
            time.sleep(0.001)
            read += self.pipe.read()
        self.assertEqual(read.rpartition(b"\0")[2].split(), [b"%d" % number for number in range(100)])

    def test_what_does_not_fit_the_queue_is_counted(self) -> None:
        output = self.started(self.pipe.writing)
        self.at_once(lambda: lines(output, *["x"] * 1000))
        self.assertGreaterEqual(output.lost, 1000 - 2 * 100)
        self.assertLess(output.lost, 1000)
        lost = output.lost
        read, deadline = self.pipe.read(), time.monotonic() + LONG
        while read.count(b"x\n") + lost < 1000 and time.monotonic() < deadline:
            time.sleep(0.001)
            read += self.pipe.read()
        self.assertEqual(read.count(b"x\n") + output.lost, 1000)

    def test_what_waits_is_bounded_in_bytes_too(self) -> None:
        """Lines may be as long as whatever a peer sends to a service that shows it."""
        self.patch(module, "WAITING_BYTES", 1000)
        output = self.started(self.pipe.writing)
        self.at_once(lambda: lines(output, *["x" * 300] * 10))
        lost = output.lost
        self.assertIn(lost, (6, 7))  # one may be on its way
        read, deadline = self.pipe.read(), time.monotonic() + LONG
        while read.count(b"x\n") + lost < 10 and time.monotonic() < deadline:
            time.sleep(0.001)
            read += self.pipe.read()
        self.assertEqual(read.count(b"x\n") + lost, 10)
        output.line("y" * 900)
        self.assertEqual(output.lost, lost)

    def test_the_end_comes_all_the_same_and_what_is_left_behind_is_counted(self) -> None:
        output = self.started(self.pipe.writing)
        for _ in range(50):
            output.line("x")
        self.at_once(output.stop)
        self.assertIn(output.lost, (49, 50))  # one is on its way

    def test_lines_after_the_end_wait_for_nobody_either(self) -> None:
        output = self.started(self.pipe.writing)
        output.line("x")
        self.at_once(output.stop)
        lost = output.lost
        self.at_once(lambda: output.line("after"))
        self.assertEqual(output.lost, lost + 1)
        self.at_once(output.stop)


class Threads(Outputs):
    def setUp(self) -> None:
        super().setUp()
        self.patch(module, "IDLE", 0.01)
        self.known = set(threading.enumerate())

    def ours(self) -> set[threading.Thread]:
        """The threads of outputs that exist now."""
        return set(threading.enumerate()) - self.known

    def test_do_not_exist_while_there_is_nothing_to_write(self) -> None:
        output = self.started(str(self.file))
        for number in range(3):
            self.wait_until(lambda: not self.ours(), "the thread does not end")
            output.line(str(number))
            self.wait_until(lambda: self.file.read_text("utf-8").endswith("\n"), "the line is not written")
        self.wait_until(lambda: not self.ours(), "the thread does not end")
        self.assertEqual(self.file.read_text("utf-8"), "0\n1\n2\n")

    def test_are_one_for_any_number_of_lines(self) -> None:
        pipe = Pipe(self)
        pipe.fill()
        self.addCleanup(pipe.read)
        output = self.started(pipe.writing)
        for _ in range(100):
            output.line("x")
            self.assertLessEqual(len(self.ours()), 1)

    def test_that_end_lose_no_line(self) -> None:
        """Lines come just as the thread finds out that there is nothing to write."""
        self.patch(module, "IDLE", 0.0)
        output = self.started(str(self.file))
        for number in range(2000):
            output.line(str(number))
        output.stop()
        self.assertEqual(self.file.read_text("utf-8").split(), [str(number) for number in range(2000)])
        self.assertEqual(output.lost, 0)

    def test_end_with_stop_which_may_come_twice_or_alone(self) -> None:
        output = Output(str(self.file))
        output.stop()
        output.start()
        self.assertEqual(len(self.ours()), 1)
        output.stop()
        output.stop()
        self.assertEqual(self.ours(), set())

    def test_can_be_started_again(self) -> None:
        output = Output(str(self.file))
        for number in range(2):
            output.start()
            output.line(str(number))
            output.stop()
        self.assertEqual(self.file.read_text("utf-8"), "0\n1\n")
        output.start()
        output.line("2")
        self.wait_until(lambda: self.file.read_text("utf-8").endswith("2\n"), "the line is not written")
        output.stop()

    def test_keep_no_process_alive(self) -> None:
        self.patch(module, "IDLE", LONG)
        self.started(str(self.file))
        (thread,) = self.ours()
        self.assertTrue(thread.daemon)


class NoThreads(Outputs):
    """The limit of processes is reached."""

    def refuse_threads(self) -> None:
        """Let no thread start from now on."""

        def refuse(_thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        self.patch(threading.Thread, "start", refuse)

    def test_are_an_error_of_the_start(self) -> None:
        output = Output(str(self.file))
        self.refuse_threads()
        self.assertRaises(NoThread, output.start)
        output.line("written at once")
        self.assertEqual(self.file.read_text("utf-8"), "written at once\n")

    def test_later_cost_no_line_of_what_the_descriptor_takes(self) -> None:
        self.patch(module, "IDLE", 0.0)
        output = self.started(str(self.file))
        self.wait_until(lambda: output._thread is None, "the thread does not end")
        self.refuse_threads()
        lines(output, "one", "two")
        self.assertEqual(self.file.read_text("utf-8"), "one\ntwo\n")
        output.stop()
        self.assertEqual(output.lost, 0)

    def test_and_no_reader_are_waited_for_by_no_line_and_by_no_end(self) -> None:
        self.patch(module, "IDLE", 0.0)
        pipe = Pipe(self)
        pipe.fill()
        output = self.started(pipe.writing)
        self.wait_until(lambda: output._thread is None, "the thread does not end")
        start = threading.Thread.start
        self.refuse_threads()
        lines(output, "one", "two")  # in this thread: another cannot be started
        self.assertEqual(output.lost, 0)
        output.stop()
        self.assertEqual(output.lost, 2)
        self.patch(threading.Thread, "start", start)

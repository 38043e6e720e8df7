"""The background writer: it does not raise, does not block on a slow reader, and counts lost lines."""

import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from echod.telemetry import background_writer as module
from echod.telemetry.background_writer import BackgroundWriter
from echod.telemetry.threads import NoThread

LONG = 10.0  # seconds after which a test reports that a call blocks


def lines(output: BackgroundWriter, *texts: str) -> None:
    """Write lines."""
    for text in texts:
        output.line(text)


class Outputs(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.file = self.folder / "log"

    def started(self, target: int | str) -> BackgroundWriter:
        """An output whose thread has been started."""
        output = BackgroundWriter(target)
        output.start()
        self.addCleanup(output.stop)
        return output

    def opened(self, path: str) -> int:
        """A descriptor for writing, closed at the end."""
        descriptor = os.open(path, os.O_WRONLY)
        self.addCleanup(os.close, descriptor)
        return descriptor

    def at_once(self, call: Callable[[], object]) -> None:
        """Fail if a call has not returned after LONG."""
        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        thread.join(LONG)
        self.assertFalse(thread.is_alive(), "the call waits for a reader")

    def wait_until(self, true: Callable[[], bool], what: str) -> None:
        """Fail if a condition does not become true within LONG."""
        deadline = time.monotonic() + LONG
        while not true():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.001)


class Files(Outputs):
    def test_files_get_every_line_in_order_before_during_and_after_the_thread(self) -> None:
        output = BackgroundWriter(str(self.file))
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

    def test_files_are_appended_to_and_not_readable_by_other_users(self) -> None:
        self.addCleanup(os.umask, os.umask(0))
        BackgroundWriter(str(self.file)).line("one")
        BackgroundWriter(str(self.file)).line("two")
        self.assertEqual(self.file.read_text("utf-8"), "one\ntwo\n")
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o640)

    def test_text_that_is_not_valid_unicode_is_written(self) -> None:
        output = BackgroundWriter(str(self.file))
        output.line("naïve \udcff")
        self.assertEqual(self.file.read_bytes(), "naïve \\udcff\n".encode())

    def test_a_file_that_cannot_be_opened_raises_at_once(self) -> None:
        self.assertRaises(OSError, BackgroundWriter, str(self.folder))
        self.assertRaises(OSError, BackgroundWriter, str(self.folder / "missing" / "log"))

    def test_a_relative_path_does_not_follow_the_working_directory(self) -> None:
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        output = BackgroundWriter("log")
        os.chdir("/")
        output.reopen()
        output.line("one")
        self.assertEqual(self.file.read_text("utf-8"), "one\n")

    def test_descriptors_are_not_inherited_by_child_processes(self) -> None:
        before = set(os.listdir("/proc/self/fd"))
        output = BackgroundWriter(str(self.file))
        output.reopen()
        for descriptor in set(os.listdir("/proc/self/fd")) - before:
            if os.path.exists(f"/proc/self/fd/{descriptor}"):
                self.assertFalse(os.get_inheritable(int(descriptor)))


class Reopening(Outputs):
    def test_reopening_continues_in_a_new_file_after_a_rename(self) -> None:
        output = self.started(str(self.file))
        output.line("one")
        self.wait_until(lambda: self.file.read_text("utf-8") == "one\n", "the line is not written")
        self.file.rename(self.folder / "log.1")
        output.reopen()
        output.line("two")
        output.stop()
        self.assertEqual((self.folder / "log.1").read_text("utf-8"), "one\n")
        self.assertEqual(self.file.read_text("utf-8"), "two\n")

    def test_a_failed_reopening_keeps_the_old_file(self) -> None:
        output = BackgroundWriter(str(self.file))
        self.file.rename(self.folder / "log.1")
        self.file.mkdir()
        self.assertRaises(OSError, output.reopen)
        output.line("one")
        self.assertEqual((self.folder / "log.1").read_text("utf-8"), "one\n")
        self.assertEqual(output.lost, 0)

    def test_reopening_a_named_pipe_does_not_wait_for_a_reader(self) -> None:
        os.mkfifo(self.file)
        self.at_once(
            lambda: self.assertRaisesRegex(OSError, "no process reads from it", BackgroundWriter, str(self.file))
        )
        first = os.open(self.file, os.O_RDONLY | os.O_NONBLOCK)
        output = BackgroundWriter(str(self.file))
        self.assertTrue(os.get_blocking(output._descriptor))  # otherwise it would lose lines when the pipe is full
        os.close(first)
        self.at_once(lambda: self.assertRaisesRegex(OSError, "no process reads from it", output.reopen))
        output.line("to no process")
        self.assertEqual(output.lost, 1)
        second = os.open(self.file, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, second)
        output.line("to the next reader")
        output.reopen()
        output.line("again")
        self.assertEqual(os.read(second, 100), b"to the next reader\nagain\n")

    def test_reopening_does_not_leak_a_descriptor(self) -> None:
        output = BackgroundWriter(str(self.file))
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            output.reopen()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_reopening_while_the_thread_writes_does_not_write_to_another_file(self) -> None:
        output = BackgroundWriter(str(self.file))
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

    def test_reopening_a_given_descriptor_does_nothing(self) -> None:
        output = BackgroundWriter(self.opened(os.devnull))
        output.reopen()
        output.line("one")
        self.assertEqual(output.lost, 0)


class Failures(Outputs):
    def test_lines_for_a_full_disk_are_lost_and_counted(self) -> None:
        output = BackgroundWriter(self.opened("/dev/full"))
        output.line("one")
        self.assertEqual(output.lost, 1)
        output.start()
        for _ in range(10):
            output.line("more")
        output.stop()
        self.assertEqual(output.lost, 11)

    def test_lines_for_a_closed_pipe_or_descriptor_are_lost_and_counted(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        for closed in (False, True):
            if closed:
                os.close(writing)
            output = BackgroundWriter(writing)
            output.line("one")
            self.assertEqual(output.lost, 1)
            if not closed:  # another descriptor may have its number by now
                output.start()
                output.line("two")
                output.stop()
                self.assertEqual(output.lost, 2)

    def test_a_partly_written_line_is_ended_before_the_next(self) -> None:
        pipe = Pipe(self)
        os.set_blocking(pipe.writing, False)
        pipe.fill(leave=4096)
        output = BackgroundWriter(pipe.writing)
        output.line("x" * 10_000)
        self.assertEqual(output.lost, 1)
        part = pipe.read()
        self.assertTrue(part.endswith(b"x"))
        output.line("whole")
        output.line("another")
        self.assertEqual((part + pipe.read()).splitlines()[-2:], [b"whole", b"another"])
        self.assertEqual(output.lost, 1)


class Pipe:
    """A pipe that a test reads on demand."""

    def __init__(self, test: Outputs) -> None:
        self.reading, self.writing = os.pipe()
        test.addCleanup(os.close, self.writing)
        test.addCleanup(os.close, self.reading)
        os.set_blocking(self.reading, False)

    def fill(self, leave: int = 0) -> None:
        """Write until the pipe is full, then free `leave` bytes."""
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
        """All bytes in the pipe."""
        whole = b""
        try:
            while piece := os.read(self.reading, 65536):
                whole += piece
        except BlockingIOError:
            pass
        return whole


class BlockedReaders(Outputs):
    """A full pipe: a stopped terminal, a pager, or a log collector that hangs."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(module, "AT_THE_END", 0.05)
        self.patch(module, "WAITING", 100)
        self.pipe = Pipe(self)
        self.addCleanup(self.pipe.read)  # unblocks the thread, so that it ends
        self.pipe.fill()

    def test_lines_are_queued_and_written_when_the_reader_reads(self) -> None:
        output = self.started(self.pipe.writing)
        self.at_once(lambda: lines(output, *map(str, range(100))))
        self.assertEqual(output.lost, 0)
        read = self.pipe.read()
        deadline = time.monotonic() + LONG
        while not read.endswith(b"\n99\n") and time.monotonic() < deadline:
            time.sleep(0.001)
            read += self.pipe.read()
        self.assertEqual(read.rpartition(b"\0")[2].split(), [b"%d" % number for number in range(100)])

    def test_lines_that_do_not_fit_the_queue_are_counted(self) -> None:
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

    def test_the_queue_is_bounded_in_bytes_too(self) -> None:
        """A service that prints messages prints lines as long as a peer sends."""
        self.patch(module, "WAITING_BYTES", 1000)
        output = self.started(self.pipe.writing)
        self.at_once(lambda: lines(output, *["x" * 300] * 10))
        lost = output.lost
        self.assertIn(lost, (6, 7))  # one may be in the thread
        read, deadline = self.pipe.read(), time.monotonic() + LONG
        while read.count(b"x\n") + lost < 10 and time.monotonic() < deadline:
            time.sleep(0.001)
            read += self.pipe.read()
        self.assertEqual(read.count(b"x\n") + lost, 10)
        output.line("y" * 900)
        self.assertEqual(output.lost, lost)

    def test_stop_returns_and_counts_the_queued_lines(self) -> None:
        output = self.started(self.pipe.writing)
        for _ in range(50):
            output.line("x")
        self.at_once(output.stop)
        self.assertIn(output.lost, (49, 50))  # one is in the thread

    def test_lines_after_stop_do_not_wait_for_a_reader(self) -> None:
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
        """The running threads of outputs."""
        return set(threading.enumerate()) - self.known

    def test_the_thread_ends_when_the_queue_is_empty(self) -> None:
        output = self.started(str(self.file))
        for number in range(3):
            self.wait_until(lambda: not self.ours(), "the thread does not end")
            output.line(str(number))
            self.wait_until(lambda: self.file.read_text("utf-8").endswith("\n"), "the line is not written")
        self.wait_until(lambda: not self.ours(), "the thread does not end")
        self.assertEqual(self.file.read_text("utf-8"), "0\n1\n2\n")

    def test_one_thread_serves_any_number_of_lines(self) -> None:
        pipe = Pipe(self)
        pipe.fill()
        self.addCleanup(pipe.read)
        output = self.started(pipe.writing)
        for _ in range(100):
            output.line("x")
            self.assertLessEqual(len(self.ours()), 1)

    def test_a_thread_that_ends_does_not_lose_a_line(self) -> None:
        """Lines arrive at the moment when the thread finds the queue empty."""
        self.patch(module, "IDLE", 0.0)
        output = self.started(str(self.file))
        for number in range(2000):
            output.line(str(number))
        output.stop()
        self.assertEqual(self.file.read_text("utf-8").split(), [str(number) for number in range(2000)])
        self.assertEqual(output.lost, 0)

    def test_stop_ends_the_thread_and_may_be_called_twice_or_without_start(self) -> None:
        output = BackgroundWriter(str(self.file))
        output.stop()
        output.start()
        self.assertEqual(len(self.ours()), 1)
        output.stop()
        output.stop()
        self.assertEqual(self.ours(), set())

    def test_an_output_can_be_started_again(self) -> None:
        output = BackgroundWriter(str(self.file))
        for number in range(2):
            output.start()
            output.line(str(number))
            output.stop()
        self.assertEqual(self.file.read_text("utf-8"), "0\n1\n")
        output.start()
        output.line("2")
        self.wait_until(lambda: self.file.read_text("utf-8").endswith("2\n"), "the line is not written")
        output.stop()

    def test_the_thread_does_not_keep_the_process_alive(self) -> None:
        self.patch(module, "IDLE", LONG)
        self.started(str(self.file))
        (thread,) = self.ours()
        self.assertTrue(thread.daemon)


class NoThreads(Outputs):
    """The limit of processes is reached."""

    def refuse_threads(self) -> None:
        """Make every start of a thread fail from now on."""

        def refuse(_thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        self.patch(threading.Thread, "start", refuse)

    def test_start_raises_if_a_thread_cannot_be_started(self) -> None:
        output = BackgroundWriter(str(self.file))
        self.refuse_threads()
        self.assertRaises(NoThread, output.start)
        output.line("written at once")
        self.assertEqual(self.file.read_text("utf-8"), "written at once\n")

    def test_without_a_thread_lines_that_do_not_block_are_written(self) -> None:
        self.patch(module, "IDLE", 0.0)
        output = self.started(str(self.file))
        self.wait_until(lambda: output._thread is None, "the thread does not end")
        self.refuse_threads()
        lines(output, "one", "two")
        self.assertEqual(self.file.read_text("utf-8"), "one\ntwo\n")
        output.stop()
        self.assertEqual(output.lost, 0)

    def test_without_a_thread_and_a_reader_neither_lines_nor_stop_block(self) -> None:
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

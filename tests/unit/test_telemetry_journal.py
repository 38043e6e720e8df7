"""The protocol of the journal: fields that peers cannot forge, entries of any size, and a busy or absent journal."""

import array
import fcntl
import json
import os
import socket
from contextlib import closing, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.telemetry.background_writer import BackgroundWriter
from echod.telemetry.journal import Journal, entry, is_journal, prefixed
from echod.telemetry.log import LEVELS, Log


def never(*_):
    """A `later` for logs that do not suppress lines."""


class Reading:
    """The receiving end, as journald implements it."""

    def __init__(self, where):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(where)
        self.socket.setblocking(False)

    def entries(self):
        """Every received entry: its fields, and whether it was sent as a file."""
        found = []
        with suppress(BlockingIOError):
            while True:
                data, ancillary, _, _ = self.socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
                if ancillary:
                    numbers = array.array("i")
                    numbers.frombytes(ancillary[0][2])
                    with open(numbers[0], "rb") as file:
                        assert fcntl.fcntl(file, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE
                        file.seek(0)
                        data = file.read()
                found.append((fields(data), bool(ancillary)))
        return found


def fields(data):
    """The fields of an entry. A value with a line feed would have the binary form, which echod does not send."""
    assert data.endswith(b"\n")
    pairs = [line.partition(b"=") for line in data[:-1].split(b"\n")]
    assert all(equals for _, equals, _ in pairs)
    return {name.decode(): value.decode() for name, _, value in pairs}


@pytest.fixture
def reading(tmp_path):
    made = Reading(str(tmp_path / "journal"))
    with closing(made.socket):
        yield made


@pytest.fixture
def journal(tmp_path, reading):
    with closing(Journal(str(tmp_path / "journal"))) as made:
        yield made


def test_an_event_has_its_fields(reading, journal, tmp_path):
    with (tmp_path / "none").open("w") as file:
        output = BackgroundWriter(file.fileno(), journal)
        log = Log(output, "journal", "debug", later=never)
        told = {"service": "echo", "address": "tcp://*:7", "peer": "192.0.2.1:5", "reason": "rate"}
        log.event("connection.refused", told)
        log.event("daemon.stopped", {"counters": {"echo tcp://*:7": {"accepted": 1}}})
        log.say("warn", "look out")
        log.show("shown")
    [(refused, _), (stopped, _), (warned, _), (shown, _)] = reading.entries()
    assert refused == {
        "MESSAGE": "echo  tcp://*:7 refused 192.0.2.1:5: rate",
        "PRIORITY": "7",
        "SYSLOG_IDENTIFIER": "echod",
        "ECHOD_EVENT": "connection.refused",
        "ECHOD_SERVICE": "echo",
        "ECHOD_ADDRESS": "tcp://*:7",
        "ECHOD_PEER": "192.0.2.1:5",
        "ECHOD_REASON": "rate",
    }
    assert json.loads(stopped["ECHOD_COUNTERS"]) == {"echo tcp://*:7": {"accepted": 1}}
    assert warned == {"MESSAGE": "look out", "PRIORITY": "4", "SYSLOG_IDENTIFIER": "echod"}
    assert (shown["MESSAGE"], shown["PRIORITY"]) == ("shown", "6")
    assert (tmp_path / "none").read_text() == ""
    assert output.lost == 0


NAMES = st.from_regex("[a-z_]{1,9}", fullmatch=True)


@given(st.sampled_from(sorted(LEVELS)), st.text(), st.dictionaries(NAMES, st.text()))
def test_peers_cannot_add_fields_to_an_entry(level, message, more):
    said = fields(entry(level, message, more))
    assert set(said) == {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", *(f"ECHOD_{name.upper()}" for name in more)}
    assert all(value.isprintable() for value in said.values())
    assert said["PRIORITY"] in "23467"


def test_a_large_entry_is_sent_as_a_file(reading, journal):
    journal.send(entry("info", "x" * 3_000_000, {"service": "echo"}))
    [(said, as_file)] = reading.entries()
    assert as_file
    assert said["MESSAGE"] == "x" * 3_000_000
    assert said["ECHOD_SERVICE"] == "echo"


def test_entries_for_a_busy_journal_are_lost_and_counted(reading, journal, monkeypatch, tmp_path):
    monkeypatch.setattr("echod.telemetry.journal.PATIENCE", 0.01)
    output = BackgroundWriter(os.open(os.devnull, os.O_WRONLY), journal)
    log = Log(output, "journal", later=never)
    sent = 0
    while not output.lost:
        log.say("info", f"line {sent}")
        sent += 1
        assert sent < 10_000
    assert [said["MESSAGE"] for said, _ in reading.entries()] == [f"line {at}" for at in range(sent - 1)]
    log.say("info", "again")
    assert reading.entries()[0][0]["MESSAGE"] == "again"


def test_entries_are_lost_only_while_the_journal_is_absent(tmp_path):
    where = str(tmp_path / "journal")
    journal = Journal(where)
    first = Reading(where)
    output = BackgroundWriter(os.open(os.devnull, os.O_WRONLY), journal)
    log = Log(output, "journal", later=never)
    first.socket.close()
    log.say("info", "lost")
    assert output.lost == 1
    os.unlink(where)
    with closing(Reading(where).socket) as second:
        log.say("info", "there again")
        assert b"MESSAGE=there again" in second.recv(1000)
    journal.close()


def test_without_a_journal_lines_start_with_their_priority(tmp_path):
    with (tmp_path / "log").open("w") as file:
        log = Log(BackgroundWriter(file.fileno(), Journal(str(tmp_path / "nowhere"))), "journal", later=never)
        log.say("error", "a\nb")
        log.event("daemon.ready", {"listeners": 2})
    assert (tmp_path / "log").read_text() == "<3>a\\x0ab\n<6>ready: 2 listeners\n"
    assert prefixed("warn", "look out") == "<4>look out"


def test_auto_is_journal_if_the_output_is_connected_to_it(reading, journal, tmp_path):
    with (tmp_path / "log").open("w") as file:
        there = os.fstat(file.fileno())
        environ = {"JOURNAL_STREAM": f"{there.st_dev}:{there.st_ino}"}
        log = Log(BackgroundWriter(file.fileno(), journal), "auto", environ=environ, later=never)
        log.say("info", "one")
        log.reconfigure("text", "info")
        log.say("info", "two")
        log.reconfigure("auto", "info")
        log.say("info", "three")
    assert [said["MESSAGE"] for said, _ in reading.entries()] == ["one", "three"]
    assert (tmp_path / "log").read_text().endswith("Z info  two\n")


@pytest.mark.parametrize("stream", [None, "", "1:2", "junk"])
def test_auto_is_text_for_any_other_output(stream, journal, reading, tmp_path):
    environ = {} if stream is None else {"JOURNAL_STREAM": stream}
    with (tmp_path / "log").open("w") as file:
        Log(BackgroundWriter(file.fileno(), journal), "auto", environ=environ, later=never).say("info", "one")
        assert not is_journal(file.fileno(), environ)
    assert not is_journal(987, environ)
    assert reading.entries() == []


def test_a_log_file_is_never_taken_for_the_journal(journal, reading, tmp_path):
    output = BackgroundWriter(str(tmp_path / "log"), journal)
    there = os.stat(tmp_path / "log")
    assert not output.is_journal({"JOURNAL_STREAM": f"{there.st_dev}:{there.st_ino}"})


def test_a_lost_entry_raises():
    with closing(Journal("/nowhere/journal")) as journal, pytest.raises(FileNotFoundError):
        journal.send(b"MESSAGE=x\n")

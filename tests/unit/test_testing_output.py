"""The output of a process: its lines, and a close that does not wait for other processes."""

import os

import pytest

from echod.testing.output import DaemonError, Output


def test_a_line_is_found_before_and_after_it_is_waited_for():
    read, write = os.pipe()
    output = Output(os.fdopen(read, "rb"))
    with open(write, "wb", buffering=0) as pipe:
        pipe.write(b"one\ntwo \xff\n")
        assert output.wait_for(r"t(w)o")[1] == "w"
        assert output.wait_for("one")[0] == "one"
        with pytest.raises(DaemonError, match=r"(?s)no line has 'three', in time:\none\ntwo \\xff"):
            output.wait_for("three", 0)
    with pytest.raises(DaemonError, match="and the writer has exited"):
        output.wait_for("three")
    output.close()
    assert output.has_ended
    assert output.raw == [b"one", b"two \xff"]


def test_a_close_does_not_wait_for_another_process_that_has_the_pipe():
    read, write = os.pipe()
    output = Output(os.fdopen(read, "rb"))
    output.close(0)
    assert not output.has_ended
    os.close(write)
    output.close()
    assert output.has_ended


def test_the_owner_may_close_the_pipe_before_the_writer_exits():
    read, write = os.pipe()
    with open(read, "rb") as pipe:
        output = Output(pipe)
        os.write(write, b"one\n")
        output.wait_for("one")
    os.write(write, b"two\n")
    os.close(write)
    output.wait_for("two")
    output.close()
    assert output.raw == [b"one", b"two"]

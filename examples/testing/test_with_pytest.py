"""Tests of a client with pytest: the extra `pytest` of the distribution `txechod` provides the fixtures."""

import socket

import pytest


def ask(address, question, timeout=30):
    """The client under test: sends a line, and returns the reply up to its line end."""
    with socket.create_connection(address, timeout) as client:
        client.sendall(question + b"\n")
        return client.makefile("rb").readline().rstrip(b"\n")


def test_the_reply_of_an_echo(echod):
    assert ask(echod.address, b"hello") == b"hello"
    assert [one.data for one in echod.received()] == [b"hello\n"]


@pytest.mark.echod("upper=tcp://127.0.0.1:0")
def test_another_service(echod):
    assert ask(echod.address, b"hello") == b"HELLO"


def test_a_server_that_comes_back(echod_factory):
    server = echod_factory("echo=tcp://127.0.0.1:0")
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        ask(server.address, b"hello")
    server.restart()
    assert ask(server.address, b"hello") == b"hello"


def test_a_server_that_hangs(echod):
    echod.suspend()
    with pytest.raises(TimeoutError):
        ask(echod.address, b"hello", timeout=0.1)
    echod.resume()

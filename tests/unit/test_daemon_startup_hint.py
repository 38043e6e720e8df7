"""The hint: a command to try next."""

from echod.daemon.startup_hint import hint


def test_it_names_the_most_instructive_service() -> None:
    served = [
        ("echo", "tcp://127.0.0.1:7"),
        ("upper", "udp://127.0.0.1:8"),
        ("upper", "tcp://*:8"),
        ("admin", "unix:///a"),
    ]
    assert hint(served, "e") == "from another terminal: e send tcp://127.0.0.1:8 hello; e status"
    assert hint(served[:2], "e") == "from another terminal: e send tcp://127.0.0.1:7 hello"
    assert hint(served[1:2], "e") is None
    assert hint([], "e") is None

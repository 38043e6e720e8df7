"""unix-seqpacket: too large messages, a stop and a reload, sockets that systemd passes, and echoctl as its client."""

import signal
import socket
from collections.abc import Iterator

import pytest

from tests.activation import activated
from tests.contract.test_messages import message, rest
from tests.daemon import ECHOCTL, SECONDS, Daemon, run
from tests.system.test_socket_activation import opened

CONFIG = """
[services.echo]
listen = ["unix-seqpacket://{dir}/echo.seq", "unix://{dir}/echo.sock"]
limits.message = "1KiB"
[services.wide]
kind = "echo"
listen = ["unix-seqpacket://{dir}/wide.seq"]
[services.chat]
listen = ["unix-seqpacket://{dir}/chat.seq"]
[services.ack]
listen = ["unix-seqpacket://{dir}/ack.seq"]
show = "no"
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(CONFIG) as daemon:
        yield daemon
        daemon.check()


def client(place) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made.settimeout(SECONDS)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    made.connect(place)
    return made


def counted(daemon: Daemon, service: str) -> dict[str, int]:
    [found] = [figures for name, figures in daemon.counters().items() if name.startswith(f"{service} unix-seqpacket")]
    return found


def echoctl(*words: str, code: int = 0, says: str = "", given: bytes = b"") -> bytes:
    ended = run(*ECHOCTL, *words, input=given)
    assert (ended.returncode, ended.stderr.decode("utf-8")) == (code, says)
    return ended.stdout


def test_a_message_above_the_limit_closes_the_connection_and_is_counted():
    with Daemon(CONFIG) as daemon:
        with client(daemon.place("echo", "unix-seqpacket")) as one:
            one.send(bytes(1024))
            assert message(one) == bytes(1024)
            one.send(bytes(1025))
            with pytest.raises(ConnectionResetError):
                rest(one)
        daemon.stop()
        figures = counted(daemon, "echo")
    assert (figures["accepted"], figures["closed:message"]) == (1, 1)
    assert (figures["bytes_in"], figures["bytes_out"]) == (1024, 1024)


def test_a_stop_sends_pending_replies_before_it_closes():
    with Daemon(CONFIG) as daemon:
        with client(daemon.place("wide", "unix-seqpacket")) as one:
            for number in range(5):
                one.send(b"%d" % number * number)
            assert [message(one) for _ in range(5)] == [b"%d" % number * number for number in range(5)]
            daemon.send_signal(signal.SIGTERM)
            assert rest(one) == []
        daemon.wait()
        assert counted(daemon, "wide")["closed:done"] == 1


def test_a_socket_that_systemd_passes_is_served(tmp_path):
    with opened(tmp_path / "q", socket.SOCK_SEQPACKET) as packets:
        path = packets.getsockname()
        with activated([("echo", packets)], listen=["echo=systemd:echo"]), client(path) as one:
            one.send(b"")
            assert message(one) == b""
            one.send(b"hello")
            assert message(one) == b"hello"


@pytest.mark.parametrize("said", ["hello", "two words"])
def test_send_sends_one_message_and_prints_one_reply(said, daemon):
    assert echoctl("send", daemon.url("wide", "unix-seqpacket"), *said.split()) == said.encode()


def test_send_of_an_empty_message_has_an_empty_reply(daemon):
    assert echoctl("send", daemon.url("wide", "unix-seqpacket")) == b""


def test_send_reports_a_message_that_is_too_large(daemon):
    url = daemon.url("wide", "unix-seqpacket")
    says = f"echoctl: {url}: message too long (EMSGSIZE)\n"
    echoctl("send", url, code=1, says=says, given=bytes(4_000_000))


def test_talk_sends_each_line_as_a_message(daemon):
    url = daemon.url("wide", "unix-seqpacket")
    assert echoctl("talk", url, given=b"one\n\ntwo\n") == b"one\ntwo\n"


def test_a_path_without_a_listener_is_one_line(tmp_path):
    url = f"unix-seqpacket://{tmp_path}/none"
    echoctl("send", url, "x", code=1, says=f"echoctl: {url}: no such file or directory (ENOENT)\n")


def test_a_kind_without_a_last_message_is_refused(tmp_path):
    file = tmp_path / "echod.toml"
    file.write_text(f'[services.chargen]\nlisten = ["unix-seqpacket://{tmp_path}/c"]\n')
    ended = run(*ECHOCTL, "check", str(file))
    assert ended.returncode == 78
    assert b"chargen is served over streams and datagrams only" in ended.stderr

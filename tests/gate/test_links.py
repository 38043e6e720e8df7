"""Packet loss costs time, but no byte: test 23 of docs/PROMISES.md."""

import pytest

from tests.chaos.links import LENGTH, LOSS, Stream, datagrams_there_and_back
from tests.chaos.network import CLIENT4, SERVER4
from tests.daemon import SECONDS, Daemon
from tests.gate.configurations import configuration, counted

STREAMS, DATAGRAMS = 4, 200
SERVICE = (
    f'echo]\nlisten = ["tcp://{SERVER4}:0", "udp://{SERVER4}:0"]\nallow = ["{CLIENT4}"]\nlimits = {{ rate = "0" }}'
)


@pytest.mark.needs_root
def test_a_link_with_packet_loss_loses_no_byte(two, plane):
    for side in two:
        side.loses(LOSS)
    with Daemon(configuration(plane, SERVICE)) as daemon:
        streams = [Stream(number) for number in range(STREAMS)]
        with two.client.inside():
            for stream in streams:
                stream.begin(daemon.inet("echo", "tcp"))
            came, wrong = datagrams_there_and_back(daemon.inet("echo", "udp"), DATAGRAMS)
        for stream in streams:
            stream.join(3 * SECONDS)
            assert stream.came == stream.sent
        assert came > DATAGRAMS / 2
        assert not wrong
        figures = counted(daemon, "echo", "tcp")
        assert figures["bytes_in"] == figures["bytes_out"] == STREAMS * LENGTH
        assert counted(daemon, "echo", "udp")["datagrams_out"] >= came

"""sockperf over streams: each message that requests a reply is returned, whole and in order."""

import struct

from tests.contract.matrix import MIB, STREAM, Contract, answer, data, digest, everywhere, rest

ASKING, SILENT, REPLY = 3, 1, 2  # flags


def message(flags: int, body: bytes = b"") -> bytes:
    return struct.pack("!QHI", 7, flags, 14 + len(body)) + body


class PlayingPingPong(Contract):
    def test_messages_of_any_size_are_returned(self) -> None:
        bodies = [b"", b"x", data()[:50], data(MIB), b"last"]
        sent = [message(ASKING, body) + message(SILENT, body) for body in bodies]
        expected = digest([message(REPLY, body) for body in bodies])
        assert answer(self.connect(), sent) == expected

    def test_more_messages_than_a_turn_processes_are_all_returned(self) -> None:
        assert answer(self.connect(), [message(ASKING) * 5000]) == digest([message(REPLY) * 5000])

    def test_bytes_that_are_not_a_message_close_the_stream(self) -> None:
        client = self.connect()
        client.sendall(message(ASKING, b"right") + message(REPLY, b"wrong"))
        assert rest(client) == message(REPLY, b"right")


globals().update(everywhere(PlayingPingPong, STREAM, "sockperf"))

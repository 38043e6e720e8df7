"""The frames of the local bus: any division of the bytes gives the same frames, and wrong bytes are refused."""

import random
import struct

import pytest

from echod.bus.bus_interface import MESSAGE, TOPIC
from echod.bus.frames import Decoder, Frame, Kind, WrongFrame, encoded


def drawn(chance: random.Random) -> Frame:
    topic = "".join(chance.choice("abé ☃") for _ in range(chance.randrange(20)))
    return Frame(chance.choice(list(Kind)), chance.randrange(2**32), topic, chance.randbytes(chance.randrange(300)))


@pytest.mark.parametrize("seed", range(8))
def test_frames_survive_any_division(seed):
    chance = random.Random(seed)
    frames = [drawn(chance) for _ in range(60)]
    data = b"".join(map(encoded, frames))
    decoder, found = Decoder(), []
    while data:
        size = chance.choice((1, 2, 5, 17, 400))
        decoder.add(data[:size])
        data = data[size:]
        while chance.random() < 0.8 and (frame := decoder.next()):
            found.append(frame)
    while frame := decoder.next():
        found.append(frame)
    assert found == frames


def test_the_largest_frame_survives_and_larger_ones_are_refused():
    frame = Frame(Kind.MESSAGE, 1, "x" * TOPIC, bytes(MESSAGE))
    decoder = Decoder()
    decoder.add(encoded(frame))
    assert decoder.next() == frame
    with pytest.raises(ValueError, match=f"{MESSAGE + 1} bytes is too long"):
        encoded(frame._replace(payload=bytes(MESSAGE + 1)))
    with pytest.raises(ValueError, match="a topic of 256 bytes"):
        encoded(frame._replace(topic="é" * 128))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (struct.pack("!I", 5) + bytes(5), "a frame of 5 bytes"),
        (struct.pack("!I", 2**32 - 1), "a frame of 4294967295 bytes"),
        (struct.pack("!IBIB", 6, 99, 0, 0), "99 is not a valid Kind"),
        (struct.pack("!IBIB", 7, 1, 0, 5) + b"x", "a topic of 5 bytes in a frame of 7 bytes"),
        (struct.pack("!IBIB", 8, 1, 0, 2) + b"\xff\xff", "invalid start byte"),
        (struct.pack("!IBIB", 7 + MESSAGE, 1, 0, 0) + bytes(MESSAGE + 1), "a topic of 0 bytes"),
    ],
    ids=["short", "huge", "kind", "topic", "utf8", "payload"],
)
def test_wrong_bytes_are_refused(data, reason):
    decoder = Decoder()
    decoder.add(data)
    with pytest.raises(WrongFrame, match=reason):
        decoder.next()


def test_an_incomplete_frame_waits():
    decoder = Decoder()
    data = encoded(Frame(Kind.JOIN, 0, "topic", b"x"))
    for byte in data[:-1]:
        decoder.add(bytes([byte]))
        assert decoder.next() is None
    decoder.add(data[-1:])
    assert decoder.next() == Frame(Kind.JOIN, 0, "topic", b"x")

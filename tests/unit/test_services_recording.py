"""The recording of what clients send: whole streams and messages, bounded, and the same replies."""

from hypothesis import given
from hypothesis import strategies as st

from echod.model import PLAIN, Arrival, Context, Peer
from echod.services.ack import Ack, AckOptions
from echod.services.echo import Echo
from echod.services.recording import ENTRY, Recorder, recording
from echod.socket_names import Inet

TCP = Peer("tcp", Inet("127.0.0.1", 7), Inet("127.0.0.1", 40_000))
UDP = TCP._replace(scheme="udp")
WS = TCP._replace(scheme="ws")


def session(recorder, peer):
    service = recording(Echo(context=Context(wall_clock=lambda: 7.0)), recorder)
    return service.session(peer, lambda _reply: None)


def datas(recorder):
    return [bytes(entry.data) for entry in recorder.entries]


def test_the_pieces_of_a_stream_are_one_entry():
    recorder = Recorder(10_000)
    one, two = session(recorder, TCP), session(recorder, TCP)
    one.opened()
    two.opened()
    for mine, piece in ((one, b"a"), (two, b"x"), (one, b"b")):
        assert mine.received(piece).data == piece
    assert datas(recorder) == [b"ab", b"x"]
    assert recorder.entries[0].peer == TCP
    assert recorder.entries[0].time == 7.0


def test_each_message_is_an_entry_with_its_type():
    recorder = Recorder(10_000)
    mine = session(recorder, WS)
    mine.opened()
    mine.received(b"a", Arrival(text=True))
    mine.received(b"", Arrival(text=False))
    assert [(entry.text, bytes(entry.data)) for entry in recorder.entries] == [(True, b"a"), (False, b"")]


def test_each_datagram_is_an_entry_and_gets_its_reply():
    recorder = Recorder(10_000)
    service = recording(Ack(AckOptions()), recorder)
    replies: list[bytes] = []
    service.datagram(b"one", UDP, PLAIN, replies.append)
    service.datagram(b"", UDP, PLAIN, replies.append)
    assert service.answer(b"two", UDP) == b"received"
    assert datas(recorder) == [b"one", b"", b"two"]
    assert replies == [b"received"] * 2


def test_a_cleared_recording_continues_with_the_next_bytes():
    recorder = Recorder(10_000)
    mine = session(recorder, TCP)
    mine.opened()
    mine.received(b"before")
    recorder.clear()
    assert datas(recorder) == []
    mine.received(b"after")
    mine.received(b"wards")
    assert datas(recorder) == [b"afterwards"]


def test_a_recording_that_is_full_counts_the_rest():
    recorder = Recorder(ENTRY + 5)
    mine = session(recorder, TCP)
    mine.opened()
    mine.received(b"abc")
    assert recorder.dropped == 0
    assert mine.received(b"defg").data == b"defg"
    assert (datas(recorder), recorder.dropped) == ([b"abcde"], 1)
    session(recorder, TCP).opened()
    assert (datas(recorder), recorder.dropped) == ([b"abcde"], 2)
    recorder.clear()
    mine.received(b"again")
    assert (datas(recorder), recorder.dropped) == ([b"again"], 0)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from([TCP, WS]), st.binary(max_size=600))), st.integers(1, 3000)
)
def test_it_never_keeps_more_than_its_limit(arrivals, limit):
    recorder = Recorder(limit)
    sessions = {}
    for number, peer, data in arrivals:
        key = number, peer.scheme
        if key not in sessions:
            sessions[key] = session(recorder, peer)
            sessions[key].opened()
        sessions[key].received(data)
    assert sum(ENTRY + len(data) for data in datas(recorder)) <= limit
    if recorder.dropped == 0:
        assert sum(map(len, datas(recorder))) == sum(len(data) for _, _, data in arrivals)


def test_a_service_without_a_recorder_is_not_wrapped():
    service = Echo()
    assert recording(service, None) is service

"""Sockperf: messages of a client that requests a reply, and all others."""

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from echod.gate.work_budget import PORTION, WorkBudget
from echod.model import Context, End, Peer
from echod.services.sockperf import Sockperf
from echod.socket_names import Inet

PEER = Peer("udp", Inet("127.0.0.1", 11_111), Inet("192.0.2.7", 40_000))


def message(flags: int, body: bytes = b"") -> bytes:
    return struct.pack("!QHI", 7, flags, 14 + len(body)) + body


def test_the_flag_of_the_client_is_removed():
    for flags in (3, 7):
        assert Sockperf().answer(message(flags, b"body"), PEER) == message(flags - 1, b"body")


def test_other_datagrams_get_no_reply():
    for data in (b"", bytes(13), message(0), message(1), message(2), message(3)[:-1], message(3) + b"x"):
        assert Sockperf().answer(data, PEER) is None


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_a_reply_is_never_answered_again(data):
    answer = Sockperf().answer(data, PEER)
    assert answer is None or (len(answer) == len(data) and Sockperf().answer(answer, PEER) is None)


STREAM = Peer("tcp", Inet("127.0.0.1", 11_111), Inet("192.0.2.7", 40_000))


def session(context=None):
    return Sockperf(context=context).session(STREAM, lambda _: None)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([1, 3, 7]), st.binary(max_size=40)), max_size=8), st.data())
def test_a_stream_in_any_pieces_gets_the_replies_of_its_messages(messages, draw):
    sent = b"".join(message(flags, body) for flags, body in messages)
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(sent)), max_size=6)))
    served = session()
    came = b""
    for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        if begin < end:
            reply = served.received(sent[begin:end])
            came += reply.data or b""
            assert (reply.end, reply.held) == (End.NOTHING, False)
    assert came == b"".join(message(flags - 1, body) for flags, body in messages if flags & 2)


def test_a_message_is_returned_before_all_of_it_has_arrived():
    sent = message(3, bytes(100_000))
    served = session()
    assert served.received(sent[:13]).data is None
    came = [served.received(sent[at : at + 1000]).data for at in range(13, len(sent), 1000)]
    assert [len(data) for data in came[:3]] == [1013, 1000, 1000]
    assert b"".join(came) == message(2, bytes(100_000))


def test_bytes_that_are_no_messages_close_the_stream():
    for wrong in (bytes(14), message(2), struct.pack("!QHI", 7, 3, 13), b"GET / HTTP/1.1\r\n"):
        reply = session().received(message(3, b"ok") + wrong)
        assert (reply.data, reply.end) == (message(2, b"ok"), End.CLOSE)


def test_many_small_messages_are_processed_in_portions():
    context = Context(work=WorkBudget(lambda _seconds, _call: None))
    served = session(context)
    mark = context.send_budget
    reply = served.received(message(3) * (PORTION + 5))
    assert (reply.data, reply.held) == (message(2) * PORTION, True)
    assert mark.budget.total == 5 * 14
    reply = served.proceed()
    assert (reply.data, reply.held, mark.budget.total) == (message(2) * 5, False, 0)
    served.received(message(3)[:9])
    served.lost()
    assert mark.budget.total == 0

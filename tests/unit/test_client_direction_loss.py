"""Loss by direction, against a model of a path and a reflector."""

from hypothesis import given, settings
from hypothesis import strategies as st

from echod.client.direction_loss import DirectionLoss


def after(fates, *, stateful=True, measured=False, begin=0):
    """The counts after probes with these fates: `f` lost forward, `b` lost backward, `D`, `d` doubled, `.` received."""
    loss, count = DirectionLoss(), begin
    for number, fate in enumerate(fates):
        if fate == "f":
            continue
        for _ in range(2 if fate == "D" else 1):
            reply = count if stateful else number
            count += 1
            for _ in range(0 if fate == "b" else 2 if fate == "d" else 1):
                loss.add(number, reply, count if measured else None)
    return loss


@settings(max_examples=200, deadline=None)
@given(st.text("fb...", max_size=60))
def test_the_direction_of_each_loss_is_exact_up_to_the_last_reply(fates):
    loss = after(fates, measured=True)
    known = fates.rstrip("fb") if "." in fates else ""
    found = loss.lost(len(fates))
    if known:
        assert found == {
            "forward": known.count("f"),
            "backward": known.count("b"),
            "unknown": len(fates) - len(known),
        }
    else:
        assert (found["forward"], found["unknown"]) == (None, len(fates))


def test_a_stateless_reflector_shows_no_direction():
    assert after("..f.b.", stateful=False).lost(6) == {"forward": None, "backward": None, "unknown": 2}


def test_a_stateful_one_is_recognized_without_its_counters():
    assert after("..f.b.").lost(6) == {"forward": 1, "backward": 1, "unknown": 0}


def test_a_session_that_the_reflector_knew_before_does_not_begin_at_0():
    assert after("..f.b.", begin=1000).lost(6) == {"forward": 1, "backward": 1, "unknown": 0}


def test_duplicates_are_counted_by_direction():
    loss = after(".D.d.", measured=True)
    assert (loss.duplicated_forward, loss.duplicated_backward) == (1, 1)
    assert loss.lost(5) == {"forward": 0, "backward": 0, "unknown": 0}


def test_reordering_is_counted_by_direction():
    loss = DirectionLoss()
    for probe, reply in ((0, 0), (2, 1), (1, 2), (4, 4), (3, 3)):
        loss.add(probe, reply, 1)
    assert (loss.reordered_forward, loss.reordered_backward) == (1, 1)
    assert loss.lost(5) == {"forward": 0, "backward": 0, "unknown": 0}


def test_the_memory_is_bounded():
    loss = DirectionLoss()
    for number in range(300_000):
        if number % 10:
            loss.add(number, number, number)
    assert len(loss._probes) < 140_000
    assert len(loss._replies) < 140_000
    assert loss.lost(300_000) == {"forward": 0, "backward": 30_000, "unknown": 0}


@settings(max_examples=200, deadline=None)
@given(st.text("fbd...", max_size=60), st.integers(1, 1000))
def test_numbers_of_all_clients_show_directions_while_there_is_one_client(fates, begin):
    fates = "." + fates
    loss, count = DirectionLoss(), begin
    for number, fate in enumerate(fates):
        if fate != "f":
            for _ in range(0 if fate == "b" else 2 if fate == "d" else 1):
                loss.add(number, count, count, is_of_all=True)
            count += 1
    known = fates.rstrip("fb")
    assert loss.is_known
    assert loss.lost(len(fates)) == {
        "forward": known.count("f"),
        "backward": known.count("b"),
        "unknown": len(fates) - len(known),
    }


def test_with_a_second_client_the_directions_are_unknown():
    loss = DirectionLoss()
    for probe, reply in ((0, 9), (1, 11), (2, 13)):
        loss.add(probe, reply, reply, is_of_all=True)
    assert not loss.is_known
    assert loss.lost(4) == {"forward": None, "backward": None, "unknown": 1}

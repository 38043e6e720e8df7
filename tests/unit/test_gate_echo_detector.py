"""Echo detection: three returns in a row, each within two seconds."""

import pytest

from echod.gate.echo_detector import IN_A_ROW, REMEMBERED, WITHIN, EchoDetector


def test_one_equal_line_is_an_answer_and_three_in_a_row_are_an_echo():
    detector = EchoDetector()
    for number in range(IN_A_ROW):
        detector.sent(b"ok\n", number)
        assert detector.is_echo(b"ok\n", number + 0.08) == (number == IN_A_ROW - 1)


def test_a_line_of_its_own_begins_the_row_again():
    detector = EchoDetector()
    for number in range(20):
        detector.sent(b"ok\n", number)
        assert not detector.is_echo(b"ok\n" if number % 3 else b"mine", number)


def test_a_late_return_is_not_an_echo():
    detector = EchoDetector()
    for number in range(10):
        detector.sent(b"line %d" % number, number * 10)
        assert not detector.is_echo(b"line %d" % number, number * 10 + WITHIN + 0.01)


def test_a_text_that_was_sent_once_is_returned_once():
    detector = EchoDetector()
    detector.sent(b"ok", 0)
    assert not any(detector.is_echo(b"ok", 0) for _ in range(10))


@pytest.mark.parametrize(
    "changed", [bytes.upper, bytes.strip, lambda text: text + b"\r\n", lambda text: b" " + text, lambda text: text[:80]]
)
def test_services_that_change_a_little_are_found_too(changed):
    detector, found = EchoDetector(), False
    for number in range(IN_A_ROW):
        text = b"guest1: %d %s\n" % (number, b"words " * 40)
        detector.sent(text, 0)
        found = detector.is_echo(changed(text), 1)
    assert found


def test_blank_lines_say_nothing_and_cost_nothing():
    detector, found = EchoDetector(), False
    for number in range(IN_A_ROW):
        detector.sent(b" \n", 0)
        detector.sent(b"text %d" % number, 0)
        assert not detector.is_echo(b" \n", 0)
        found = detector.is_echo(b"text %d" % number, 0)
    assert found


def test_an_echo_far_away_is_found_while_many_more_lines_are_under_way():
    detector, found = EchoDetector(), False
    lines = [b"line %d" % number for number in range(10_000)]
    for number, line in enumerate(lines):  # all within 80 ms
        detector.sent(line, number * 8e-6)
    for number, line in enumerate(lines[:IN_A_ROW]):
        found = detector.is_echo(line, 0.16 + number * 8e-6)
    assert found


def test_its_memory_is_bounded_and_old_texts_make_room():
    detector, found = EchoDetector(), False
    for number in range(1000):
        detector.sent(b"%d" % number, 0)
    assert len(detector._sent) == REMEMBERED
    for number in range(IN_A_ROW):
        detector.sent(b"new %d" % number, WITHIN + 1)
        found = detector.is_echo(b"new %d" % number, WITHIN + 1)
    assert found

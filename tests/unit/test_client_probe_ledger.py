"""The counts of probes and replies, compared with a model without limits."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.client.probe_ledger import ProbeLedger, ReplyClass

PATIENCE = 5.0


def account_of(sent: int, remembered: int = 100) -> ProbeLedger:
    """Probes of which one a second was sent, the first at 1."""
    account = ProbeLedger(PATIENCE, remembered)
    for number in range(1, sent + 1):
        assert account.send(float(number)) == number
    return account


class Answers(SynchronousTestCase):
    def answer(self, account: ProbeLedger, number: int, now: float) -> tuple[ReplyClass, float | None]:
        finding = account.answer(number, 64, now)
        self.assertEqual((finding.number, finding.size), (number, 64))
        return finding.kind, finding.seconds

    def counts(self, account: ProbeLedger) -> tuple[int, ...]:
        return account.sent, account.received, account.reordered, account.duplicated, account.late, account.wrong

    def test_in_order_are_received(self) -> None:
        account = account_of(2)
        self.assertEqual(self.answer(account, 1, 2.25), (ReplyClass.RECEIVED, 1.25))
        self.assertEqual(self.answer(account, 2, 2.5), (ReplyClass.RECEIVED, 0.5))
        self.assertEqual(self.counts(account), (2, 2, 0, 0, 0, 0))

    def test_after_that_of_a_later_probe_are_reordered_and_received(self) -> None:
        account = account_of(3)
        self.assertEqual(self.answer(account, 3, 3.5)[0], ReplyClass.RECEIVED)
        self.assertEqual(self.answer(account, 1, 3.5), (ReplyClass.REORDERED, 2.5))
        self.assertEqual(self.answer(account, 2, 3.5)[0], ReplyClass.REORDERED)
        self.assertEqual(self.counts(account), (3, 3, 2, 0, 0, 0))

    def test_received_again_are_only_duplicates(self) -> None:
        account = account_of(2)
        for number in (2, 1, 1, 2):
            self.answer(account, number, 3)
        self.assertEqual(self.answer(account, 1, 100), (ReplyClass.DUPLICATED, 99))
        self.assertEqual(self.counts(account), (2, 2, 1, 3, 0, 0))

    def test_after_the_timeout_are_late_once(self) -> None:
        account = account_of(1)
        self.assertEqual(self.answer(account, 1, 6.001)[0], ReplyClass.LATE)
        self.assertEqual(self.answer(account, 1, 6.002)[0], ReplyClass.DUPLICATED)
        self.assertEqual(self.counts(account), (1, 0, 0, 1, 1, 0))

    def test_at_the_end_of_the_timeout_are_in_time(self) -> None:
        self.assertEqual(self.answer(account_of(1), 1, 6.0), (ReplyClass.RECEIVED, 5.0))

    def test_to_forgotten_probes_are_late_without_a_time(self) -> None:
        account = account_of(11, remembered=10)
        self.assertEqual(self.answer(account, 1, 11), (ReplyClass.LATE, None))
        self.assertEqual(self.answer(account, 2, 6.5), (ReplyClass.RECEIVED, 4.5))
        account.mistake(1, 64, "wrong")
        self.assertEqual(self.counts(account), (11, 1, 0, 0, 1, 1))

    def test_may_be_correct_after_a_wrong_one(self) -> None:
        account = account_of(1)
        finding = account.mistake(1, 63, "too short")
        self.assertEqual((finding.kind, finding.number, finding.size), (ReplyClass.WRONG, 1, 63))
        self.assertEqual(self.answer(account, 1, 2)[0], ReplyClass.RECEIVED)
        account.mistake(1, 63, "too short")
        self.assertEqual(self.answer(account, 1, 2)[0], ReplyClass.DUPLICATED)
        self.assertEqual(self.counts(account), (1, 1, 0, 1, 0, 2))


class Waiting(SynchronousTestCase):
    def test_for_probes_that_can_still_get_a_reply(self) -> None:
        account = account_of(8)
        account.answer(7, 64, 8)
        account.mistake(6, 64, "wrong")
        account.mistake(None, 64, "whose?")
        self.assertEqual(account.awaited(8), 4)  # 3, 4, 5 and 8
        self.assertEqual(account.awaited(13), 1)
        self.assertFalse(account.settled(13))
        self.assertEqual(account.awaited(13.001), 0)
        self.assertTrue(account.settled(13.001))

    def test_for_nothing_before_the_first_probe(self) -> None:
        self.assertTrue(account_of(0).settled(0))

    @given(st.data())
    def test_every_count_equals_that_of_a_model_without_limits(self, data: st.DataObject) -> None:
        account = ProbeLedger(PATIENCE, remembered=1000)
        sent: dict[int, float] = {}
        settled: dict[int, str] = {}
        expected = dict.fromkeys(("received", "reordered", "duplicated", "late"), 0)
        now, highest = 0.0, 0
        for step in data.draw(st.lists(st.floats(0, 3), max_size=40)):
            now += step
            if not sent or data.draw(st.booleans()):
                sent[account.send(now)] = now
                continue
            number = data.draw(st.sampled_from(list(sent)))
            account.answer(number, 64, now)
            if number in settled:
                fate = "duplicated"
            else:
                fate = "late" if now - sent[number] > PATIENCE else "received"
                expected["reordered"] += fate == "received" and number < highest
                settled[number] = fate
                highest = max(highest, number)
            expected[fate] += 1
        self.assertEqual({name: getattr(account, name) for name in expected}, expected)
        waiting = [number for number, begun in sent.items() if number not in settled and now - begun <= PATIENCE]
        self.assertEqual(account.awaited(now), len(waiting))
        self.assertEqual(account.settled(now), not waiting)


def test_outcomes_are_reported_in_the_order_of_the_probes():
    ledger, outcomes = ProbeLedger(1.0), []
    ledger.settled_in_order = lambda number, received, sent_at: outcomes.append((number, received, sent_at))
    for number in range(5):
        ledger.send(float(number))
    ledger.answer(2, 64, 2.5)
    assert outcomes == []
    assert [ledger.is_awaited(number) for number in (0, 1, 2, 5, 6)] == [False, True, False, True, False]
    assert list(ledger.overdue(1.0)) == []
    assert list(ledger.overdue(3.5)) == [1, 3]
    ledger.answer(5, 64, 4.1)
    assert outcomes == [(1, False, 0.0), (2, True, 1.0), (3, False, 2.0)]
    ledger.answer(4, 64, 4.0)
    assert outcomes[3:] == [(4, True, 3.0), (5, True, 4.0)]

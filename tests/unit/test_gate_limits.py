"""Limits: their defaults, and the meaning of `auto`."""

from twisted.trial.unittest import SynchronousTestCase

from echod.gate.limits import AUTO_NEW_PER_CLIENT, AUTO_RATE, UNLIMITED, Limits, Rate


class Rates(SynchronousTestCase):
    def test_a_rate_of_0_is_unlimited(self) -> None:
        self.assertTrue(UNLIMITED.unlimited)
        self.assertFalse(Rate(0.1, 1).unlimited)
        self.assertFalse(AUTO_RATE.unlimited)

    def test_auto_is_unlimited_on_loopback(self) -> None:
        limits = Limits()
        self.assertIs(limits.new_connections(loopback=True), UNLIMITED)
        self.assertIs(limits.datagrams(loopback=True), UNLIMITED)

    def test_auto_is_the_documented_rate_for_all_other_clients(self) -> None:
        limits = Limits()
        self.assertEqual(limits.new_connections(loopback=False), (200, 500))
        self.assertEqual(limits.datagrams(loopback=False), (200, 400))
        self.assertEqual((AUTO_NEW_PER_CLIENT, AUTO_RATE), ((200, 500), (200, 400)))

    def test_a_configured_rate_is_valid_on_every_listener(self) -> None:
        for rate in (Rate(1, 2), UNLIMITED):
            limits = Limits(new_per_client=rate, rate=rate)
            for loopback in (False, True):
                self.assertIs(limits.new_connections(loopback), rate)
                self.assertIs(limits.datagrams(loopback), rate)


class Defaults(SynchronousTestCase):
    def test_the_defaults_are_the_documented_ones(self) -> None:
        self.assertEqual(
            Limits(),
            Limits(
                connections=10_000,
                per_client=1_000,
                new_per_client="auto",
                rate="auto",
                idle=300,
                stall=60,
                handshake=10,
                buffer=64 * 1024,
                total_buffer=256 * 1024 * 1024,
                message=16 * 1024 * 1024,
            ),
        )

"""The model of `python -m bench.capacity`."""

from __future__ import annotations

import unittest

from bench.capacity import TLS, Costs, Load, Machine, needed, shares, simulate


class Shares(unittest.TestCase):
    def test_each_limit_is_reached_by_the_load_that_uses_all_of_it(self) -> None:
        machine = Machine(
            processors=1, memory=2_525 * 1000.0, descriptors=1000, link=1e9, conntrack=13_000, ports=7_000
        )
        found = shares(Load(100, messages=1, seconds=10), Costs(connect=10_000.0), machine)
        self.assertEqual(found["processors"], 1.0)
        self.assertEqual(found["memory"], 1.0)
        self.assertEqual(found["descriptors"], 1.0)
        self.assertEqual(found["conntrack"], 1.0)
        self.assertEqual(found["ports"], 1.0)

    def test_more_of_everything_needs_more_of_every_limit(self) -> None:
        few, many = (shares(Load(clients), Costs(), Machine()) for clients in (1e3, 1e6))
        for name in few:
            self.assertAlmostEqual(many[name], 1000 * few[name])

    def test_the_ports_of_a_balancer_are_the_first_limit_and_then_the_processors(self) -> None:
        self.assertEqual(needed(Load(1e5), Costs(), Machine())[1], "ports")
        self.assertEqual(needed(Load(1e5), Costs(), Machine(ports=0))[1], "conntrack")
        self.assertEqual(needed(Load(1e5), Costs(), Machine(ports=0, conntrack=0))[1], "processors")
        self.assertEqual(needed(Load(1e5, size=65_536), Costs(), Machine(ports=0, conntrack=0))[1], "link")
        self.assertEqual(needed(Load(1e3, seconds=3600), TLS, Machine(ports=0, conntrack=0))[1], "memory")


class Simulation(unittest.TestCase):
    def test_no_client_waits_if_it_comes_alone(self) -> None:
        found = simulate(1.0, 1, 0.000_001, count=1000)
        self.assertLess(found["busy"], 0.001)
        self.assertEqual(found["p50"], 0.0)

    def test_the_share_is_that_of_arithmetic(self) -> None:
        self.assertAlmostEqual(simulate(600.0, 2, 0.002)["busy"], 0.6, delta=0.01)

    def test_the_median_wait_of_one_processor_is_that_of_queueing_theory(self) -> None:
        # M/D/1 at a load of 0.5: P(no wait) is 0.5, and the mean wait is 0.5 service times (Pollaczek and Khinchine).
        found = simulate(500.0, 1, 0.001)
        self.assertLess(found["p50"], 0.000_05)
        self.assertGreater(found["p99"], 0.001)
        self.assertLess(found["p99"], found["p99.9"])

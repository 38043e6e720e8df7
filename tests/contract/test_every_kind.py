"""Every kind has a contract over every transport that suits it, and every scheme is a transport of the contracts."""

from importlib import import_module
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from echod.services.registry import kinds
from echod.transports.registry import SCHEMES
from tests.contract.matrix import COVERED, SERVICES, TRANSPORTS, kind_of

HERE = Path(__file__).parent


class EveryKind(SynchronousTestCase):
    """A new file in echod/services, or a new scheme, fails here until it has a contract."""

    def test_every_kind_has_a_contract_over_every_transport(self) -> None:
        for path in HERE.glob("test_*.py"):
            import_module(f"tests.contract.{path.stem}")
        covered = {(kind_of(SERVICES[service]).kind, name) for service, name in COVERED}
        wanted = {
            (name, transport)
            for name, kind in kinds(plugins=()).items()
            for transport, known in TRANSPORTS.items()
            if kind.is_served_over(known.carries)
        }
        self.assertEqual(wanted - covered, set())

    def test_every_scheme_is_a_transport_of_the_contracts(self) -> None:
        known = {transport.listen.partition("://")[0] for transport in TRANSPORTS.values()}
        self.assertEqual({name for name, scheme in SCHEMES.items() if scheme.available} - known, set())

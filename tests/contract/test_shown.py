"""Every kind replies the same when it prints what its clients send: the other contracts, with a daemon that prints."""

import contextlib
import re
from importlib import import_module
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.contract.matrix import SERVICES, SHOWN, Contract, exactly
from tests.daemon import eventually

TRANSPORTS = ("tcp", "unix", "udp", "unix-seqpacket")
ALREADY = {name for name, options in SERVICES.items() if "show = " in options}
"""Services whose own `show` is in force in every daemon."""


def shown(module: str) -> dict[str, type]:
    """The contracts of a module as test cases of the daemon that prints."""
    found = {}
    for title, case in vars(import_module(f"tests.contract.{module}")).items():
        if getattr(case, "plane", None) == "auto" and case.name in TRANSPORTS and case.service not in ALREADY:
            title = f"{title.removesuffix('auto')}{SHOWN}"
            found[title] = type(title, (case,), {"__module__": __name__, "plane": SHOWN})
    return found


for _path in Path(__file__).parent.glob("test_*.py"):
    if _path != Path(__file__):
        globals().update(shown(_path.stem))


class Printing(Contract):
    """The text that a client sends is one line that is safe to print."""

    plane = SHOWN

    def test_hostile_bytes_are_printed_in_hex(self) -> None:
        client = self.connect()
        sent = b"\x1b[2J" + self.service.encode() + self.name.encode() + b"\n"
        scheme = re.escape(self.transport.listen.partition("://")[0])

        def shows() -> bool:
            """Whether it is printed: other tests may have used up the lines of the current second."""
            client.send(sent)
            assert exactly(client, len(sent)) == (sent.upper() if self.service == "upper" else sent)
            with contextlib.suppress(AssertionError):
                return bool(self.daemon.stdout.wait_for(f"^{scheme} [^ ]+: {sent.hex(' ')}$", 1.0))
            return False

        assert eventually(shows)


for _service in ("echo", "upper"):
    for _name in TRANSPORTS:
        _title = f"Printing_{_service}_{_name}".replace("-", "_")
        _known = {"__module__": __name__, "service": _service, "name": _name}
        globals()[_title] = type(_title, (Printing, SynchronousTestCase), _known)

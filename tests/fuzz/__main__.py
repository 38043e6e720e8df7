"""`python -m tests.fuzz`."""

from __future__ import annotations

from echod.stdio import readers_may_leave
from tests.fuzz.run import main

if __name__ == "__main__":
    with readers_may_leave():
        raise SystemExit(main())

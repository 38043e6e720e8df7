"""`python -m bench`."""

from __future__ import annotations

from bench.run import main
from echod.stdio import readers_may_leave

if __name__ == "__main__":
    with readers_may_leave():
        raise SystemExit(main())

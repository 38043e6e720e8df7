"""`python -m bench`."""

from __future__ import annotations

from bench.run import main
from bench.signals import terminated_with_children
from echod.stdio import readers_may_leave

if __name__ == "__main__":
    with terminated_with_children(), readers_may_leave():
        raise SystemExit(main())

"""The same targets, guided by coverage: atheris sees which branches an input reaches, and varies it from there.

`python -m tests.fuzz.guided TARGET FOLDER SECONDS SEED` is the process that tries inputs; `hammer` starts it and reads
its output. It must not import code of this project before atheris has instrumented it.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.fuzz.engine import Tried
    from tests.fuzz.target import Target

LACKING: Final = "atheris is not installed: pip install atheris"
A_CRASH: Final = "crash-"


def available() -> bool:
    """Whether atheris is installed."""
    return importlib.util.find_spec("atheris") is not None


def hammer(target: Target, seed: int, seconds: float) -> Tried:
    """Try inputs on a target for so many seconds, in a separate process."""
    from tests.daemon import TOP, run
    from tests.fuzz.engine import Tried, corpus

    tried, began = Tried(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="guided-") as name:
        folder = Path(name)
        for number, data in enumerate(corpus(target)):
            (folder / f"known-{number}").write_bytes(data)
        words = [sys.executable, "-m", __name__, target.name, name, str(max(1, round(seconds))), str(seed)]
        ended = run(*words, seconds=seconds + 120, cwd=TOP)
        said = (ended.stdout + ended.stderr).decode(errors="replace")
        if units := re.search(r"stat::number_of_executed_units:\s*(\d+)", said):
            tried.inputs = int(units[1])
        for crash in sorted(folder.glob(f"{A_CRASH}*")):
            tried.crashes.append((crash.read_bytes(), RuntimeError(said[-4000:])))
        if not tried.crashes and (ended.returncode or not tried.inputs):
            tried.crashes.append((b"", RuntimeError(f"code {ended.returncode}: {said[-2000:]}")))
    tried.seconds = time.monotonic() - began
    return tried


def main(name: str, folder: str, seconds: str, seed: str) -> None:
    """Try inputs until the time is over or one fails."""
    looked: Any = importlib.import_module("atheris")
    with looked.instrument_imports(include=["echod"]):
        from tests.fuzz import targets
    (target,) = (target for target in targets.TARGETS if target.name == name)
    attempt = target.ready()

    def one(data: bytes) -> None:
        attempt(data)

    options = [f"-max_total_time={seconds}", f"-seed={seed}", "-max_len=4096", "-timeout=20", "-print_final_stats=1"]
    options += [f"-artifact_prefix={folder}/", "-rss_limit_mb=2048"]
    if target.tokens:
        tokens, written = Path(folder, "tokens.dict"), ("".join(map("\\x{:02x}".format, one)) for one in target.tokens)
        tokens.write_text("".join(f'"{one}"\n' for one in written))
        options.append(f"-dict={tokens}")
    looked.Setup([sys.argv[0], *options, folder], one)
    looked.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])

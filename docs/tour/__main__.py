"""`make recording` records the tour: docs/_static/tour.cast, and docs/_static/tour.svg, which plays it.

`python -m docs.tour FOLDER` writes the two files into another folder.

It runs in a network namespace of its own, so that the ports of the script are free, and as an ordinary user.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from docs.tour.animation import drawn, screens
from docs.tour.recorder import Cast, recorded

FOLDER: Final = Path(__file__).parents[1] / "_static"
CAST: Final = "tour.cast"
PICTURE: Final = "tour.svg"
TITLE: Final = "A tour of echod in two minutes"
DESCRIPTION: Final = (
    "A terminal: echod is started, and echoctl sends over TCP, TLS and UDP, measures, injects faults, makes a load,"
    " chats, prints the events of the daemon, and lists the lessons."
)


def picture(cast: Cast) -> str:
    """The animated SVG of a recording. Without motion, it shows the end of the measurement."""
    shown = screens(cast)
    still = max(
        number for number, screen in enumerate(shown) if "5 sent, 5 received" in str(screen.rows) and screen.cursor
    )
    return drawn(cast, still, TITLE, DESCRIPTION)


def main() -> None:
    """Record in namespaces: first as their administrator, for the loopback interface, then as a user."""
    *stages, folder = sys.argv[1:] or [str(FOLDER)]
    stage = "".join(stages)
    module = [sys.executable, "-m", "docs.tour"]
    if not stage:
        os.execvp("unshare", ["unshare", "--user", "--map-root-user", "--net", *module, "--network", folder])
    if stage == "--network":
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        user = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
        os.execvp("unshare", [*user, *module, "--record", folder])
    cast = recorded()
    drawing = picture(cast)
    (Path(folder) / CAST).write_text(cast.text(), "utf-8")
    (Path(folder) / PICTURE).write_text(drawing, "utf-8")
    print(f"{CAST}: {cast.events[-1][0]:.0f} s; {PICTURE}: {len(drawing.encode())} bytes")


if __name__ == "__main__":
    main()

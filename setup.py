"""The part of the metadata that setup.cfg cannot express: README.md with links that work on the package index."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

TOP = Path(__file__).parent


def with_absolute_links(markdown: str, url: str) -> str:
    """Return the page with each relative link and picture replaced by its address under the project's URL."""
    relative = r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)\s]+)\)"
    return re.sub(
        relative,
        lambda found: f"{found[1]}[{found[2]}]({url}/{'raw' if found[1] else 'blob'}/main/{found[3]})",
        markdown,
    )


if __name__ == "__main__":
    settings = ConfigParser()
    settings.read(TOP / "setup.cfg", encoding="utf-8")
    readme = (TOP / "README.md").read_text("utf-8")
    setup(long_description=with_absolute_links(readme, settings["metadata"]["url"]))

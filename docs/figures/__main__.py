"""`make figures` draws every figure of the course, in each language, beside the pages of the course."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from docs.figures.drawing import LANGUAGES

DOCS: Final = Path(__file__).parents[1]
FOLDERS: Final = {"en": DOCS / "course", "zh": DOCS / "zh" / "course"}


def drawn() -> Iterator[tuple[Path, str]]:
    """Each file, and what belongs in it. A module in docs/figures/pictures/ has the function `draw(language)`."""
    for module in sorted((DOCS / "figures" / "pictures").glob("*.py")):
        draw = importlib.import_module(f"docs.figures.pictures.{module.stem}").draw
        for language in LANGUAGES:
            yield FOLDERS[language] / f"{module.stem.replace('_', '-')}.svg", draw(language).svg()


def main() -> None:
    """Write the files."""
    for file, picture in drawn():
        file.write_text(picture, "utf-8")
        print(f"{file.relative_to(DOCS.parent)}: {len(picture.encode())} bytes")


if __name__ == "__main__":
    main()

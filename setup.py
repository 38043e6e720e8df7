"""The parts that setup.cfg cannot express: README.md with links that work on the package index, and the native loop.

The native loop (echod/fastpath/native_loop.c) is optional: if it cannot be compiled, the installation continues
without it. It uses nothing of Python, so one wheel serves every version of Python. A wheel without it is for every
platform.
"""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

TOP = Path(__file__).parent
NATIVE = "echod.fastpath.libnative_loop"


class Library(build_ext):
    """Builds a plain shared library instead of an extension module."""

    def get_ext_filename(self, fullname: str) -> str:
        """The library's path, without the version of Python in its name."""
        return fullname.replace(".", "/") + ".so"


class Wheel(bdist_wheel):
    """A wheel for all versions of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """The tag of the wheel: for one platform only if the library was compiled."""
        compiled = any(Path(self.bdist_dir).rglob("libnative_loop.so"))
        return ("py3", "none", super().get_tag()[2] if compiled else "any")


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
    source = NATIVE.rpartition(".")[0].replace(".", "/") + "/native_loop.c"
    # Without debugging information and a build ID, the library does not depend on the folder it is built in.
    compile_args, link_args = ["-O3", "-g0"], ["-Wl,--build-id=none"]
    extension = Extension(NATIVE, [source], extra_compile_args=compile_args, extra_link_args=link_args, optional=True)
    setup(
        long_description=with_absolute_links(readme, settings["metadata"]["url"]),
        ext_modules=[extension],
        cmdclass={"build_ext": Library, "bdist_wheel": Wheel},
    )

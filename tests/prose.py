"""The check of the prose: `python -m tests.prose [FILE…]` prints each phrase that the style page rules out.

It reads Markdown, TOML comments, the comments and strings of Python files, and whole lines of shell scripts. Code,
identifiers and addresses are left out, except names in Python code such as `Somebody`. Exit code 1 when a phrase was
found; `--count` prints the number for each folder instead.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

TOP: Final = Path(__file__).parents[1]
READ: Final = (
    *("*.py", "*.md", "*.toml", "*.cfg", "*.service", "*.socket", "Makefile", "Containerfile"),
    *(".ci/run", "debian/*", "release/*", "vendor/*", "tests/system_wide/prepare"),
)
LEFT_OUT: Final = ("CHANGELOG.md", "tests/prose.py", "tests/unit/test_prose.py", "tests/fuzz/corpus/")


class Rule(NamedTuple):
    """A phrase that is ruled out, and what to write instead."""

    pattern: re.Pattern[str]
    instead: str


def _rule(pattern: str, instead: str) -> Rule:
    return Rule(re.compile(pattern), instead)


RULES: Final = (
    _rule(r"\b(?i:whoever|whomever|nobody|somebody)\b", "name the actor: client, peer, member, operator, kernel"),
    _rule(r"(?:^|(?<=[.;:,(] )|(?<=\band )|(?<=\bof )|(?<=\bfor )|(?<=\bto )|(?<=\bif ))who [a-z]+", "name the actor"),
    _rule(r"(?:^|(?<=[.;:] ))(?:Who|What|Where|Whatever) (?![^.]*\?)[a-z]+", "start with the actor or the condition"),
    _rule(r"\banew\b", "again"),
    _rule(r"\b(?:is|are|was|were) no (?!longer\b|more than\b|less than\b|later than\b|larger than\b)[a-z]", "is not a"),
    _rule(r"\b[Tt]here (?:is|are|was|were) no\b", "does not exist; has no"),
    _rule(r"\b(?:nothing|none|no [a-z]+|all|everything|anything) but\b", "only; except"),
    _rule(r"\bbut for\b", "except for"),
    _rule(r"\bbehind (?:it|that|them|this|its|the last|everything|what|each)\b", "after"),
    _rule(r"\bwhere (?:there|it|that|this|they|nothing|one|none|any)\b", "if; when"),
    _rule(r"\b(?i:octets?)\b", "bytes"),
    _rule(r"(?:^|(?<=[.;:] ))Whose [a-z]+", "start with the noun"),
    _rule(r"\bwhatever\b", "any; regardless of"),
    _rule(r"\bof before\b", "earlier"),
    _rule(r"\b(?:is|are|was|were|be|been|being) told\b", "is notified; gets a message"),
    _rule(r"\b(?:hears|says so|say so|said so)\b", "receives; reports it"),
    _rule(r"\b(?:[Tt]he|[Aa]n) own\b", "its own; of this process; source (address)"),
)


IN_NAMES: Final = re.compile(r"(?i)(?:^|_)(?:somebody|whoever|whomever)(?:_|$)")  #: parts of identifiers of Python


class Found(NamedTuple):
    """A phrase that was found."""

    path: str
    line: int
    text: str
    instead: str


def _without_code(line: str) -> str:
    return re.sub(r"`[^`]*`", "`…`", line)


def prose_of(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file that are prose, with their numbers."""
    text = path.read_text("utf-8")
    if path.suffix == ".py":
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in (tokenize.COMMENT, tokenize.STRING) or tokenize.tok_name[token.type] == "FSTRING_MIDDLE":
                for offset, line in enumerate(token.string.splitlines()):
                    opening = "#: " if token.type == tokenize.COMMENT else '#:"rbf '
                    yield token.start[0] + offset, _without_code(line.strip().lstrip(opening).strip())
    elif text.startswith("#!") and not path.suffix:  # a shell script, whose messages are quoted
        for number, line in enumerate(text.splitlines(), 1):
            yield number, _without_code(line).replace('"', " ").strip("# ")
    else:
        fenced = False
        for number, line in enumerate(text.splitlines(), 1):
            fenced ^= line.lstrip().startswith("```")
            if path.suffix == ".md":
                if not fenced and not line.startswith("    "):
                    yield number, _without_code(line).strip("#*| ")
            elif "#" in line:
                yield number, line.partition("#")[2].strip()


def found_in(path: Path, name: str) -> Iterator[Found]:
    """Every phrase in one file, except quotations, the Unix user `nobody`, and octet in a line that names an RFC."""
    for number, line in prose_of(path):
        for rule in RULES:
            for match in rule.pattern.finditer(line):
                rfc = rule.instead == "bytes" and re.search(r"RFC|OCTET", line)
                user = match[0] == "nobody" and (line.strip("\"'") == "nobody" or re.search(r"uid |user nobody", line))
                quoted = line[: match.start()].count('"') % 2 == 1
                if not (rfc or user or quoted):
                    yield Found(name, number, match[0], rule.instead)


def names_in(path: Path, name: str) -> Iterator[Found]:
    """Every identifier of a Python file that does not name the actor."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline):
        if token.type == tokenize.NAME and IN_NAMES.search(token.string):
            yield Found(name, token.start[0], token.string, RULES[0].instead)


def tracked() -> list[str]:
    """The files of the tree that are read, relative to its top."""
    listed = subprocess.run(["git", "ls-files", *READ], cwd=TOP, check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.splitlines() if not name.startswith(LEFT_OUT)]


def main(words: list[str] | None = None) -> int:
    """Print what was found; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.prose", description=__doc__)
    parser.add_argument("files", nargs="*", help="files, relative to the top of the tree (default: every tracked file)")
    parser.add_argument("--count", action="store_true", help="print how many phrases each folder has")
    arguments = parser.parse_args(words)
    files = arguments.files or tracked()
    found = [each for name in files for each in found_in(TOP / name, name)]
    found += [each for name in files if name.endswith(".py") for each in names_in(TOP / name, name)]
    if arguments.count:
        folders = Counter("/".join(Path(each.path).parts[:2]) for each in found)
        for folder, count in sorted(folders.items(), key=lambda pair: -pair[1]):
            print(f"{count:5} {folder}")
        print(f"{len(found):5} in all")
    else:
        for each in found:
            print(f"{each.path}:{each.line}: {each.text!r}: write {each.instead}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

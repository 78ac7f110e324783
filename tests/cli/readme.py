"""Code in the pages of the documentation: fenced blocks of YAML and of commands, and commands within a line."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return [body for page in PAGES for found, body in _FENCE.findall(page.read_text()) if found == language]


def commands() -> list[str]:
    """Every command of the bash blocks once, the README's first: continued lines are joined, comments removed, and
    commands joined by `&&` split."""
    found = [part for block in blocks("bash") for line in _lines(block) for part in line.split(" && ")]
    return [*dict.fromkeys(found)]


def _lines(block: str) -> Iterator[str]:
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True, posix=False)
        if words:
            yield " ".join(words)


def inline(containing: str) -> list[str]:
    """Every piece of inline code, in text or tables, that contains `containing`."""
    texts = [" ".join(_FENCE.sub("", page.read_text()).split()) for page in PAGES]
    pieces = [piece.replace("\\|", "|") for text in texts for piece in _INLINE.findall(text)]
    return [piece for piece in pieces if containing in piece]

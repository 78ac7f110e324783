"""Pieces of GitHub's Markdown that show any text literally: no link, no markup, no HTML, one line."""

import html
import re
from collections.abc import Iterable, Sequence

from talkies.config.single_line import flat

_MARKUP = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])|(?<=:)(?=//)|(?<=www)(?=\.)")
_NUMBERED = re.compile(r"\d+(?=[.)])")
_NAME = re.compile(r"[\w.,:/@+=-]+", re.ASCII)


def escaped(text: object) -> str:
    """`text` on one line, so that Markdown shows exactly its characters."""
    line = _MARKUP.sub(r"\\\g<0>", html.escape(flat(text), quote=False))
    if listed := _NUMBERED.match(line):
        return f"{listed[0]}\\{line[listed.end() :]}"
    return f"\\{line}" if line.startswith(("#", "+", "-", "=")) else line


def code(text: object) -> str:
    """A name, a hash or a path as code; any other text is escaped."""
    line = flat(text)
    return f"`{line}`" if _NAME.fullmatch(line) else escaped(line)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def folded(title: str, content: str) -> str:
    """`content` that is shown after a click on `title`."""
    return f"<details>\n<summary>{html.escape(flat(title))}</summary>\n\n{content}\n\n</details>"


def picture(path: str, text: object) -> str:
    """The picture at a relative `path`, with `text` in its place if it cannot be shown."""
    return f"![{escaped(text)}]({path})"


def number(value: float) -> str:
    """A value in three significant digits, or as an integer from 1,000 to 10 million."""
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e7 else f"{value:.3g}"
    return f"{value:.3g}"

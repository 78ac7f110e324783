"""The pages of the documentation as Markdown: their headings, links and prose."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FAULTS = re.compile(r"<!-- faults: begin -->\n(.*?)<!-- faults: end -->", re.DOTALL)


def text_of(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())


def prose_of(page: Path) -> str:
    """What people read of a page: neither code, nor addresses, nor the generated table."""
    return _LINK.sub("]", _CODE.sub("", FAULTS.sub("", text_of(page))))


def code_of(page: Path) -> list[str]:
    """Every piece of code within a line."""
    return _CODE.findall(text_of(page))


def links_of(page: Path) -> list[str]:
    """Every address that a page links to, or shows a picture of."""
    return _LINK.findall(_CODE.sub("", text_of(page)))


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and Zensical make them."""
    plain = [heading.replace("`", "").lower() for heading in _HEADING.findall(text_of(page))]
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading).strip()) for heading in plain}

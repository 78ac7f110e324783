"""The pages are whole: linked, found in the navigation, of a size to be read, and each figure stands in one place."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import PAGES, README, ROOT, anchors_of, code_of, links_of, prose_of

EVERY = [README, *PAGES]
FIGURE = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)*(?:e-?\d+)?(?: ?%| (?:GiB|MB|ms|s|min)\b)?")
CONSTANTS = {"80 ms": "a frame, and a step of the toy's audio codec", "2.6.6": "a version"}
"""What is no measured figure, though performance.md and another page have it."""
PLACES = ("src/", "tests/", "recipes/", "benchmarks/", "slurm/", "docs/", "cards/", ".ci/")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def measured(page: Path) -> set[str]:
    """Numbers with a fraction or a unit."""
    found = {text.strip() for text in FIGURE.findall(prose_of(page))}
    return {text for text in found if "." in text or not text[-1].isdigit()}


def entries(nav: Any) -> Iterator[str]:
    """The pages that a navigation names."""
    if isinstance(nav, str):
        yield nav
    for part in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from entries(part)


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 150


def test_every_page_is_in_the_navigation_once() -> None:
    project = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]
    assert sorted(entries(project["nav"])) == [str(page.relative_to(ROOT / "docs")) for page in PAGES]
    assert project["theme"]["font"] is False


@pytest.mark.parametrize("page", EVERY, ids=named)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in links_of(page):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors_of(target), link
        assert page == README or target.is_relative_to(ROOT / "docs"), f"{link} is not a part of the built pages"


@pytest.mark.parametrize("page", EVERY, ids=named)
def test_files_that_a_page_names_exist(page: Path) -> None:
    for piece in code_of(page):
        for word in piece.split():
            if word.startswith(PLACES):
                assert [*ROOT.glob(word.rstrip("/"))], word


@pytest.mark.parametrize("page", EVERY, ids=named)
def test_a_page_is_plain_text_in_lines_that_are_read(page: Path) -> None:
    text = page.read_text()
    assert text.isascii()
    title, *others = re.findall(r"^# (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.MULTILINE)
    assert title
    assert not others


def test_a_figure_stands_in_one_place() -> None:
    figures = measured(ROOT / "docs" / "performance.md") - {*CONSTANTS}
    assert len(figures) > 50
    for page in EVERY:
        if page.name != "performance.md":
            assert not measured(page) & figures, f"{page.name}: link to performance.md instead"


def test_the_glossary_is_short_and_sorted() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    terms = [term.lower() for term, _ in rows if term not in ("term", "---")]
    assert 20 <= len(terms) <= 40
    assert terms == sorted({*terms})


def test_every_exit_code_is_explained() -> None:
    page = (ROOT / "docs" / "resilience.md").read_text()
    table = page.partition("## Exit codes")[2]
    explained = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    source = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    used = {int(code) for code in re.findall(r"^    exit_code = (\d+)$", source, re.MULTILINE)}
    assert {2, 65, 70, 130} <= used <= explained

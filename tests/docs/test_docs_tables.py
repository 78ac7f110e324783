"""Tables that the code decides: the faults of resilience.md, the layers of architecture.md and of its picture."""

import ast
import re
import sys
from collections import defaultdict
from xml.etree import ElementTree

from pages import FAULTS, ROOT

sys.path.append(str(ROOT / "tests" / "faults"))

from rows import ROWS
from test_rows import TESTS

SVG = "{http://www.w3.org/2000/svg}"


def cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def injected() -> dict[str, set[str]]:
    """Row -> how the tests that are labelled with it break a run."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
                found[ast.literal_eval(node.args[0])].add(ast.literal_eval(node.keywords[0].value))
    return found


def test_the_table_of_faults_has_every_row_as_its_tests_are_labelled() -> None:
    (text,) = FAULTS.findall((ROOT / "docs" / "resilience.md").read_text())
    head, _, *lines = text.strip().splitlines()
    assert cells(head) == ["#", "fault", "how injected", "outcome", "steps lost", "back, s"]
    rows = [cells(line) for line in lines]
    assert [(number, name) for number, name, *_ in rows] == [*ROWS.items()]
    labels = injected()
    for number, _, how, outcome, *_ in rows:
        known, rest = {label for label in labels[number] if label in how}, how
        for label in sorted(known, key=len, reverse=True):
            rest = rest.replace(label, "")
        more = re.fullmatch(r"[; ]*(?:(\d+) more)?", rest)
        assert known, number
        assert more is not None, f"row {number} shows {rest!r}, which no test is labelled with"
        assert len(labels[number]) == len(known) + int(more[1] or 0), number
        assert not re.match(r"FAILED|NOT TESTED|skipped", outcome), number


def layers() -> list[list[str]]:
    """Rows of tests/test_layers.py."""
    tree = ast.parse((ROOT / "tests" / "test_layers.py").read_text())
    values = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
    rows: list[list[str]] = ast.literal_eval(values["ROWS"])
    return rows


def test_the_layers_are_those_that_the_tests_know() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = re.findall(r"^\| (\d+) \| (.+) \|$", page, re.MULTILINE)
    assert [int(number) for number, _ in table] == [*range(len(layers()))]
    for (_, row), packages in zip(table, layers(), strict=True):
        outside = re.sub(r"\([^)]*\)", "", row)
        assert set(re.findall(r"`(\w+)`", outside)) == {*packages}


def test_the_picture_has_the_same_layers() -> None:
    root = ElementTree.parse(ROOT / "docs" / "images" / "architecture.svg").getroot()
    texts = [node.text or "" for node in root.iter(f"{SVG}text") if node.get("class") == "layer"]
    assert [{*text.split(", ")} for text in texts] == [{*row} for row in reversed(layers())]

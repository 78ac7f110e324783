"""Tables that the code decides: the faults of resilience.md."""

import ast
import re
import sys
from collections import defaultdict

from pages import FAULTS, ROOT

sys.path.append(str(ROOT / "tests" / "faults"))

from rows import ROWS
from test_rows import TESTS


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

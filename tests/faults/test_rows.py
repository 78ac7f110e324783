"""Every row of the table of faults has a test, and every label names a row."""

import ast
from collections.abc import Iterator
from pathlib import Path

from rows import REMARKS, ROWS

TESTS = Path(__file__).parents[1]


def labels() -> Iterator[tuple[str, str]]:
    """(number, file) of every `pytest.mark.fault(number, name, injected=...)` in the tests."""
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
                number, name = (ast.literal_eval(argument) for argument in node.args)
                assert isinstance(name, str)
                assert [keyword.arg for keyword in node.keywords] == ["injected"], path
                yield number, path.name


def test_every_row_is_tested_and_every_label_names_a_row() -> None:
    found = {number for number, _ in labels()}
    assert sorted(found - {*ROWS}) == []
    assert sorted({*ROWS} - found) == []
    assert {*REMARKS} <= {*ROWS}

"""The table of faults: one row per number with the worst result of its tests; rows without a test are marked."""

from typing import Any, Literal

import pytest

from faults import Collector, table, with_table

SEEN: dict[str, Any] = {"outcome": "continues", "steps_lost": 2, "back_s": 5.0}


def report(
    node: str,
    when: Literal["setup", "call", "teardown"],
    outcome: Literal["passed", "failed", "skipped"],
    row: str,
    reported: dict[str, Any] | None = None,
) -> pytest.TestReport:
    label = {"number": row, "name": "a fault", "injected": f"by {node}", "stage": "faults"}
    properties: list[tuple[str, object]] = [("row", label), *([("fault", reported)] if reported else [])]
    reason: Any = {"passed": None, "failed": "E  it | broke", "skipped": ("f.py", 1, "Skipped: no Slurm here")}[outcome]
    return pytest.TestReport(node, ("f.py", 1, node), {}, outcome, reason, when, user_properties=properties)


def run(
    collector: Collector, node: str, outcome: Literal["passed", "failed"], row: str, reported: dict[str, Any]
) -> None:
    collector.pytest_runtest_logreport(report(node, "setup", "passed", row))
    collector.pytest_runtest_logreport(report(node, "call", outcome, row, reported))
    collector.pytest_runtest_logreport(report(node, "teardown", "passed", row, reported))


def test_the_tests_of_a_row_are_one_line() -> None:
    collector = Collector()
    run(collector, "one", "passed", "1", SEEN)
    run(collector, "two", "passed", "1", {**SEEN, "steps_lost": 4, "back_s": None})
    lines = table([collector.rows["1"]]).splitlines()
    assert lines[2] == "| 1 | kill -9 between steps | by one; by two | continues | 4 | 5.0 | faults |"


def test_a_row_is_as_bad_as_its_worst_test() -> None:
    collector = Collector()
    run(collector, "one", "passed", "2", SEEN)
    run(collector, "two", "failed", "2", SEEN)
    row = collector.rows["2"]
    assert row.result == "failed"
    assert row.cells()[3] == r"FAILED: continues; E it | broke"
    assert table([row]).splitlines()[2].count(r"it \| broke") == 1


def test_skipped_rows_name_the_reason_and_untested_rows_are_marked() -> None:
    collector = Collector()
    collector.pytest_runtest_logreport(report("one", "setup", "skipped", "4"))
    collector.pytest_runtest_logreport(report("one", "teardown", "passed", "4"))
    run(collector, "two", "passed", "99", SEEN)
    assert collector.rows["4"].cells()[3] == "skipped: no Slurm here"
    assert collector.rows["5"].cells()[3] == "NOT TESTED"
    assert collector.unknown == {"99"}


def test_a_page_gets_the_first_outcomes_and_keeps_the_rest_of_its_text() -> None:
    collector = Collector()
    for number in range(5):
        run(collector, f"test {number}", "passed", "1", {**SEEN, "outcome": f"seen {number}"})
    page = with_table("before\n<!-- faults: begin -->\nold\n<!-- faults: end -->\nafter\n", [collector.rows["1"]])
    before, _, rest = page.partition("<!-- faults: begin -->\n")
    lines, _, after = rest.partition("<!-- faults: end -->")
    assert (before, after) == ("before\n", "\nafter\n")
    assert lines.strip().splitlines()[-1] == (
        "| 1 | kill -9 between steps | by test 0; by test 1; 3 more | seen 0; seen 1; seen 2; 2 more | 2 | 5 |"
    )
    with pytest.raises(ValueError, match="faults: begin"):
        with_table("a page without markers", [])

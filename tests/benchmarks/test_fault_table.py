"""The table of faults: one row per number, the worst of its tests, and what has no test is said to have none."""

from typing import Any, Literal

import pytest

from faults import Collector, table

SEEN: dict[str, Any] = {"outcome": "goes on", "steps_lost": 2, "back_s": 5.0}


def report(
    node: str,
    when: Literal["setup", "call", "teardown"],
    outcome: Literal["passed", "failed", "skipped"],
    row: str,
    told: dict[str, Any] | None = None,
) -> pytest.TestReport:
    label = {"number": row, "name": "a fault", "injected": f"by {node}", "stage": "faults"}
    properties: list[tuple[str, object]] = [("row", label), *([("fault", told)] if told else [])]
    reason: Any = {"passed": None, "failed": "E  it | broke", "skipped": ("f.py", 1, "Skipped: no Slurm here")}[outcome]
    return pytest.TestReport(node, ("f.py", 1, node), {}, outcome, reason, when, user_properties=properties)


def run(collector: Collector, node: str, outcome: Literal["passed", "failed"], row: str, told: dict[str, Any]) -> None:
    collector.pytest_runtest_logreport(report(node, "setup", "passed", row))
    collector.pytest_runtest_logreport(report(node, "call", outcome, row, told))
    collector.pytest_runtest_logreport(report(node, "teardown", "passed", row, told))


def test_the_tests_of_a_row_are_one_line() -> None:
    collector = Collector()
    run(collector, "one", "passed", "1", SEEN)
    run(collector, "two", "passed", "1", {**SEEN, "steps_lost": 4, "back_s": None})
    lines = table([collector.rows["1"]]).splitlines()
    assert lines[2] == "| 1 | kill -9 between steps | by one; by two | goes on | 4 | 5.0 | faults |"


def test_a_row_is_as_bad_as_its_worst_test() -> None:
    collector = Collector()
    run(collector, "one", "passed", "2", SEEN)
    run(collector, "two", "failed", "2", SEEN)
    row = collector.rows["2"]
    assert row.result == "failed"
    assert row.cells()[3] == r"FAILED: goes on; E it | broke"
    assert table([row]).splitlines()[2].count(r"it \| broke") == 1


def test_what_was_skipped_says_why_and_what_has_no_test_that_it_has_none() -> None:
    collector = Collector()
    collector.pytest_runtest_logreport(report("one", "setup", "skipped", "4"))
    collector.pytest_runtest_logreport(report("one", "teardown", "passed", "4"))
    run(collector, "two", "passed", "99", SEEN)
    assert collector.rows["4"].cells()[3] == "skipped: no Slurm here"
    assert collector.rows["5"].cells()[3] == "NOT TESTED"
    assert collector.unknown == {"99"}

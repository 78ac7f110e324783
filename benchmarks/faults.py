"""The table of faults: runs the tests that are labelled with its rows, in every stage, and prints their outcomes.

python benchmarks/faults.py [--only 1,4,s3] [--json FILE] [-n WORKERS]
python benchmarks/faults.py --page docs/resilience.md  # also write the condensed table between that page's markers
python benchmarks/faults.py --kills 20 [--seed 4]      # only random kills in one run of 200 steps

Steps lost: steps that the broken process made after its last complete checkpoint and that must be repeated. Seconds to
be back: from the start of the next process, imports included, to the end of its first optimizer step. Exit code 1 if a
row failed.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
for folder in ("faults", "cli"):
    sys.path.append(str(ROOT / "tests" / folder))

from rows import REMARKS, ROWS  # noqa: E402

EVERY_STAGE = "fault and (slow or ranks or slurm or faults or not faults)"
"""All labelled tests: naming a stage in the expression selects that stage."""
HEAD = ("#", "fault", "how injected", "outcome", "steps lost", "back, s", "stage")
WORST = ("failed", "NOT TESTED", "skipped", "passed")
BEGIN, END = "<!-- faults: begin -->\n", "<!-- faults: end -->"
INJECTED, OUTCOMES = 2, 3
"""How many of each a page shows per row."""


@dataclass(kw_only=True)
class Row:
    """A row of the table, with the results of all its tests."""

    number: str
    name: str
    result: str = "NOT TESTED"
    injected: list[str] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    steps_lost: int | None = None
    back_s: float | None = None
    stages: list[str] = field(default_factory=list)

    def add(self, result: str, label: dict[str, str], reported: list[dict[str, Any]], reason: str) -> None:
        """Add the result of one test and the outcomes that it `reported`."""
        self.result = result if self.result == "NOT TESTED" else min(self.result, result, key=WORST.index)
        for kept, new in ((self.injected, label["injected"]), (self.stages, label["stage"])):
            if new not in kept:
                kept.append(new)
        if result != "passed" and reason not in self.outcomes:
            self.outcomes.append(reason)
        for outcome in reported if result == "passed" else []:
            if outcome["outcome"] not in self.outcomes:
                self.outcomes.append(outcome["outcome"])
            for key in ("steps_lost", "back_s"):
                values = [value for value in (getattr(self, key), outcome[key]) if value is not None]
                setattr(self, key, max(values, default=None))

    @property
    def _sign(self) -> str:
        return {"passed": "", "failed": "FAILED: ", "skipped": "", "NOT TESTED": "NOT TESTED"}[self.result]

    def cells(self) -> list[str]:
        """The cells of the Markdown table."""
        remark = [REMARKS[self.number]] if self.number in REMARKS else []
        lost = "-" if self.steps_lost is None else str(self.steps_lost)
        back = "-" if self.back_s is None else f"{self.back_s:.1f}"
        outcome = self._sign + "; ".join([*self.outcomes, *remark])
        return [self.number, self.name, "; ".join(self.injected) or "-", outcome, lost, back, ", ".join(self.stages)]

    def condensed(self) -> list[str]:
        """The cells for a page: only the first injections and outcomes, whole seconds, no stages, no remarks."""
        number, name, _, _, lost, _, _ = self.cells()
        back = "-" if self.back_s is None else f"{self.back_s:.0f}"
        outcome = self._sign + first(self.outcomes, OUTCOMES)
        return [number, name, first(self.injected, INJECTED) or "-", outcome or "-", lost, back]


class Collector:
    """A pytest plugin that collects the reports of the labelled tests."""

    def __init__(self) -> None:
        self.rows = {number: Row(number=number, name=name) for number, name in ROWS.items()}
        self.unknown: set[str] = set()
        self._seen: dict[str, tuple[str, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called after a test's setup, call and teardown."""
        if report.failed:
            self._seen[report.nodeid] = ("failed", _first_line(report))
        elif report.skipped:
            reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
            self._seen[report.nodeid] = ("skipped", reason.replace("Skipped: ", "skipped: ", 1))
        if report.when == "teardown":
            self._add(report, *self._seen.pop(report.nodeid, ("passed", "")))

    def _add(self, report: pytest.TestReport, result: str, reason: str) -> None:
        reported: list[Any] = [value for key, value in report.user_properties if key == "fault"]
        for label in [value for key, value in report.user_properties if key == "row"]:
            assert isinstance(label, dict)
            if label["number"] in self.rows:
                self.rows[label["number"]].add(result, label, reported, reason)
            else:
                self.unknown.add(label["number"])


def _first_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return " ".join(str(crash.message if crash else report.longrepr).split())[:160]


def first(parts: Sequence[str], count: int) -> str:
    """The first `count` parts, and the number of the others."""
    more = len(parts) - count
    return "; ".join([*parts[:count], *([f"{more} more"] if more > 0 else [])])


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def table(rows: list[Row]) -> str:
    """The whole table, in Markdown."""
    return markdown(HEAD, [row.cells() for row in rows])


def with_table(page: str, rows: list[Row]) -> str:
    """The text of a page with the condensed table between its markers; ValueError for a page without them."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN.strip()} ... {END}")
    return f"{before}{begin}\n{markdown(HEAD[:-1], [row.condensed() for row in rows])}\n\n{end}{after}"


def kills(count: int, seed: int) -> int:
    """Only the random kills, with this count and seed; returns the exit code."""
    from random_kills import kill_repeatedly
    from training_runs import LONG, TrainingRun, prepared, undisturbed

    with tempfile.TemporaryDirectory(prefix="talkies-faults-") as name:
        folder = Path(name)
        data = prepared(folder)
        whole = undisturbed(folder, data, "long", LONG)
        broken = TrainingRun(runs=folder / "broken", data=data, words={**LONG, "steps.checkpoint_every": 4})
        found = kill_repeatedly(broken, whole, kills=count, seed=seed)
    print(f"{found}; back within {max(found.back_s):.1f} s; equal to the undisturbed run, bitwise")
    return int(found.again_after_stops > 0)


def main() -> int:
    """Run the tests and print the table; returns 1 if a row failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", help="only these rows: 1,4,s3")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--page", type=Path, help="write the whole table into this page, between its markers")
    parser.add_argument("-n", default="1", help="pytest workers (1)")
    parser.add_argument("--kills", type=int, help="only kill one run this many times at random")
    parser.add_argument("--seed", type=int, default=4, help="seed of the random kills (4)")
    args = parser.parse_args()
    if args.kills is not None:
        return kills(args.kills, args.seed)
    if args.page is not None and args.only is not None:
        parser.error("--page takes the whole table: drop --only")
    collector = Collector()
    options = ["--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), "-m", EVERY_STAGE, "-n", args.n, "-q"]
    only = ["--fault", args.only] if args.only else []
    code = pytest.main([*options, *only, str(ROOT / "tests")], plugins=[collector])
    wanted = args.only.split(",") if args.only else list(ROWS)
    rows = [collector.rows[number] for number in wanted]
    print(table(rows))
    for number in sorted(collector.unknown):
        print(f"no such row: {number}")
    if args.json is not None:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    if args.page is not None:
        args.page.write_text(with_table(args.page.read_text(), rows))
    return int(code not in (0, 5) or bool(collector.unknown) or any(row.result == "failed" for row in rows))


if __name__ == "__main__":
    sys.exit(main())

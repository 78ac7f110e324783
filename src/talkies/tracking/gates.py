"""Promotion gates: conditions on a run's metrics that must hold before an alias moves."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from talkies.config import GateError
from talkies.tracking.config import GateConfig


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """One gate and the value that was found for it; None if the metric was not measured."""

    metric: str
    op: str
    needed: float
    found: float | None

    @property
    def passed(self) -> bool:
        """Whether the gate holds; a metric that is missing or NaN fails it."""
        if self.found is None or math.isnan(self.found):
            return False
        return self.found >= self.needed if self.op == ">=" else self.found <= self.needed

    def __str__(self) -> str:
        found = "missing" if self.found is None else f"{self.found:.4g}"
        return f"{self.metric} {found} (needs {self.op} {self.needed:g})"


def judge(gates: Sequence[GateConfig], metrics: Mapping[str, float]) -> tuple[GateResult, ...]:
    """Every gate with the measured value."""
    found = {gate.metric: float(metrics[gate.metric]) for gate in gates if gate.metric in metrics}
    return tuple(
        GateResult(metric=gate.metric, op=gate.op, needed=gate.value, found=found.get(gate.metric)) for gate in gates
    )


def demand(results: Sequence[GateResult], target: str) -> None:
    """Raise GateError, naming every failing gate, unless all passed. `target`: the alias, which then stays."""
    failed = [result for result in results if not result.passed]
    if failed:
        lines = "; ".join(map(str, failed))
        raise GateError(
            f"promote: {len(failed)} of {len(results)} gates fail: {lines}. Nothing was registered and {target} "
            "was not moved: train longer, or change `tracking.gates`"
        )

"""Twenty random kills in one run of 200 steps: no sample is repeated or lost."""

import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
from random_kills import kill_repeatedly
from same_run import once_per_pass
from training_runs import LONG, TrainingRun

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
KILLS = 20


@pytest.mark.fault(
    "aim", "20 random kills in 200 steps", injected="SIGKILL, SIGTERM, SIGUSR1, SIGINT at random moments"
)
def test_twenty_random_kills(
    tmp_path: Path, data: Path, long: TrainingRun, record_outcome: Callable[..., None]
) -> None:
    """The final weights were trained on the same clips as without kills."""
    broken = TrainingRun(runs=tmp_path / "runs", data=data, words={**LONG, "steps.checkpoint_every": 4})
    found = kill_repeatedly(broken, long, kills=KILLS, seed=4)
    assert once_per_pass(broken.lines())
    assert found.signals.total() == KILLS
    assert found.again_after_stops == 0
    record_outcome(str(found), steps_lost=found.again, back_s=statistics.median(found.back_s))

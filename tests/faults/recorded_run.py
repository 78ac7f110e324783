"""Runs `talkies`, records every micro-batch and injects faults: python recorded_run.py PLAN train ...

PLAN is JSON: {"record": FILE, "pace": SECONDS, "faults": [...]}. It sleeps `pace` seconds after every micro-batch. A
fault is {"at": STEP, "where": PLACE, "signal": NAME, "complete": STEP or null}: once `at` optimizer steps are done, the
process sends itself that signal at one of these places:

- "training_step": in the phase's training_step
- "optimizer_step", "zero_grad": just before the call
- "step_end": after the last callback of a step

If `complete` is given, it first waits for the complete checkpoint of that step.

Only RunCallbacks.callbacks and Phase.training_step are wrapped; everything else runs as in `talkies`.
"""

import listen_first  # noqa: F401

# isort: split

import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer

from talkies.checkpoints.manifest import MANIFEST
from talkies.checkpoints.store import CheckpointStore
from talkies.cli.main import run
from talkies.runs.run_callbacks import RunCallbacks
from talkies.training.phase import Phase


class MicroBatchRecorder(Callback):
    """Appends a line per micro-batch, which survives a killed process; `step` counts from 1."""

    def __init__(self, record: Path, pace: float) -> None:
        self.record, self.pace = record, pace
        self._since = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        now, log = time.perf_counter(), self.record.open("a")
        line = {
            "pid": os.getpid(),
            "step": trainer.global_step,
            "clips": [f"{name}/{visit}" for name, visit in zip(batch.ids, batch.visits, strict=True)],
            "loss": float(outputs["loss"]).hex(),
            "rate": float(trainer.optimizers[0].param_groups[0]["lr"]).hex(),
            "time": time.time(),
            "seconds": now - self._since,
        }
        with log:
            log.write(json.dumps(line) + "\n")
        time.sleep(self.pace)
        self._since = time.perf_counter()


class Faults(Callback):
    """Sends this process the signals of the plan."""

    def __init__(self, faults: list[dict[str, Any]], folder: Path) -> None:
        self.faults, self.checkpoints = faults, CheckpointStore(folder / "checkpoints")

    def fire(self, place: str, step: int) -> None:
        """Send the signals that are due at this place and step."""
        for fault in [fault for fault in self.faults if (fault["where"], fault["at"]) == (place, step)]:
            self.faults.remove(fault)
            complete = fault.get("complete")
            while complete is not None and not (self.checkpoints.path(complete) / MANIFEST).is_file():
                time.sleep(0.01)
            with Path(os.environ["WITNESSED"]).open("a") as log:
                log.write(f"{time.time()}\n")
            os.kill(os.getpid(), signal.Signals[fault["signal"]])

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        self.fire("optimizer_step", trainer.global_step)

    def on_before_zero_grad(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        self.fire("zero_grad", trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self.fire("step_end", trainer.global_step)


def main(plan: dict[str, Any], words: list[str]) -> int:
    """Run `talkies` with these words."""
    callbacks, training_step = RunCallbacks.callbacks, Phase.training_step
    made: list[Faults] = []

    def with_faults(self: RunCallbacks, *args: Any, **options: Any) -> list[Callback]:
        made.append(Faults(plan["faults"], self.folder))
        return [MicroBatchRecorder(Path(plan["record"]), plan["pace"]), *callbacks(self, *args, **options), made[0]]

    def training_step_with_faults(self: Phase, batch: Any, number: int) -> Any:
        found = training_step(self, batch, number)
        made[0].fire("training_step", self.global_step)
        return found

    RunCallbacks.callbacks = with_faults  # type: ignore[method-assign]
    Phase.training_step = training_step_with_faults  # type: ignore[method-assign, assignment]
    sys.argv[1:] = words
    return run()


if __name__ == "__main__":
    sys.exit(partial(main, json.loads(sys.argv[1]))(sys.argv[2:]))

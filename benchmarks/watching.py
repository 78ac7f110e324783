"""What watchdog, heartbeats and the stragglers' clocks cost per step: blocks of one fit with and without, in turns.

python benchmarks/watching.py DATA_ROOT [--recipe recipes/mova/toy/joint_phase1.yaml]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer
from lightning.pytorch.profilers import PassThroughProfiler

from talkies.checkpoints.store import CheckpointStore
from talkies.config.decode import decode
from talkies.config.source import load
from talkies.parallel.mesh import mesh_of
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import ALONE
from talkies.recipe.building import build_model
from talkies.recipe.config import PhaseRecipe
from talkies.recipe.inputs import open_inputs
from talkies.recipe.train import make_data, make_phase, make_trainer
from talkies.training.config import WatchdogConfig
from talkies.training.metrics import TrainingMetrics
from talkies.training.saving import Saving
from talkies.training.watchdog import Watchdog
from talkies.training.work import Steps, Work


class Turns(Callback):
    """Watches every other block of `block` steps; the first step of each is left out. The steps' seconds, by arm."""

    def __init__(self, run: Path, block: int) -> None:
        self.run, self.block = run, block
        self.work = Work()
        self.times: dict[bool, list[float]] = {True: [], False: []}
        self.moves = self._before = 0
        self._held, self._watched, self._last = ExitStack(), False, 0.0

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        now, place = time.perf_counter(), trainer.global_step % self.block
        if place not in (0, 1) and trainer.global_step > self.block:
            self.times[self._watched].append(now - self._last)
        if place == 0:
            self._turn(trainer)
        self._last = time.perf_counter()

    def _turn(self, trainer: Trainer) -> None:
        self._held.close()
        self._watched = not self._watched
        if self._watched:
            self._held.enter_context(Watchdog(WatchdogConfig(), self.run, self.work, Ranks(ALONE)))
            self._before = self.work.now.moves
        else:
            self.moves = (self.work.now.moves - self._before) // self.block
        trainer.profiler = self.work if self._watched else PassThroughProfiler()


def cost_of_a_move(work: Work, count: int = 100_000) -> float:
    """Seconds of noting one."""
    return timed(lambda: [work.stop("[Strategy]S.backward") for _ in _started(work, count)]) / count / 2


def _started(work: Work, count: int) -> Any:
    for _ in range(count):
        work.start("[Strategy]S.backward")
        yield


def timed(call: Callable[[], object]) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    """Print both medians, their ratio, and what a move costs by itself."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="prepared toy data")
    parser.add_argument("overrides", nargs="*", help="key.path=value")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/mova/toy/joint_phase1.yaml"))
    parser.add_argument("--blocks", type=int, default=40)
    parser.add_argument("--block", type=int, default=12, help="steps per block")
    args = parser.parse_args()
    fixed = [f"steps.max={args.blocks * args.block}", "steps.checkpoint_every=1000000"]
    recipe = decode(
        PhaseRecipe, load(args.recipe, [*fixed, "parents.video=null", "parents.audio=null", *args.overrides])
    )
    inputs = open_inputs(recipe, args.data, {})
    with tempfile.TemporaryDirectory() as folder:
        phase = make_phase(recipe, lambda: build_model(recipe, {}, mesh_of(recipe.parallel, ALONE)))
        data, turns = make_data(recipe, inputs.shards), Turns(Path(folder), args.block)
        saving = Saving(CheckpointStore(Path(folder)), recipe.steps, recipe.ema, data)
        metrics = TrainingMetrics(every=recipe.steps.log_every, bins=4, sink=lambda *_: None)
        make_trainer(recipe, [Steps(turns.work), metrics, saving, turns]).fit(phase, datamodule=data)
    a, b = (statistics.median(turns.times[arm]) for arm in (True, False))
    move = cost_of_a_move(Work())
    print(f"watched {a * 1e3:.2f} ms, not watched {b * 1e3:.2f} ms per step: {100 * (a / b - 1):+.2f} %")
    print(f"{turns.moves} moves per step of {move * 1e6:.2f} us each: {turns.moves * move / b * 100:.3f} %")


if __name__ == "__main__":
    main()

"""The cost of resilience: one phase with all of its machinery and the same phase without, in alternating blocks.

python benchmarks/survival.py DATA_ROOT [key.path=value ...] [--recipe recipes/mova/toy/joint_phase1.yaml]

With: the counter's loader with checked clips, norm and loss judged in every step, signals, an asynchronous checkpoint
in the middle of every block, metrics written to a spool, quarantine, heartbeats, watchdog and straggler clocks.
Without: torch's own DataLoader in random order over the same shards, unchecked; the norm is clipped, metrics are
computed but not recorded. Both under Lightning, with an EMA and the same number of loader workers.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from safetensors import safe_open
from torch.utils.data import DataLoader, Dataset, RandomSampler

from talkies.checkpoints.store import CheckpointStore
from talkies.config.source import load
from talkies.data.clip import Caption, Clip, Latent
from talkies.data.collate import collate
from talkies.data.module import ClipsData
from talkies.data.shards import ShardSet
from talkies.models.systems import SYSTEMS
from talkies.parallel.mesh import mesh_of
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import ALONE
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe, decode_phase
from talkies.resilience.guard import Guard
from talkies.runs.building import build_model
from talkies.runs.inputs import Inputs, open_inputs
from talkies.runs.run_callbacks import RunCallbacks
from talkies.runs.train import make_data, make_phase, make_trainer
from talkies.streams.batch import Batch
from talkies.tracking.config import TrackingConfig
from talkies.tracking.spool import Tracker
from talkies.training.after_step import after_step
from talkies.training.ema import Ema
from talkies.training.metrics import TrainingMetrics
from talkies.training.phase import Phase


class Clock(Callback):
    """Seconds of each step except the first of a block; one list per block."""

    def __init__(self) -> None:
        self.blocks: list[list[float]] = []
        self._last = 0.0

    def on_train_start(self, *_: Any) -> None:
        self.blocks.append([])
        self._last = 0.0

    def on_train_batch_end(self, *_: Any) -> None:
        now = time.perf_counter()
        if self._last:
            self.blocks[-1].append(now - self._last)
        self._last = now


class Plain(Phase):
    """A phase whose gradient is clipped but not judged."""

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.grad_norm = torch.nn.utils.clip_grad_norm_(parameters, self.optimizer_config.clip).detach()


class Average(Callback):
    """Only an EMA."""

    def __init__(self, recipe: PhaseRecipe) -> None:
        self.recipe = recipe
        self.ema: Ema | None = None

    def on_train_batch_end(self, _: Trainer, pl_module: Phase, *__: Any) -> None:
        self.ema = self.ema or Ema(pl_module.trainable(), self.recipe.ema)
        self.ema.update(pl_module.trainable())


class Unchecked(Dataset[Clip]):
    """The clips of a set, memory-mapped by safetensors, without any check."""

    def __init__(self, shards: ShardSet, recipe: PhaseRecipe) -> None:
        self.shards, self.wanted = shards, parts(recipe).streams
        self.places = [(shard.name, row) for shard in shards.index.shards for row in range(shard.clips)]
        self.files: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, k: int) -> Clip:
        (name, row), index = self.places[k], self.shards.index
        entry, grids = index.clips[k], self.shards.grids
        if name not in self.files:
            self.files[name] = safe_open(self.shards.folder / name, framework="pt", device="cpu")
        file = self.files[name]
        names = {name: index.tensors[name] for name in (*self.wanted, *index.texts)}
        values = {name: file.get_tensor(f"{row:05d}.{tensor}") for name, tensor in names.items()}
        return Clip(
            id=entry.id,
            streams={
                m: Latent(values=values[m], grid=grids[m], valid=entry.valid.get(m, grids[m].shape[0]))
                for m in self.wanted
            },
            texts={m: Caption(caption=caption, features=values[m]) for m, caption in entry.captions.items()},
        )


class PlainData(ClipsData):
    """Batches in torch's random order."""

    def train_dataloader(self) -> DataLoader[Batch]:  # type: ignore[override]
        sampler = RandomSampler(self.unchecked, replacement=True, num_samples=10**9)
        options = {"num_workers": self.workers, "collate_fn": self.collate}
        return DataLoader(self.unchecked, self.micro, sampler=sampler, **options)

    def collate(self, clips: list[Clip]) -> Batch:
        return collate(clips, [0] * len(clips), self.shards.null_texts)

    unchecked: Unchecked


def turns(
    trainer: Trainer, phase: Phase, data: ClipsData, args: argparse.Namespace, within: Callable[[], Any] = nullcontext
) -> Iterator[None]:
    """Run one block of steps per iteration, each in its own fit; checkpoints are in the middle of a block."""
    for number in range(args.blocks):
        trainer.fit_loop.epoch_loop.max_steps = args.block // 2 + (number + 1) * args.block
        with within():
            trainer.fit(phase, datamodule=data)
        yield


def survivor(
    recipe: PhaseRecipe, inputs: Inputs, folder: Path, clock: Clock, args: argparse.Namespace
) -> Iterator[None]:
    """The arm with everything, composed as `runs.train` does."""
    store = f"sqlite:///{folder / 'mlflow.db'}"  # the spool is written; nobody uploads it meanwhile
    tracker = Tracker(folder, TrackingConfig(experiment="survival"), name="survival", store=store)
    ranks = Ranks(ALONE)
    run_callbacks = RunCallbacks(recipe, inputs, folder, tracker, ranks)
    guard = Guard(recipe.survival, ranks=ranks, folder=folder / "bad_steps", on_skip=run_callbacks.skipped)
    phase = make_phase(recipe, lambda: build_model(recipe, {}, mesh_of(recipe.parallel, ALONE)), guard)
    data = make_data(recipe, inputs.shards)
    quarantine = run_callbacks.quarantine(data)
    after = after_step(
        CheckpointStore(folder / "checkpoints"), recipe.steps, recipe.ema, data,
        saved=run_callbacks.saved, protect=run_callbacks.retention.protects, ranks=ranks,
        quarantine=quarantine, metrics=run_callbacks.metrics,
    )  # fmt: skip
    validation = run_callbacks.validation(phase, after.ema_callback)
    callbacks = [*run_callbacks.callbacks(quarantine, after, validation, bar=False), clock]
    trainer = make_trainer(recipe, callbacks, activity=run_callbacks.activity)
    yield from turns(trainer, phase, data, args, run_callbacks.watchdog)


def plain(recipe: PhaseRecipe, inputs: Inputs, clock: Clock, args: argparse.Namespace) -> Iterator[None]:
    """The arm without any of it."""
    full = make_phase(recipe, lambda: build_model(recipe, {}, mesh_of(recipe.parallel, ALONE)))
    phase = Plain(full._build, full.objective, recipe.optimizer, recipe.steps)
    data = PlainData(
        inputs.shards, seed=recipe.seed, global_batch=recipe.steps.global_batch,
        workers=recipe.data.workers, streams=parts(recipe).streams,
    )  # fmt: skip
    data.unchecked = Unchecked(inputs.shards, recipe)
    metrics = TrainingMetrics(every=recipe.steps.log_every, bins=recipe.validation.bins, sink=lambda *_: None)
    trainer = make_trainer(recipe, [metrics, Average(recipe), clock])
    yield from turns(trainer, phase, data, args)


def main() -> None:
    """Print both medians and the overhead: per step, and over whole blocks with their checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="prepared toy data")
    parser.add_argument("overrides", nargs="*", help="key.path=value")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/mova/toy/joint_phase1.yaml"))
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--block", type=int, default=50, help="steps per block")
    args = parser.parse_args()
    fixed = [
        f"steps.max={(args.blocks + 2) * args.block}", f"steps.checkpoint_every={args.block}", "steps.accumulate=1",
        "validation.every=1000000", "validation.samples=0", "parents.video=null", "parents.audio=null",
        "survival.spike.action=skip", "survival.spike.sigma=1000",
    ]  # fmt: skip
    recipe = decode_phase(load(args.recipe, [*fixed, *args.overrides]), SYSTEMS)
    recipe = replace(recipe, data=replace(recipe.data, root=str(args.data)))
    inputs = open_inputs(recipe, args.data, {})
    clocks = Clock(), Clock()
    torch.set_num_threads(recipe.compute.threads or torch.get_num_threads())
    with tempfile.TemporaryDirectory() as folder:
        arms = survivor(recipe, inputs, Path(folder), clocks[0], args), plain(recipe, inputs, clocks[1], args)
        for _ in zip(*arms, strict=True):
            pass
    steps = [statistics.median([t for block in clock.blocks[1:] for t in block]) for clock in clocks]
    blocks = [statistics.median([statistics.fmean(block) for block in clock.blocks[1:]]) for clock in clocks]
    for name, (a, b) in {"median step": steps, "mean step of the median block": blocks}.items():
        print(f"{name}: with {a * 1e3:.2f} ms, without {b * 1e3:.2f} ms: {100 * (a / b - 1):+.1f} %")


if __name__ == "__main__":
    main()

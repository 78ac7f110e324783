"""The overhead of a Lightning phase over the same step in a bare PyTorch loop: alternating arms, median per step.

python benchmarks/overhead.py DATA_ROOT [--recipe recipes/mova/toy/joint_phase1.yaml]
torchrun --standalone --nproc-per-node 2 benchmarks/overhead.py DATA_ROOT parallel.kind=fsdp2 parallel.shard=2

On several processes the bare arm is PyTorch's own DistributedDataParallel, or `fully_shard` over the same blocks.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning import Callback
from torch.nn.parallel import DistributedDataParallel

from talkies.checkpoints.store import CheckpointStore
from talkies.config.source import load
from talkies.flow.known import known_by
from talkies.flow.noising import dropped, losses_of, noised
from talkies.models.systems import SYSTEMS
from talkies.parallel.mesh import Mesh, destroy_groups, mesh_of, start
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import World, world_of
from talkies.recipe.config import PhaseRecipe, decode_phase
from talkies.runs.building import build_model
from talkies.runs.inputs import open_inputs
from talkies.runs.train import make_data, make_phase, make_trainer
from talkies.streams.batch import Batch, Condition
from talkies.training.after_step import after_step
from talkies.training.ema import Ema
from talkies.training.metrics import TrainingMetrics
from talkies.training.optimizer import parameter_groups, rate


class Clock(Callback):
    """Seconds between the ends of successive steps within a block."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self._last: float | None = None

    def on_train_start(self, *_: Any) -> None:
        self._last = None

    def on_train_batch_end(self, *_: Any) -> None:
        now = time.perf_counter()
        if self._last is not None:
            self.times.append(now - self._last)
        self._last = now


def bare(recipe: PhaseRecipe, inputs: Any, mesh: Mesh | None, world: World) -> Iterator[float]:
    """The same training step without Lightning; yields the seconds of each step."""
    model, phase = build_model(recipe, {}, mesh), make_phase(recipe, torch.nn.Identity)
    objective, config, parts = phase.objective, recipe.optimizer, phase.objective.parts
    groups = parameter_groups(model, config, objective.components)
    optimizer = torch.optim.AdamW(groups, lr=groups[0]["peak"], betas=config.betas, eps=config.eps)
    parameters = dict(model.named_parameters())
    ema = Ema(parameters, recipe.ema)
    data = make_data(recipe, inputs.shards, world)
    replicated = recipe.parallel.kind == "ddp" and world.size > 1
    forward = DistributedDataParallel(model, find_unused_parameters=True) if replicated else model
    last = None
    for step, batch in enumerate(data.train_dataloader()):
        assert isinstance(batch, Batch)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate(step, recipe.steps.max, config)
        turn = parts.cycle[step % len(parts.cycle)]
        kept = dropped(batch, parts.dropout, seed=objective.seed, groups=parts.groups)
        known = known_by(batch, parts.known, seed=objective.seed)
        draw = noised(kept, objective.flow, parts.targets, seed=objective.seed, ranges=turn.levels, known=known)
        out = forward(objective.inputs(draw.streams), Condition(texts=kept.texts, inactive=turn.inactive))
        losses = losses_of(out, draw, objective.flow)
        loss = torch.stack([weight * losses[name].mean() for name, weight in parts.targets.items()]).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(parameters.values()), config.clip)
        optimizer.step()
        ema.update(parameters)
        now = time.perf_counter()
        if last is not None:
            yield now - last
            last = time.perf_counter()
        else:
            last = now


def main() -> None:
    """Print both medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="prepared toy data")
    parser.add_argument("overrides", nargs="*", help="key.path=value")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/mova/toy/joint_phase1.yaml"))
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--block", type=int, default=15, help="steps per block")
    args = parser.parse_args()
    total = args.blocks * (args.block + 1)
    fixed = [f"steps.max={total}", "steps.checkpoint_every=1000000", "parents.video=null", "parents.audio=null"]
    recipe = decode_phase(load(args.recipe, [*fixed, *args.overrides]), SYSTEMS)
    world = world_of()
    start(world)
    mesh = mesh_of(recipe.parallel, world)
    inputs = open_inputs(recipe, args.data, {})
    with tempfile.TemporaryDirectory() as folder:
        phase = make_phase(recipe, lambda: build_model(recipe, {}, mesh))
        data, clock = make_data(recipe, inputs.shards, world), Clock()
        after = after_step(CheckpointStore(Path(folder)), recipe.steps, recipe.ema, data, ranks=Ranks(world))
        metrics = TrainingMetrics(
            every=recipe.steps.log_every, bins=4, sink=lambda *_: None, ranks=after.checkpoint_callback.ranks
        )
        trainer = make_trainer(recipe, [metrics, *after.callbacks, clock], world)
        plain, arm = [], bare(recipe, inputs, mesh, world)
        for block in range(args.blocks):
            trainer.fit_loop.epoch_loop.max_steps = (block + 1) * (args.block + 1)
            trainer.fit(phase, datamodule=data)
            plain += [next(arm) for _ in range(args.block)]
    a, b = statistics.median(clock.times), statistics.median(plain)
    if world.main:
        print(f"Lightning {a * 1e3:.1f} ms, bare {b * 1e3:.1f} ms per step: overhead {100 * (a / b - 1):.1f} %")
    destroy_groups()


if __name__ == "__main__":
    main()

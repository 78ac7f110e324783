"""Training of one phase, composed of all components: model, data, callbacks, trainer and guard."""

import gc
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from lightning import Callback, Trainer
from torch import nn

from talkies.checkpoints.loop import read_loop
from talkies.checkpoints.store import CheckpointStore
from talkies.data.module import ClipsData
from talkies.data.shards import ShardSet
from talkies.parallel.config import without_training
from talkies.parallel.mesh import data_place, mesh_of
from talkies.parallel.ranks import Ranks
from talkies.parallel.strategy import strategy_of
from talkies.parallel.world import ALONE, World
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe
from talkies.resilience.activity import Activity
from talkies.resilience.guard import Guard, RollbackError
from talkies.resilience.quarantine import Quarantine
from talkies.resilience.rollback import finish_interrupted, go_back
from talkies.runs.building import build_model
from talkies.runs.degrading import degrading
from talkies.runs.inputs import Inputs
from talkies.runs.recorded import name_of_run
from talkies.runs.resuming import resumed_from
from talkies.runs.run_callbacks import RunCallbacks
from talkies.signals.answer import mark_handled
from talkies.tracking.spool import Tracker
from talkies.training.after_step import AfterStep, after_step
from talkies.training.checkpoint_callback import rewind
from talkies.training.engines import engine_of
from talkies.training.phase import Objective, Phase


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How training ended: the `step` reached, and the signal or stop that ended it early; or the reason of a `bad` step
    to roll back from, whose samples begin at `position` of the stream."""

    step: int
    stopped_by: str | None
    bad: str | None = None
    position: int = 0


def make_phase(
    recipe: PhaseRecipe, build: Callable[[], nn.Module], guard: Guard | None = None, *, codecs: Path | None = None
) -> Phase:
    """The LightningModule of a recipe. `codecs`: the folder of its data's fitted ones, with which it degrades
    conditions, if it does."""
    system = recipe.system
    objective = Objective(
        flow=recipe.flow,
        parts=parts(recipe),
        inputs=partial(system.network().inputs, recipe),
        components=system.components(recipe),
        seed=recipe.seed,
        degrading=degrading(recipe, codecs) if codecs is not None and parts(recipe).degraded else None,
    )
    return Phase(build, objective, recipe.optimizer, recipe.steps, guard, engine=engine_of(recipe.parallel))


def make_data(recipe: PhaseRecipe, shards: ShardSet, world: World = ALONE) -> ClipsData:
    """The data module of a recipe for one process of `world`."""
    rank, readers = data_place(recipe.parallel, world)
    return ClipsData(
        shards,
        seed=recipe.seed,
        global_batch=recipe.steps.global_batch,
        accumulate=recipe.steps.accumulate,
        workers=recipe.data.workers,
        streams=parts(recipe).read,
        rank=rank,
        data_ranks=readers,
        in_a_row=recipe.survival.quarantine.in_a_row,
    )


def make_trainer(
    recipe: PhaseRecipe, callbacks: list[Callback], world: World = ALONE, activity: Activity | None = None
) -> Trainer:
    """A trainer without Lightning's own loggers, checkpoints, progress bars and tips. `activity`: its profiler, which
    records what the trainer is doing."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # Lightning 2.6.6 calls torch >= 2.13 in a deprecated way, which users cannot change.
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
    bf16, alternate = recipe.precision == "bf16", len(parts(recipe).cycle) > 1
    trainer = Trainer(
        **strategy_of(recipe.parallel, world, alternate=alternate, clip=recipe.optimizer.clip, bf16=bf16),
        max_epochs=-1,
        max_steps=recipe.steps.max,
        accumulate_grad_batches=recipe.steps.accumulate,
        callbacks=callbacks,
        profiler=activity,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
    )
    # Lightning's SIGTERM handler would communicate with the other processes, and raise in the middle of a step.
    trainer._signal_connector.register_signal_handlers = lambda: None
    return trainer


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Within the block torch computes with `count` threads (None: as before)."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train(
    recipe: PhaseRecipe,
    inputs: Inputs,
    folder: Path,
    tracker: Tracker | None,
    *,
    stop_at: int | None = None,
    bar: bool = True,
    ranks: Ranks | None = None,
    on_hang: Callable[[], None] | None = None,
) -> tuple[Outcome, Phase, AfterStep]:
    """Run or continue the phase in `folder` until its last step, `stop_at`, or a signal. A bad step leads to a rollback
    if the recipe says so.

    Every process of `ranks` calls it; the main one has the `tracker`. One process calls `on_hang` before the watchdog
    ends them all. Raises BadStepError for a bad step that the recipe neither skips nor rolls back.
    """
    ranks = ranks or Ranks(ALONE)
    run_callbacks = RunCallbacks(recipe, inputs, folder, tracker, ranks, on_hang=on_hang)
    while True:
        outcome, phase, after = _attempt(recipe, inputs, folder, run_callbacks, ranks, stop_at=stop_at, bar=bar)
        if outcome.bad is None:
            return outcome, phase, after
        del phase, after
        gc.collect()  # frees the model before the next one is built
        ranks.agree(_go_back if ranks.main else None, recipe, folder, outcome, run_callbacks)


def _go_back(recipe: PhaseRecipe, folder: Path, outcome: Outcome, run_callbacks: RunCallbacks) -> None:
    assert outcome.bad is not None
    go_back(
        folder,
        CheckpointStore(folder / "checkpoints"),
        recipe.survival.rollback,
        at=outcome.step + 1,
        position=outcome.position,
        global_batch=recipe.steps.global_batch,
        reason=outcome.bad,
        before_rollback=run_callbacks.before_rollback,
    )


def _attempt(
    recipe: PhaseRecipe,
    inputs: Inputs,
    folder: Path,
    run_callbacks: RunCallbacks,
    ranks: Ranks,
    *,
    stop_at: int | None,
    bar: bool,
) -> tuple[Outcome, Phase, AfterStep]:
    store, world = CheckpointStore(folder / "checkpoints"), ranks.world
    passed = ranks.first(lambda: finish_interrupted(folder, store, run_callbacks.before_rollback))
    latest = resumed_from(recipe, folder, store, ranks)
    start = 0 if latest is None else int(read_loop(latest)["step"])
    done = start >= recipe.steps.max
    mesh = mesh_of(without_training(recipe.parallel) if done else recipe.parallel, world)
    guard = Guard(recipe.survival, ranks=ranks, folder=folder / "bad_steps", on_skip=run_callbacks.skipped)
    phase = make_phase(recipe, lambda: build_model(recipe, inputs.parents, mesh), guard, codecs=inputs.codecs_folder)
    data = make_data(recipe, inputs.shards, world)
    quarantine = run_callbacks.quarantine(data)
    after = _after_step(recipe, store, data, run_callbacks, latest=latest, stop_at=stop_at, quarantine=quarantine)
    validation = run_callbacks.validation(phase, after.ema_callback)
    if done:  # stopped between the last step and the export
        after.checkpoint_callback.recall(phase)
        if not validation.recorded(start):
            validation.validate(phase, start, main=world.main)
        return Outcome(step=start, stopped_by=None), phase, after
    if stop_at is not None and start >= stop_at:
        return Outcome(step=start, stopped_by=f"--stop-at {stop_at}"), phase, after
    callbacks = run_callbacks.callbacks(quarantine, after, validation, bar=bar)
    trainer = make_trainer(recipe, callbacks, world, run_callbacks.activity)
    if latest is not None:
        loop = read_loop(latest)
        ranks.after_main(lambda _: rewind(trainer, data, loop))
    data.pass_over(*passed)
    # For LoRA dropout only: everything else is drawn per sample. Ranks hold different clips or different tokens.
    torch.manual_seed((recipe.seed + world.rank) % 2**63)
    with _threads(recipe.compute.threads), run_callbacks.watchdog():
        return _fit(trainer, phase, data, after), phase, after


def _after_step(
    recipe: PhaseRecipe,
    store: CheckpointStore,
    data: ClipsData,
    run_callbacks: RunCallbacks,
    *,
    latest: Path | None,
    stop_at: int | None,
    quarantine: Quarantine,
) -> AfterStep:
    return after_step(
        store,
        recipe.steps,
        recipe.ema,
        data,
        resume=latest,
        stop_at=stop_at,
        saved=run_callbacks.saved,
        protect=run_callbacks.retention.protects,
        failed_saves=recipe.survival.failed_saves,
        ranks=run_callbacks.ranks,
        recipe=name_of_run(run_callbacks.folder),
        quarantine=quarantine,
        metrics=run_callbacks.metrics,
    )


def _fit(trainer: Trainer, phase: Phase, data: ClipsData, after: AfterStep) -> Outcome:
    try:
        trainer.fit(phase, datamodule=data)
    except RollbackError as error:
        if after.checkpoint_callback.failure is not None:
            raise after.checkpoint_callback.failure from None
        causes = [
            cause
            for cause in after.checkpoint_callback.ranks.gather(after.stop.agreement.signal_name)
            if cause is not None
        ]
        if causes:  # the next attempt will reach the bad step again
            mark_handled(causes[0])
            return Outcome(step=error.step - 1, stopped_by=causes[0])
        return Outcome(step=error.step - 1, stopped_by=None, bad=error.reason, position=data.position)
    return Outcome(step=trainer.global_step, stopped_by=after.stop.stopped_by)

"""Bad steps are refused, skipped or rolled back; a resumed run judges like an uninterrupted one."""

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_phase
from lightning import Callback
from tiny_phase import same
from torch import Tensor, nn

from talkies.data.shards import ShardSet
from talkies.resilience.config import SpikeConfig, SurvivalConfig
from talkies.resilience.guard import Guard, NonFiniteError, RollbackError, SpikeError, SurvivalWarning
from talkies.training.checkpoint_callback import CheckpointCallback, capture
from talkies.training.phase import Phase

ACCUMULATE = 2
BATCH = 4
SKIP_SPIKES = SurvivalConfig(spike=SpikeConfig(action="skip", sigma=20.0, window=16))


class Loud(Phase):
    """The loss of batches that begin at `bad` positions of the stream is `factor` times as large, on every visit."""

    bad: tuple[int, ...] = ()
    factor = 1.0

    def training_step(self, batch: Any, number: int) -> dict[str, object]:
        found = super().training_step(batch, number)
        if self.trainer.datamodule.position in self.bad:
            found["loss"] = found["loss"] * self.factor  # type: ignore[operator]
            for micro in self.guard._micros[-1:]:
                micro.loss.mul_(self.factor)
        return found


def loud(factor: float, *steps: int) -> type[Phase]:
    return type("LoudPhase", (Loud,), {"bad": tuple(BATCH * step for step in steps), "factor": factor})


class Watch(Callback):
    """Collects after each step all that it may change."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Tensor]] = []
        self.ids: list[tuple[str, ...]] = []
        self.checkpoint_callback: CheckpointCallback | None = None

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.ids.append(batch.ids)
        if (batch_idx + 1) % ACCUMULATE == 0:
            (self.checkpoint_callback,) = (
                found for found in trainer.callbacks if isinstance(found, CheckpointCallback)
            )
            state = capture(trainer, pl_module, self.checkpoint_callback.ema_callback.ema, trainer.datamodule)
            parts = (state["model"], state["optimizer"], state["ema"])
            self.seen.append({f"{k}/{n}": v.detach().clone() for k, part in enumerate(parts) for n, v in part.items()})


def fit(
    shards: ShardSet, build: Callable[[], nn.Module], folder: Path, config: SurvivalConfig, kind: type[Phase],
    *, count: int = 6, stop_at: int | None = None, watch: Watch | None = None, **durations: int,
) -> tuple[Guard, Watch]:  # fmt: skip
    guard, watch = Guard(config, folder=folder / "bad_steps"), watch or Watch()
    options: dict[str, Any] = {"guard": guard, "kind": kind, "accumulate": ACCUMULATE, **durations}
    tiny_phase.fit(shards, build, folder / "checkpoints", count, stop_at=stop_at, extra=[watch], **options)
    return guard, watch


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_skipped_step_changes_nothing_but_the_count(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path, value: float
) -> None:
    with pytest.warns(SurvivalWarning, match=r"skipped optimizer step 3: the gradient norm is .*; rank 0 had "):
        guard, watch = fit(shards, build, tmp_path, SurvivalConfig(non_finite="skip"), loud(value, 2))
    assert len(watch.seen) == 6
    assert same(watch.seen[1], watch.seen[2])
    assert not same(watch.seen[2], watch.seen[3])
    assert [entry["step"] for entry in guard.skipped] == [3]
    record = json.loads((tmp_path / "bad_steps" / "step-00000003.json").read_text())
    assert [tuple(micro["ids"]) for micro in record["ranks"][0]] == watch.ids[4:6], "with the seed, all of the step"


SPIKE = {action: SurvivalConfig(spike=SpikeConfig(action=action, sigma=20.0)) for action in ("raise", "rollback")}
ANSWERS: dict[str, tuple[SurvivalConfig, float, type[Exception], str]] = {
    "raise": (SurvivalConfig(), float("nan"), NonFiniteError, "the gradient norm is nan.*`survival.non_finite`"),
    "spike": (SPIKE["raise"], 1e4, SpikeError, "the loss is .* sigma above"),
    "rollback": (SurvivalConfig(non_finite="rollback"), float("inf"), RollbackError, "the gradient norm is"),
    "spike rollback": (SPIKE["rollback"], 1e4, RollbackError, "the loss is"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_bad_step_is_refused_before_anything_changes(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path, answer: str
) -> None:
    config, factor, error, message = ANSWERS[answer]
    with pytest.raises(error, match=f"optimizer step 19: {message}"):
        fit(shards, build, tmp_path, config, one_tower(loud(factor, 18)), count=24)
    assert (tmp_path / "bad_steps" / "step-00000019.json").is_file()


def one_tower(kind: type[Phase]) -> type[Phase]:
    """Without alternating experts, so that every step counts in one window."""

    class OneWindow(kind):  # type: ignore[misc, valid-type]
        turn = None

    return OneWindow


def test_an_unwritable_record_does_not_end_a_run_that_skips(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path
) -> None:
    (tmp_path / "bad_steps").write_text("in the way")
    with pytest.warns(
        SurvivalWarning, match=r"skipped optimizer step 3: .*; the record .* could not be written: .*exists"
    ):
        guard, watch = fit(shards, build, tmp_path, SurvivalConfig(non_finite="skip"), loud(float("nan"), 2))
    assert (len(guard.skipped), len(watch.seen)) == (1, 6)


def test_a_checkpoint_that_fails_beside_a_bad_step_is_not_forgotten(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path
) -> None:
    """A run that goes back must know that its disk cannot be written."""
    (tmp_path / "checkpoints").write_text("in the way")
    watch, config = Watch(), SurvivalConfig(non_finite="rollback")
    with pytest.raises(RollbackError):
        fit(shards, build, tmp_path, config, loud(float("nan"), 2), watch=watch, checkpoint_every=2)
    assert watch.checkpoint_callback is not None
    assert isinstance(watch.checkpoint_callback.failure, NotADirectoryError)


class LastGradient(Phase):
    """The gradient of the last parameter that trains is not a number."""

    def on_after_backward(self) -> None:
        super().on_after_backward()
        _, parameter = [*self.model.named_parameters()][-1]
        assert parameter.grad is not None
        parameter.grad.view(-1)[0] = float("nan")


def test_the_parameter_that_is_named_is_the_one_concerned(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path
) -> None:
    name = [name for name, _ in build().named_parameters()][-1]
    with pytest.raises(
        NonFiniteError, match=f"the gradient norm is nan, first parameter concerned: {re.escape(name)};"
    ):
        fit(shards, build, tmp_path, SurvivalConfig(), LastGradient)


@pytest.mark.fault("18", "loss spike", injected="the loss of one batch times 10000, window 16")
def test_a_resumed_run_skips_what_an_uninterrupted_one_skips(
    shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path, record_outcome: Any
) -> None:
    """The losses by which spikes are measured are part of the checkpoint."""
    kind = one_tower(loud(1e4, 3, 18, 21))
    with pytest.warns(SurvivalWarning, match="skipped optimizer step"):
        guard, whole = fit(shards, build, tmp_path / "whole", SKIP_SPIKES, kind, count=24)
    assert [entry["step"] for entry in guard.skipped] == [19, 22], "too few steps came before step 4"
    parts: list[dict[str, Tensor]] = []
    for stop in (17, 20, None):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SurvivalWarning)
            again, part = fit(shards, build, tmp_path / "parts", SKIP_SPIKES, kind, count=24, stop_at=stop)
        parts += part.seen
    assert again.skipped == guard.skipped
    assert len(parts) == len(whole.seen)
    assert all(map(same, parts, whole.seen))
    record_outcome("the same steps skipped by the run resumed twice; weights, moments, EMA bitwise equal", steps_lost=1)


def test_a_run_that_skips_too_much_ends(shards: ShardSet, build: Callable[[], nn.Module], tmp_path: Path) -> None:
    config = SurvivalConfig(non_finite="skip", skips=2)
    with (
        pytest.raises(NonFiniteError, match=r"step 4: .*; 2 steps were skipped before \(`survival.skips`\)"),
        pytest.warns(SurvivalWarning, match="skipped optimizer step"),
    ):
        fit(shards, build, tmp_path, config, loud(float("nan"), 1, 2, 3))

"""Training metrics: losses per stream and noise bin, gradient norm, learning rate, throughput."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import torch
from lightning import Callback, Trainer
from torch import Tensor

from talkies.config.quoting import named
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import ALONE
from talkies.resilience.activity import REPORTING
from talkies.resilience.straggler import RankClock, Stragglers
from talkies.streams.batch import Batch
from talkies.training.phase import Phase


class TrainingMetrics(Callback):
    """Every `every` optimizer steps the main process calls `sink(metrics, step)` with the means since the last call,
    over all processes (`share` of them read the same clips).

    Sums stay on the device between calls, so that a step never waits for the host. Keys: train/loss,
    train/<stream>, train/<stream>/bin<k> (noise level in [k, k+1) / bins), train/grad_norm, train/lr,
    train/clips_per_second; with `own`, this rank's clock, also those of Stragglers (of `ratio`). Put it before all
    callbacks whose time does not count as training (checkpoints, validation), and its `ResumeClock` after them.
    """

    activities: ClassVar = {"on_train_batch_end": REPORTING}

    def __init__(
        self,
        *,
        every: int,
        bins: int,
        sink: Callable[[Mapping[str, float], int], None],
        ranks: Ranks | None = None,
        share: int = 1,
        own: RankClock | None = None,
        ratio: float = 2.0,
    ) -> None:
        self.every, self.bins, self.sink, self.ranks, self.share = every, bins, sink, ranks or Ranks(ALONE), share
        self.own, self.stragglers = own, Stragglers(ratio, warn=self.ranks.main)
        self._clear()

    def _clear(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}
        self._clips = 0
        self._seconds = 0.0
        self._since = time.perf_counter()

    def on_train_start(self, trainer: Trainer, pl_module: Phase) -> None:
        """Clear what an earlier attempt gathered."""
        del trainer, pl_module
        self._clear()

    def state_dict(self) -> dict[str, Any]:
        """What this rank has gathered since the last report; plain JSON."""
        data, compute = ([], []) if self.own is None else self.own.seconds()
        return {
            "sums": {key: _plain(value) for key, value in self._sums.items()},
            "counts": {key: _plain(value) for key, value in self._counts.items()},
            "clips": self._clips,
            "share": self.share,
            "clock": {"seconds": self._seconds, "data": data, "compute": compute},
        }

    def load_state_dicts(self, states: Iterable[Mapping[str, Any]], device: torch.device) -> None:
        """Add what one or several ranks gathered earlier, rescaled if another number of ranks (`share`) reads the same
        clips now. ValueError if the losses have other bins than this run's."""
        for state in states:
            for key, value in state["sums"].items():
                wanted = [self.bins] if key.endswith("/bin") else []
                if value["shape"] != wanted:
                    other = named(value["shape"])
                    raise ValueError(f"`metrics.sums.{named(key)}.shape` is {other}, and must be {wanted}")
            factor = self.share / state["share"]
            for totals, saved in ((self._sums, state["sums"]), (self._counts, state["counts"])):
                for key, plain in saved.items():
                    value = _tensor(plain).to(device)
                    value = value if factor == 1 else value * factor
                    totals[key] = totals[key] + value if key in totals else value
            self._clips += round(state["clips"] * factor)
            self._seconds = max(self._seconds, state["clock"]["seconds"])
            if self.own is not None:
                self.own.resume(state["clock"]["data"], state["clock"]["compute"])

    def _add(self, key: str, values: Tensor, count: Tensor) -> None:
        self._sums[key] = self._sums.get(key, 0) + values.sum()
        self._counts[key] = self._counts.get(key, 0) + count

    def _add_binned(self, key: str, losses: Tensor, times: Tensor, trained: Tensor) -> None:
        index = (times * self.bins).long().clamp(0, self.bins - 1)
        none = losses.new_zeros(self.bins)
        sums, counts = none.index_add(0, index, losses), none.index_add(0, index, trained.to(losses.dtype))
        self._sums[key] = self._sums.get(key, 0) + sums
        self._counts[key] = self._counts.get(key, 0) + counts

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Phase, outputs: Mapping[str, Any], batch: Batch, batch_idx: int
    ) -> None:
        """Add a micro-batch; report after the last one of a reporting step."""
        # Every clip has the same weight, whatever the number of ranks.
        loss = outputs["loss"].detach()
        self._add("train/loss", loss.expand(len(batch.ids)), torch.tensor(len(batch.ids), device=loss.device))
        for name, losses in outputs["losses"].items():
            given = outputs["given"].get(name)
            trained = torch.ones_like(losses, dtype=torch.bool) if given is None else ~given
            self._add(f"train/{name}", losses, trained.sum())
            self._add_binned(f"train/{name}/bin", losses, outputs["times"][name], trained)
        self._clips += len(batch.ids)
        self._seconds += time.perf_counter() - self._since
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if stepped and trainer.global_step % self.every == 0:
            metrics = self._report(trainer, pl_module)
            if self.ranks.main:
                self.sink(metrics, trainer.global_step)
            self._clear()

    def resume_clock(self) -> None:
        """Start the clock: the time since the end of the last batch was not training."""
        self._since = time.perf_counter()

    def _report(self, trainer: Trainer, phase: Phase) -> dict[str, float]:
        metrics: dict[str, float] = {}
        totals = {
            key: (total.reshape(-1).tolist(), self._counts[key].reshape(-1).tolist())
            for key, total in self._sums.items()
        }
        times = None if self.own is None else self.own.take(trainer.accumulate_grad_batches)
        everywhere = self.ranks.gather((totals, self._clips, times))
        for key in totals:
            sums = [sum(column) for column in zip(*(of_rank[key][0] for of_rank, _, _ in everywhere), strict=True)]
            counts = [sum(column) for column in zip(*(of_rank[key][1] for of_rank, _, _ in everywhere), strict=True)]
            for k, (value, count) in enumerate(zip(sums, counts, strict=True)):
                if count:
                    metrics[f"{key}{k}" if key.endswith("bin") else key] = value / count
        clips = sum(count for _, count, _ in everywhere) / self.share
        metrics["train/grad_norm"] = float(phase.guarded_steps.grad_norm)
        metrics["train/lr"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        metrics["train/clips_per_second"] = clips / max(1e-9, self._seconds)
        return metrics | self.stragglers.metrics([own for _, _, own in everywhere], trainer.global_step)


def _plain(value: Tensor) -> dict[str, Any]:
    """A small tensor as exact JSON; numbers are text, so that NaN and infinity survive."""
    numbers = [str(number) for number in value.reshape(-1).tolist()]
    return {"dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape), "values": numbers}


def _tensor(plain: Mapping[str, Any]) -> Tensor:
    dtype = getattr(torch, plain["dtype"])
    kind = float if dtype.is_floating_point else int
    return torch.tensor([kind(text) for text in plain["values"]], dtype=dtype).reshape(plain["shape"])


class ResumeClock(Callback):
    """Restarts the clock of `metrics` after all callbacks before this one."""

    def __init__(self, metrics: TrainingMetrics) -> None:
        self.metrics = metrics

    def on_train_start(self, trainer: Trainer, pl_module: Phase) -> None:
        """Restoring a checkpoint does not count as training."""
        del trainer, pl_module
        self.metrics.resume_clock()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Phase, outputs: Mapping[str, Any], batch: Batch, batch_idx: int
    ) -> None:
        """The next batch begins, with the wait for it."""
        del trainer, pl_module, outputs, batch, batch_idx
        self.metrics.resume_clock()

"""Held-out loss at fixed noise: comparable between steps, runs and batch sizes."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping

import torch
from torch import Tensor

from talkies.flow.config import FlowConfig
from talkies.flow.noising import losses_of, noised_at
from talkies.flow.sampler import Inactive
from talkies.flow.schedule import level_of
from talkies.signals.answer import check_signal
from talkies.streams.batch import Batch, Condition, Denoiser, Stream

Inputs = Callable[[Mapping[str, Stream]], dict[str, Stream]]
"""Streams of a batch -> those of the network."""


@torch.no_grad()
def heldout_loss(
    denoiser: Denoiser,
    batches: Iterable[Batch],
    flow: FlowConfig,
    targets: Collection[str],
    *,
    inputs: Inputs,
    inactive: Inactive,
    bins: int,
    seed: int,
) -> dict[str, float]:
    """`heldout/<stream>/bin<k>` and their mean `heldout/<stream>`, for every stream of `targets`.

    Bin k holds the share [k, k + 1) / `bins` of the training draw u ~ U(0, 1), least noise first, and is measured at
    its centre (k + 0.5) / bins, at the schedule's level of each stream. So the mean over bins estimates the training
    loss without dropout, and the streams are paired at the levels of a sampler. `inactive` gives the parameter groups
    that take no part at these levels. Noise is a function of (seed, clip id, bin). Every clip has the same weight; a
    clip without valid steps of a stream does not count there. `batches` are on the device of the denoiser, which is in
    eval mode with the weights to measure. Raises ValueError if there are no bins or no clips.
    """
    if bins < 1:
        raise ValueError(f"held-out loss in {bins} noise bins: at least 1 is needed; set validation.bins")
    losses: dict[tuple[str, int], list[Tensor]] = defaultdict(list)
    for batch in batches:
        for k in range(bins):
            check_signal()
            levels = {name: level_of(flow.schedule, name, (k + 0.5) / bins) for name in targets}
            draw = noised_at(batch, flow, levels, seed=seed, draw=k)
            predicted = denoiser(inputs(draw.streams), Condition(texts=batch.texts, inactive=inactive(levels)))
            for name, per_clip in losses_of(predicted, draw, flow).items():
                losses[name, k].append(per_clip[draw.streams[name].valid.any(1)].double().cpu())
    if not losses:
        raise ValueError("held-out loss: no clips were given; set validation.clips to at least 1")
    return _means(losses, bins)


def _means(losses: dict[tuple[str, int], list[Tensor]], bins: int) -> dict[str, float]:
    """Means over clips, then over bins."""
    metrics: dict[str, float] = {}
    for modality in sorted({m for m, _ in losses}, reverse=True):
        clips = [torch.cat(losses[modality, k]) for k in range(bins)]
        if not len(clips[0]):
            raise ValueError(f"held-out loss: no clip holds valid {modality}; its shard set cannot be measured")
        means = [float(x.mean()) for x in clips]
        metrics[f"heldout/{modality}"] = sum(means) / bins
        metrics |= {f"heldout/{modality}/bin{k}": value for k, value in enumerate(means)}
    return metrics

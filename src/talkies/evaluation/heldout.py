"""Held-out loss at fixed noise: comparable between steps, runs and batch sizes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from talkies.flow.config import FlowConfig
from talkies.flow.draw import gaussian
from talkies.flow.objective import expert_at, interpolate, per_sample_loss, velocity
from talkies.flow.schedule import shift
from talkies.models.streams import as_streams
from talkies.signals.answer import check_signal
from talkies.streams import Modality
from talkies.streams.batch import Batch, Condition, Denoiser, Stream


@torch.no_grad()
def heldout_loss(
    denoiser: Denoiser,
    batches: Iterable[Batch],
    flow: FlowConfig,
    *,
    bins: int,
    seed: int,
    boundary: float,
    mask_channels: int,
) -> dict[str, float]:
    """`heldout/<modality>/bin<k>` and their mean `heldout/<modality>`, for every modality of the batches.

    Bin k holds the share [k, k + 1) / `bins` of the training draw u ~ U(0, 1), least noise first, and is measured at
    its centre, shifted per modality: t = shift((k + 0.5) / bins). So the mean over bins estimates the training loss
    without text dropout, and the modalities are paired at the levels of a sampler. The video expert is the one for t at
    `boundary`; the high-noise expert is measured only if the centre of the last bin reaches the boundary. Noise is a
    function of (seed, clip id, bin). Every clip has the same weight; a clip without valid steps of a modality does not
    count there. `batches` are on the device of the denoiser, which is in eval mode with the weights to measure.
    Raises ValueError if there are no bins or no clips.
    """
    if bins < 1:
        raise ValueError(f"held-out loss in {bins} noise bins: at least 1 is needed; set validation.bins")
    shifts: dict[Modality, float] = {"video": flow.video.shift, "audio": flow.audio.shift}
    losses: dict[tuple[Modality, int], list[Tensor]] = defaultdict(list)
    for batch in batches:
        for k in range(bins):
            check_signal()
            levels = {m: shift((k + 0.5) / bins, shifts[m]) for m in batch.latents}
            expert = expert_at(levels["video"], boundary) if "video" in levels else 0
            streams, targets = _noised(batch, levels, k, seed=seed, mask_channels=mask_channels)
            predicted = denoiser(streams, Condition(text=batch.text, expert=expert))
            for m, mask in batch.masks.items():
                per_clip = per_sample_loss(predicted[m], targets[m], mask)
                losses[m, k].append(per_clip[mask.any(1)].double().cpu())
    if not losses:
        raise ValueError("held-out loss: no clips were given; set validation.clips to at least 1")
    return _means(losses, bins)


def _noised(
    batch: Batch, levels: Mapping[Modality, float], k: int, *, seed: int, mask_channels: int
) -> tuple[dict[Modality, Stream], dict[Modality, Tensor]]:
    """Streams at `levels` with bin k's noise, and the target velocities."""
    noisy, targets, times = {}, {}, {}
    for m, latent in batch.latents.items():
        noise = gaussian(seed, batch.ids, [k] * len(batch.ids), f"heldout/{m}", latent.shape[1:]).to(latent.device)
        times[m] = torch.full((len(batch.ids),), levels[m], device=latent.device)
        noisy[m], targets[m] = interpolate(latent, noise, times[m]), velocity(latent, noise)
    return as_streams(batch, noisy, times, mask_channels=mask_channels), targets


def _means(losses: dict[tuple[Modality, int], list[Tensor]], bins: int) -> dict[str, float]:
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

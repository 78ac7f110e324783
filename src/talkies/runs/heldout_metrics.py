"""Metrics of a model over held-out clips: losses, synchronisation, and per-modality quality."""

from collections.abc import Sequence
from pathlib import Path

from talkies.config import DataError
from talkies.data.shards import ShardSet
from talkies.evaluation.heldout import heldout_loss
from talkies.evaluation.report import evaluate_clips
from talkies.generate.config import SamplingConfig
from talkies.media.write import PROVENANCE
from talkies.runs.source import Source
from talkies.runs.validation import batches, decoded, sample_batch, write_samples
from talkies.signals.answer import look
from talkies.streams.codec import Media


def evaluate(
    source: Source, heldout: ShardSet, *, clips: int, sampling: SamplingConfig, seed: int, folder: Path | None = None
) -> dict[str, float]:
    """Generate one clip per held-out caption and first frame and compare with the real clips through their codecs.

    Keys: `evaluation/` before those of `heldout_loss` and `evaluate_clips`; sync_reference is the codecs' own ceiling.
    `folder`: where the first clips are kept as mp4.
    """
    if clips > len(heldout):
        raise DataError(f"evaluate: {clips} clips wanted, the held-out set has {len(heldout)}; lower --clips")
    found = batches(heldout, clips, tuple(source.grids))
    fixed = {**source.fixed, "seed": seed}
    bins = source.recipe.validation.bins
    device = source.device
    losses = heldout_loss(source.model, [b.to(device) for b in found], source.recipe.flow, bins=bins, **fixed)
    metrics = {f"evaluation/{key}": value for key, value in losses.items()}
    made: list[Media] = []
    real: list[Media] = []
    for batch in found:
        look()
        made += sample_batch(source.model, source.codecs, batch, sampling, fps=heldout.fps, device=device, **fixed)
        real += decoded(batch, source.codecs, heldout.fps, seconds=heldout.seconds)
    metrics |= {f"evaluation/{key}": value for key, value in evaluate_clips(made, real).items()}
    if folder is not None:
        captions: Sequence[str] = [caption for batch in found for caption in batch.captions]
        tags = {PROVENANCE: f"synthetic; talkies {source.name} sha256 {source.sha256[:16]}"}
        write_samples(made[:8], captions[:8], folder, tags=tags)
    return metrics

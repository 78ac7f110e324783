"""Metrics of a model over held-out clips: losses, synchronisation, and per-modality quality."""

from collections.abc import Sequence
from pathlib import Path

from talkies.config import DataError
from talkies.data.shards import ShardSet
from talkies.evaluation.heldout import heldout_loss
from talkies.evaluation.report import evaluate_clips
from talkies.flow.config import SamplingConfig
from talkies.media.write import PROVENANCE
from talkies.runs.source import Source
from talkies.runs.validation import batches, decoded, sample_batch, write_samples
from talkies.signals.answer import check_signal
from talkies.streams.codec import Media


def evaluate(
    source: Source, heldout: ShardSet, *, clips: int, sampling: SamplingConfig, seed: int, folder: Path | None = None
) -> dict[str, float]:
    """Generate one clip per held-out caption and first frame, and compare them with the decoded held-out clips.

    Keys: those of `heldout_loss` and `evaluate_clips`, prefixed with `evaluation/`; `sync_reference` is the ceiling set
    by the codecs. `folder`: receives the first 8 clips as mp4.
    """
    if clips > len(heldout):
        raise DataError(f"evaluate: {clips} clips wanted, the held-out set has {len(heldout)}; lower --clips")
    heldout_batches = batches(heldout, clips, tuple(source.grids))
    fixed = {**source.fixed, "seed": seed}
    bins = source.recipe.validation.bins
    device = source.device
    on_device = [batch.to(device) for batch in heldout_batches]
    losses = heldout_loss(source.model, on_device, source.recipe.flow, bins=bins, **fixed)
    metrics = {f"evaluation/{key}": value for key, value in losses.items()}
    generated: list[Media] = []
    real: list[Media] = []
    for batch in heldout_batches:
        check_signal()
        generated += sample_batch(source.model, source.codecs, batch, sampling, fps=heldout.fps, device=device, **fixed)
        real += decoded(batch, source.codecs, heldout.fps, seconds=heldout.seconds)
    metrics |= {f"evaluation/{key}": value for key, value in evaluate_clips(generated, real).items()}
    if folder is not None:
        captions: Sequence[str] = [caption for batch in heldout_batches for caption in batch.captions]
        tags = {PROVENANCE: f"synthetic; talkies {source.name} sha256 {source.sha256[:16]}"}
        write_samples(generated[:8], captions[:8], folder, tags=tags)
    return metrics

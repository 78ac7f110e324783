"""Metrics of a model over held-out clips: losses, synchronisation, and per-modality quality."""

import logging
from pathlib import Path

from talkies.config import DataError
from talkies.data.shards import ShardSet
from talkies.evaluation.report import evaluate_clips
from talkies.flow.config import SamplingConfig
from talkies.recipe.components import parts
from talkies.runs.cloned import heldout_tags
from talkies.runs.condition_arms import clips_of, conditions_of
from talkies.runs.condition_metrics import ablation, condition_metrics
from talkies.runs.opened import Source
from talkies.runs.task_metrics import task_metrics
from talkies.runs.track_ablation import remove_figures, track_ablation
from talkies.runs.validation import batches, captions, decoded, heldout_losses, sample_batch, write_samples
from talkies.runs.voice_arms import voice_arms
from talkies.runs.voice_examples import write_examples
from talkies.signals.answer import check_signal
from talkies.streams.codec import Media

SOUNDLESS = "this phase hears no sound, and nothing else tells what its conditions decide: ablate one that does"
FOREIGN = "what conditions decide is known of the synthetic world's clips alone"
"""Why nothing was ablated."""
_log = logging.getLogger(__name__)


def evaluate(
    source: Source,
    heldout: ShardSet,
    *,
    clips: int,
    sampling: SamplingConfig,
    seed: int,
    folder: Path | None = None,
    ablate: bool = False,
) -> dict[str, float]:
    """Generate one clip per held-out caption and first frame, and compare them with the decoded held-out clips.

    Keys: those of `heldout_loss`, `evaluate_clips`, `task_metrics`, `condition_metrics` and `voice_arms`, prefixed with
    `evaluation/`; `sync_reference` is the ceiling set by the codecs. `folder`: receives the first 8 clips, and
    those of `write_examples`.
    `ablate`: with those of `ablation` and `track_ablation`, and its pictures in `folder`.
    """
    check_count(clips, heldout)
    recipe, model = source.recipe, source.generator(heldout)
    heldout_batches = batches(heldout, clips, parts(recipe).held_out)
    on_device = [batch.to(source.device) for batch in heldout_batches]
    losses = heldout_losses(recipe, source.denoiser, on_device, seed=seed)
    metrics = {f"evaluation/{key}": value for key, value in losses.items()}
    generated: list[Media] = []
    real: list[Media] = []
    for batch in heldout_batches:
        check_signal()
        generated += sample_batch(model, batch, sampling, seed=seed, seconds=heldout.seconds)
        real += decoded(batch, model, seconds=heldout.seconds, tiles=sampling.tile_sides)
    titles = [title for batch in heldout_batches for title in captions(batch, recipe.system)]
    compared = evaluate_clips(generated, real, captions=titles)
    if model.stream_of("audio") is None:
        compared.pop("frechet_audio", None)  # the clips have the sound of the real ones
    metrics |= {f"evaluation/{key}": value for key, value in compared.items()}
    given = task_metrics(model, heldout_batches, real, sampling, seed=seed)
    clips_made = clips_of(model, heldout_batches, generated, real)
    conditions = conditions_of(model, heldout_batches[0])
    given |= condition_metrics(model, clips_made, conditions, sampling, seed=seed)
    given |= voice_arms(model, clips_made, heldout_batches, sampling, seed=seed)
    metrics |= {f"evaluation/{key}": value for key, value in given.items()}
    if folder is not None:
        remove_figures(folder)
    if ablate:
        ablated = ablation(model, clips_made, conditions, sampling, seed=seed)
        if not ablated:
            _log.warning(f"evaluate: --ablate: {SOUNDLESS if real[0].samples is None else FOREIGN}")
        metrics |= ablated | track_ablation(
            model, source.model, clips_made, conditions, sampling, seed=seed, folder=folder
        )
    if folder is not None:
        made_by = f"synthetic; talkies {source.name} sha256 {source.sha256[:16]}"
        tags = heldout_tags(made_by, recipe)
        write_samples(generated[:8], titles[:8], folder, tags=tags)
        write_examples(
            model, clips_made, heldout_batches, sampling, seed=seed, folder=folder, made_by=made_by, tags=tags
        )
    return metrics


def check_count(clips: int, heldout: ShardSet) -> None:
    """DataError for more clips than there are."""
    if clips > len(heldout):
        raise DataError(f"evaluate: {clips} clips wanted, the held-out set has {len(heldout)}; lower --clips")

"""Metrics of a model over held-out clips: losses, synchronisation, and per-modality quality."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from talkies.config import DataError
from talkies.data.shards import ShardSet
from talkies.evaluation.report import evaluate_clips
from talkies.flow.config import SamplingConfig
from talkies.generate.model import Generator
from talkies.recipe.components import parts
from talkies.runs.cloned import heldout_tags
from talkies.runs.condition_arms import Clips, clips_of, conditions_of
from talkies.runs.condition_metrics import ablation, condition_metrics
from talkies.runs.opened import Source
from talkies.runs.task_metrics import task_metrics
from talkies.runs.track_ablation import remove_figures, track_ablation
from talkies.runs.validation import batches, captions, decoded, heldout_losses, sample_batch, write_samples
from talkies.runs.voice_arms import voice_arms
from talkies.runs.voice_examples import write_examples
from talkies.signals.answer import check_signal
from talkies.streams.batch import Batch
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
    metrics = _named(heldout_losses(recipe, source.denoiser, on_device, seed=seed))
    generated, real = _clips(model, heldout_batches, sampling, seed=seed, seconds=heldout.seconds)
    titles = [title for batch in heldout_batches for title in captions(batch, recipe.system)]
    metrics |= _named(_compared(model, generated, real, titles))
    given = task_metrics(model, heldout_batches, real, sampling, seed=seed)
    clips_made = clips_of(model, heldout_batches, generated, real)
    conditions = conditions_of(model, heldout_batches[0])
    given |= condition_metrics(model, clips_made, conditions, sampling, seed=seed)
    given |= voice_arms(model, clips_made, heldout_batches, sampling, seed=seed)
    metrics |= _named(given)
    if folder is not None:
        remove_figures(folder)
    if ablate:
        metrics |= _ablated(source, model, clips_made, conditions, sampling, seed=seed, folder=folder)
    if folder is not None:
        made_by = f"synthetic; talkies {source.name} sha256 {source.sha256[:16]}"
        tags = heldout_tags(made_by, recipe)
        write_samples(generated[:8], titles[:8], folder, tags=tags)
        write_examples(
            model, clips_made, heldout_batches, sampling, seed=seed, folder=folder, made_by=made_by, tags=tags
        )
    return metrics


def _named(values: Mapping[str, float]) -> dict[str, float]:
    return {f"evaluation/{key}": value for key, value in values.items()}


def _clips(
    model: Generator, heldout: Sequence[Batch], sampling: SamplingConfig, *, seed: int, seconds: float
) -> tuple[list[Media], list[Media]]:
    """The clips that are generated for the batches, and those that these are of."""
    generated, real = list[Media](), list[Media]()
    for batch in heldout:
        check_signal()
        generated += sample_batch(model, batch, sampling, seed=seed, seconds=seconds)
        real += decoded(batch, model, seconds=seconds, tiles=sampling.tile_sides)
    return generated, real


def _compared(model: Generator, generated: list[Media], real: list[Media], titles: Sequence[str]) -> dict[str, float]:
    compared = evaluate_clips(generated, real, captions=titles)
    if model.stream_of("audio") is None:
        compared.pop("frechet_audio", None)  # the clips have the sound of the real ones
    return compared


def _ablated(
    source: Source,
    model: Generator,
    clips: Clips,
    conditions: Sequence[str],
    sampling: SamplingConfig,
    *,
    seed: int,
    folder: Path | None,
) -> dict[str, float]:
    """What the conditions decide; a warning if nothing tells."""
    ablated = ablation(model, clips, conditions, sampling, seed=seed)
    if not ablated:
        _log.warning(f"evaluate: --ablate: {SOUNDLESS if clips.real[0].samples is None else FOREIGN}")
    return ablated | track_ablation(model, source.model, clips, conditions, sampling, seed=seed, folder=folder)


def check_count(clips: int, heldout: ShardSet) -> None:
    """DataError for more clips than there are."""
    if clips > len(heldout):
        raise DataError(f"evaluate: {clips} clips wanted, the held-out set has {len(heldout)}; lower --clips")

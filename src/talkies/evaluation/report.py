"""Metrics of generated clips against reference clips."""

from collections.abc import Iterable, Sequence
from statistics import fmean, median

import torch

from talkies.config import DataError
from talkies.evaluation.frechet import audio_features, standardised_distance, video_features
from talkies.evaluation.given import speaker_metrics
from talkies.evaluation.motion import SHORTEST, motion_metrics
from talkies.evaluation.tracks import are_scenes
from talkies.streams.codec import Media
from talkies.world.events import spoken
from talkies.world.sync import shuffled, sync


def evaluate_clips(media: list[Media], reference: list[Media], *, captions: Sequence[str] = ()) -> dict[str, float]:
    """`frechet_video` and `frechet_audio` for the modalities of the clips and, for clips with both, sync metrics.

    `sync` is the mean correlation over the clips and `sync_median` the median (0 for a clip with a still mouth or
    sound), `sync_shuffled` the chance level (frames with the sound of the other clips), `sync_reference` the mean of
    the reference; `lag_ms` is the median and `lag_ms_mean` the mean lag of the clips that have one (absent if none
    has).
    Sync metrics need a reference with moving mouths and audible voices. The further `sync_reference` is above chance,
    the more they can be trusted. Of the world's scenes they compare the first mouth and the speech. Besides
    `motion_metrics` and, where the reference shows the world's speakers, `speaker_metrics`; `captions` are those that
    the clips were made for.
    Lower distances are better; they are squared, in units of the reference's deviations.
    Raises DataError for fewer than 2 clips in a set, or clips that do not all have the same modalities.
    """
    for name, clips in (("generated", media), ("reference", reference)):
        if len(clips) < 2:
            raise DataError(f"evaluation needs at least 2 {name} clips, found {len(clips)}")
    has_video, has_audio = _modalities([*media, *reference])
    metrics: dict[str, float] = {}
    if has_video:
        metrics["frechet_video"] = standardised_distance(*(_video_rows(clips) for clips in (media, reference)))
    if has_audio:
        metrics["frechet_audio"] = standardised_distance(*(_audio_rows(clips) for clips in (media, reference)))
    if has_video and has_audio and all(_frames(clip) >= 3 for clip in [*media, *reference]):
        scenes = are_scenes(reference, captions)
        metrics |= _sync_metrics(*(map(spoken, clips) if scenes else clips for clips in (media, reference)))
        metrics |= speaker_metrics(media, reference, captions=captions)
    if has_video and has_audio and all(_frames(clip) >= SHORTEST for clip in [*media, *reference]):
        metrics |= motion_metrics(media, reference)
    return metrics


def _modalities(clips: list[Media]) -> tuple[bool, bool]:
    """Whether the clips have video and audio; DataError if they differ."""
    found = {(clip.frames is not None, clip.samples is not None) for clip in clips}
    if len(found) > 1:
        raise DataError("evaluation: some clips lack a modality that others have; compare clips of one kind")
    return found.pop()


def _video_rows(clips: list[Media]) -> torch.Tensor:
    return torch.stack([video_features(clip.frames) for clip in clips if clip.frames is not None])


def _audio_rows(clips: list[Media]) -> torch.Tensor:
    return torch.stack([audio_features(clip.samples, clip.sample_rate) for clip in clips if clip.samples is not None])


def _frames(clip: Media) -> int:
    return 0 if clip.frames is None else len(clip.frames)


def _sync_metrics(media: Iterable[Media], reference: Iterable[Media]) -> dict[str, float]:
    media, ceilings = [*media], [sync(clip) for clip in reference]
    if all(score.lag_ms is None for score in ceilings):
        return {}
    scores = [sync(clip) for clip in media]
    metrics = {
        "sync": fmean(score.correlation for score in scores),
        "sync_median": median(score.correlation for score in scores),
        "sync_shuffled": shuffled(media),
        "sync_reference": fmean(score.correlation for score in ceilings),
    }
    lags = [score.lag_ms for score in scores if score.lag_ms is not None]
    if lags:
        metrics |= {"lag_ms": median(lags), "lag_ms_mean": fmean(lags)}
    return metrics

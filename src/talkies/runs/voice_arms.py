"""What a model of voices makes of scripts, settings and references, its own and those of other clips."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from talkies.evaluation.voices import (
    Heard,
    heard,
    lines_of,
    same_pitch,
    tuning_shares,
    voice_metrics,
    voice_shares,
)
from talkies.flow.config import SamplingConfig
from talkies.generate.model import Generator
from talkies.runs.condition_arms import Clips, captions_of, made, next_of, voices_of
from talkies.runs.degrading import degraded_references
from talkies.runs.validation import requests_of
from talkies.streams.batch import Batch


def voice_arms(
    model: Generator, clips: Clips, batches: Sequence[Batch], sampling: SamplingConfig, *, seed: int
) -> dict[str, float]:
    """Of a model of sound alone, and of the world's scripts: `voice_metrics`. Of one that reads a passage as its
    condition REFERENCE besides: `REFERENCE/pitch_swapped` and `timbre_swapped`, the shares of clips in the voice of
    another clip that they were given, `pitch_original`, of these in their own, and `pitch_dropped`, in their own
    without being given any; `tuning/...` as `tuning_shares`; and, where references are degraded in training,
    `degraded/...`, the same of clips whose references are.
    """
    if not clips.scripts:
        return {}
    captions, name = captions_of(model, clips.requests), clips.passage
    own = made(model, clips, sampling, seed=seed)
    found = voice_metrics(own, clips.real, captions=captions, voices=clips.voices)
    if name is None:
        return found
    lines, told = lines_of(captions), [heard(voice) for voice in clips.voices]
    assert lines is not None, "the clips are of the world's scripts"
    swapped, dropped = (
        [heard(clip) for clip in made(model, clips, sampling, seed=seed, **{how: {name}})]
        for how in ("swapped", "without")
    )
    other = voice_shares(swapped, lines, next_of(told))
    found |= {f"{name}/{key}_swapped": other[key] for key in ("pitch", "timbre")}
    found |= {f"{name}/pitch_original": _same(swapped, told), f"{name}/pitch_dropped": _same(dropped, told)}
    found |= {f"tuning/{k}": v for k, v in tuning_shares([heard(clip) for clip in own], lines, told).items()}
    if not degrades(model):
        return found
    spoilt = degraded(model, clips, batches)
    settings = [heard(voice).setting for voice in spoilt.voices]
    tuned = [heard(clip) for clip in made(model, spoilt, sampling, seed=seed)]
    told = [replace(voice, setting=setting) for voice, setting in zip(told, settings, strict=True)]
    return found | {f"degraded/{k}": v for k, v in tuning_shares(tuned, lines, told).items()}


def degrades(model: Generator) -> bool:
    """Whether the model's phase degrades references, so that they can be tuned."""
    return bool(model.system.parts(model.setup).degraded)


def degraded(model: Generator, clips: Clips, batches: Sequence[Batch]) -> Clips:
    """The clips of the batches with all references degraded; as many as `clips` are."""
    assert clips.passage is not None, "the phase degrades references"
    spoilt = [degraded_references(batch, model) for batch in batches]
    requests = [request for batch in spoilt for request in requests_of(batch, model)]
    voices, count = voices_of(model, spoilt, clips.passage), len(clips.requests)
    return replace(clips, requests=requests[:count], voices=voices[:count], films={})


def _same(sounds: Sequence[Heard], voices: Sequence[Heard]) -> float:
    return fmean(same_pitch(*pair) for pair in zip(sounds, voices, strict=True))

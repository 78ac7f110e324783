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
from talkies.generate.request import Request
from talkies.runs.condition_arms import Clips, made, next_of
from talkies.runs.degrading import degraded_references
from talkies.runs.validation import requests_of
from talkies.streams.batch import Batch
from talkies.streams.codec import Media
from talkies.streams.script import Script


def voice_arms(
    model: Generator, clips: Clips, batches: Sequence[Batch], sampling: SamplingConfig, *, seed: int
) -> dict[str, float]:
    """Of a model of sound alone, and of the world's scripts: `voice_metrics`. Of one that reads a passage as its
    condition REFERENCE besides: `REFERENCE/pitch_swapped` and `timbre_swapped`, the shares of clips in the voice of
    another clip that they were given, `pitch_original`, of these in their own, and `pitch_dropped`, in their own
    without being given any; `tuning/...` as `tuning_shares`; and, where references are degraded in training,
    `degraded/...`, the same of clips whose references are.
    """
    if model.shape is not None or model.stream_of("audio") is None:
        return {}
    captions = [caption_of(request) for request in clips.requests]
    name = next((name for name in model.grids if _passage(model, name)), None)
    voices = [] if name is None else _voices(model, batches, name)
    own = made(model, clips, sampling, seed=seed)
    found = voice_metrics(own, clips.real, captions=captions, voices=voices)
    if not found or name is None:
        return found
    lines, told = lines_of(captions), [heard(voice) for voice in voices]
    assert lines is not None, "they were measured"
    swapped, dropped = (
        [heard(clip) for clip in made(model, clips, sampling, seed=seed, **{how: {name}})]
        for how in ("swapped", "without")
    )
    other = voice_shares(swapped, lines, next_of(told))
    found |= {f"{name}/{key}_swapped": other[key] for key in ("pitch", "timbre")}
    found |= {f"{name}/pitch_original": _same(swapped, told), f"{name}/pitch_dropped": _same(dropped, told)}
    found |= {f"tuning/{k}": v for k, v in tuning_shares([heard(clip) for clip in own], lines, told).items()}
    if not model.system.parts(model.setup).degraded:
        return found
    spoilt = [degraded_references(batch, model) for batch in batches]
    requests = [request for batch in spoilt for request in requests_of(batch, model)]
    tuned = made(model, replace(clips, requests=requests, films={}), sampling, seed=seed)
    settings = [heard(voice).setting for voice in _voices(model, spoilt, name)]
    told = [replace(voice, setting=setting) for voice, setting in zip(told, settings, strict=True)]
    return found | {f"degraded/{k}": v for k, v in tuning_shares([heard(c) for c in tuned], lines, told).items()}


def caption_of(request: Request) -> str:
    """The line that a request's texts came from."""
    prompts = request.prompts
    if "script" not in prompts:
        return " ".join(prompts.values())
    return str(Script(words=prompts["script"], description=prompts.get("description", "")))


def _passage(model: Generator, name: str) -> bool:
    return name not in model.targets and model.system.stored(model.setup.codecs)[name].of == "passage"


def _voices(model: Generator, batches: Sequence[Batch], name: str) -> list[Media]:
    """The references of the batches as they sound, without their padding."""
    codec = model.codecs.sound(model.codec_of(name))
    requests = [request for batch in batches for request in requests_of(batch, model)]
    return [
        Media(
            frames=None,
            fps=model.fps,
            samples=codec.decode(request.latents[name][None].to(model.device))[0].float().clamp(-1, 1).cpu(),
            sample_rate=codec.sample_rate,
        )
        for request in requests
    ]


def _same(sounds: Sequence[Heard], voices: Sequence[Heard]) -> float:
    return fmean(same_pitch(*pair) for pair in zip(sounds, voices, strict=True))

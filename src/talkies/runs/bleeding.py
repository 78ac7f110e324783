"""How a model that hears tracks bears a demixer that does not part them: speech bleeds into the effects."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from talkies.evaluation.given import heard_with
from talkies.evaluation.tracks import speech_scores
from talkies.flow.config import SamplingConfig
from talkies.generate.model import Generator
from talkies.generate.request import Request
from talkies.media.curves import curves
from talkies.media.sound import resampled
from talkies.runs.condition_arms import Clips, made_for, tracks_of
from talkies.runs.condition_metrics import ABLATION, measured
from talkies.streams.codec import Media
from talkies.world.bands import split

PERCENT = (0, 10, 20, 30, 40, 50)
"""How much of the effects track that is given is speech."""
LABEL = "bleed"
DRAWN = {
    "effects_sync": "lamp with effects",
    "effects_speech": "lamp with speech",
    "speech_sync": "mouth with speech",
}
"""Metric -> its curve's name."""


def bleeding(
    model: Generator, clips: Clips, conditions: Collection[str], sampling: SamplingConfig, *, seed: int
) -> dict[str, float]:
    """Of a model that is given speech and effects, and of the world's scenes: what is made where the effects track is
    (1 - s) effects + s speech, for s of PERCENT, as `ablation/bleed-PERCENT/METRIC`. The other tracks are as shards
    store them. Metrics: those of `measured`, with the tracks as they are without bleed, and `effects_speech`, the
    correlation of the lamp with the speech."""
    if not clips.scenes or not {"speech", "effects"} <= {*tracks_of(model)} & {*conditions}:
        return {}
    found: dict[str, float] = {}
    for percent in PERCENT:
        pairs = zip(clips.requests, clips.real, strict=True)
        asked = [_with_effects(model, own, bled(real, percent / 100)) for own, real in pairs]
        films = heard_with(made_for(model, asked, sampling, seed=seed), clips.real)
        label = f"{LABEL}-{percent}"
        found |= measured(model, label, clips, films, swapped=())
        found |= {f"{ABLATION}/{label}/{key}": score for key, score in speech_scores(films).items()}
    return found


def bled(clip: Media, share: float) -> Media:
    """The effects of a clip, of which `share` is its speech."""
    assert clip.samples is not None
    tracks = split(clip.samples, clip.sample_rate, ["speech", "effects"])
    return replace(clip, samples=((1 - share) * tracks["effects"] + share * tracks["speech"]).float())


def draw_bleeding(metrics: Mapping[str, float], path: Path) -> None:
    """Write the curves over the share of speech as a PNG, if it was measured."""
    keys = {name: [f"{ABLATION}/{LABEL}-{percent}/{metric}" for percent in PERCENT] for metric, name in DRAWN.items()}
    lines = {name: [metrics[key] for key in row] for name, row in keys.items() if all(key in metrics for key in row)}
    if lines:
        curves(path, [percent / 100 for percent in PERCENT], lines, across="share of speech in the effects track")


def _with_effects(model: Generator, request: Request, effects: Media) -> Request:
    """The request with these effects, which the model encodes."""
    latents = {name: latent for name, latent in request.latents.items() if name != "effects"}
    return replace(request, latents=latents, given={**request.given, "effects": _fitted(model, effects)})


def _fitted(model: Generator, sound: Media) -> Tensor:
    """Samples [S] as long as the clip's effects are for the model, at the rate of their codec."""
    assert sound.samples is not None
    needed, rate = model.samples_of("effects"), model.codecs.audio[model.codec_of("effects")].sample_rate
    samples = resampled(sound.samples, sound.sample_rate, rate)[:needed]
    return torch.nn.functional.pad(samples, (0, needed - len(samples)))

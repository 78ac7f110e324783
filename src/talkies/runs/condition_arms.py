"""Held-out clips that a model makes without some of its conditions, or with those of other clips."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from torch import Tensor

from talkies.evaluation.given import heard_with, shown_shares, speaker_metrics
from talkies.evaluation.metric_info import SCORES
from talkies.evaluation.tracks import are_scenes, named_scores, wall_shares
from talkies.evaluation.voices import heard, lines_of, voice_metrics, voice_shares
from talkies.flow.config import SamplingConfig
from talkies.generate.clip import generate
from talkies.generate.model import Generator
from talkies.generate.request import Request
from talkies.runs.validation import BATCH, conditions, requests_of
from talkies.signals.answer import check_signal
from talkies.streams.batch import Batch
from talkies.streams.codec import Media
from talkies.world.events import remixed

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Clips:
    """Held-out clips: their `requests`, and as they are, decoded (`real`), with sound if the model is heard with any;
    `images` [3, H, W] in [-1, 1] of the condition `reference`, if the model reads one; `voices` as they sound in the
    condition `passage`, if it reads one; whether they are of the world's `speakers`, its `scripts` or its `scenes`; and
    the `films` made so far, by the conditions that were left out, and those that were exchanged."""

    requests: list[Request]
    real: list[Media]
    reference: str | None
    images: list[Tensor]
    passage: str | None
    voices: list[Media]
    speakers: bool
    scripts: bool
    scenes: bool
    films: dict[tuple[frozenset[str], frozenset[str]], list[Media]]


def clips_of(model: Generator, batches: Sequence[Batch], generated: list[Media], real: list[Media]) -> Clips:
    """Those of the batches, which were made with all conditions (`generated`) and decoded (`real`)."""
    requests = [request for batch in batches for request in requests_of(batch, model)]
    stored = model.system.stored(model.setup.codecs)
    reference, passage = (
        next((name for name in model.grids if name not in model.targets and stored[name].of == of), None)
        for of in ("reference", "passage")
    )
    images = [] if reference is None else _images(model, batches, reference)
    voices = [] if passage is None else voices_of(model, batches, passage)
    captions = captions_of(model, requests)
    sound_alone = model.shape is None and model.stream_of("audio") is not None
    speakers = speaker_metrics(real, real, captions=captions, images=images)
    scripts = sound_alone and voice_metrics(real, real, captions=captions, voices=voices)
    return Clips(
        requests=requests,
        real=real,
        reference=reference,
        images=images,
        passage=passage,
        voices=voices,
        speakers=bool(speakers),
        scripts=bool(scripts),
        scenes=are_scenes(real, captions),
        films={(frozenset(), frozenset()): generated},
    )


def conditions_of(model: Generator, batch: Batch) -> tuple[str, ...]:
    """The texts that a model reads, and the streams that it is given as shards store them."""
    return (*model.text_codecs, *conditions(batch, model))


def made(
    model: Generator,
    clips: Clips,
    sampling: SamplingConfig,
    *,
    seed: int,
    without: Collection[str] = (),
    swapped: Collection[str] = (),
) -> list[Media]:
    """The clips as the model makes them: `without` these conditions, and with those of the next clip for the `swapped`
    ones; the same films are made once. A model that makes no sound is heard with the sound that it was given, or the
    clip's own; of scenes, also with one in which single tracks were exchanged."""
    arm = frozenset(without), frozenset(swapped)
    if arm not in clips.films:
        clips.films[arm] = _made(model, clips, sampling, seed=seed, without=without, swapped=swapped)
    return clips.films[arm]


def _made(
    model: Generator,
    clips: Clips,
    sampling: SamplingConfig,
    *,
    seed: int,
    without: Collection[str],
    swapped: Collection[str],
) -> list[Media]:
    own, other = clips.requests, next_of(clips.requests)
    asked = [_changed(*pair, without=without, swapped=swapped) for pair in zip(own, other, strict=True)]
    found = made_for(model, asked, sampling, seed=seed)
    if model.stream_of("audio") is not None:
        return found
    return heard_with(found, _sounds(model, clips, swapped))


def made_for(model: Generator, asked: Sequence[Request], sampling: SamplingConfig, *, seed: int) -> list[Media]:
    """What a model makes for requests, in batches."""
    found: list[Media] = []
    for begin in range(0, len(asked), BATCH):
        check_signal()
        found += generate(model, asked[begin : begin + BATCH], sampling, seed=seed)
    return found


def tracks_of(model: Generator) -> tuple[str, ...]:
    """The conditions that are tracks of a sound, as the world's scenes have them."""
    return tuple(track for track in SCORES if track in model.grids and track not in model.targets)


def _sounds(model: Generator, clips: Clips, swapped: Collection[str]) -> list[Media]:
    tracks = tracks_of(model)
    if not tracks:
        return next_of(clips.real) if model.listens in swapped else clips.real
    if not clips.scenes:
        return clips.real  # nothing tells the tracks of other sounds apart
    exchanged = [track for track in tracks if track in swapped]
    return [remixed(own, other, exchanged) for own, other in zip(clips.real, next_of(clips.real), strict=True)]


def shown(model: Generator, clips: Clips, films: Sequence[Media], *, swapped: Collection[str] = ()) -> dict[str, float]:
    """`shown_shares` of `films` for what they were given, with the conditions of the next clip for the `swapped` ones;
    of sounds, `voice_shares`, and of scenes, `named_scores` and `wall_shares`. Nothing if the clips are not the world's
    speakers, scripts or scenes."""
    if not clips.speakers and not clips.scripts and not clips.scenes:
        return {}
    own, other = clips.requests, next_of(clips.requests)
    asked = [_changed(*pair, without=(), swapped=swapped) for pair in zip(own, other, strict=True)]
    captions = captions_of(model, asked)
    if clips.scenes:
        return named_scores(films) | wall_shares(films, captions)
    if clips.speakers:
        images = next_of(clips.images) if clips.reference in swapped else clips.images
        return shown_shares(films, captions=captions, images=images)
    voices = next_of(clips.voices) if clips.passage in swapped else clips.voices
    lines = lines_of(captions)
    assert lines is not None, "the clips are of the world's scripts"
    return voice_shares([heard(film) for film in films], lines, [heard(voice) for voice in voices])


def captions_of(model: Generator, requests: Sequence[Request]) -> list[str]:
    """The line that the texts of each request came from; nothing if there are none."""
    return [model.system.captions.joined(request.prompts) for request in requests if request.prompts]


def next_of(values: Sequence[T]) -> list[T]:
    """What the next clip has, for every clip."""
    return [*values[1:], *values[:1]]


def _changed(own: Request, other: Request, *, without: Collection[str], swapped: Collection[str]) -> Request:
    source = {name: other if name in swapped else own for name in (*own.prompts, *own.latents)}
    latents = {name: source[name].latents[name] for name in own.latents if name not in without}
    return replace(
        own,
        prompts={name: "" if name in without else source[name].prompts[name] for name in own.prompts},
        latents=latents,
        starts={name: source[name].starts[name] for name in own.starts if name in latents},
    )


def _images(model: Generator, batches: Sequence[Batch], name: str) -> list[Tensor]:
    """The references of the batches, decoded: what was repeated is alike, and the last picture stands for all."""
    codec = model.codecs.video[model.codec_of(name)]
    return [film[-1].clamp(-1, 1) for batch in batches for film in codec.decode(batch.streams[name].latent).cpu()]


def voices_of(model: Generator, batches: Sequence[Batch], name: str) -> list[Media]:
    """The passages of the batches, the condition `name`, as they sound, without their padding."""
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

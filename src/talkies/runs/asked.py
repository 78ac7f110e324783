"""From what is asked for to the request that a model takes: files are read, and what the model does not take is
refused."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from talkies.config import DataError, RecipeError
from talkies.config.quoting import listed
from talkies.flow.config import SamplingConfig, Scale
from talkies.flow.ladder import left_out
from talkies.generate.given import Given, check_audible, given_film, given_sound
from talkies.generate.given_tracks import GivenTracks
from talkies.generate.image import check_image, load_image
from talkies.generate.model import Generator
from talkies.generate.prompts import MEDIA, SOUNDS, TRACKS, Asked
from talkies.generate.request import Request
from talkies.generate.wording import check_script
from talkies.media.carried import Medium
from talkies.media.probe import probe
from talkies.parallel.ranks import Ranks
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe
from talkies.recipe.media import makes, takes
from talkies.runs.cloned import cloned, passage_of, provenance, warn_of_consent
from talkies.runs.duration import duration, warn_of_haste
from talkies.runs.tracks import streams_of, tracks_of
from talkies.streams.script import Script

T = TypeVar("T")
_log = logging.getLogger(__name__)
WHITE = "with a white frame, since no image is given; users report flat colours in 40 % of such clips: give"


@dataclass(frozen=True, kw_only=True)
class Read:
    """What was asked for, as a model takes it. `beside`: the medium that is given, its file, and what the request holds
    of it; `tracks`: those of a sound, given as files; `notes`: what differs from the files; `tags` of the
    clip's file."""

    request: Request
    beside: tuple[Medium, Path, Given] | None = None
    tracks: GivenTracks | None = None
    notes: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


def negative_prompt(asked: Asked, recipe: PhaseRecipe, sampling: SamplingConfig) -> dict[str, str]:
    """Text -> the negative prompt, for the texts that guidance leaves out; RecipeError if there is none, or if it says
    nothing to any of them."""
    if asked.negative is None:
        return {}
    option, scales = asked.at("negative"), _scales(asked, recipe, sampling)
    texts = left_out(recipe.system.ladder(recipe), scales, sampling.steps) & parts(recipe).texts
    if not texts:
        begin = f"{option}: without a voice" if scales.keys() < sampling.scales.keys() else f"{option}:"
        raise RecipeError(
            f"{begin} no evaluation leaves the prompt out, so nothing leads away "
            "from it: set the guidance scale of the prompt (such as --text-scale) to another value than 1, or drop it"
        )
    written = {name: recipe.system.captions.written(name, asked.negative) for name in sorted(texts)}
    if not any(written.values()):
        raise RecipeError(f"{option} says neither what is heard nor what is said: write it, or drop it")
    return written


def _scales(asked: Asked, recipe: PhaseRecipe, sampling: SamplingConfig) -> dict[str, Scale]:
    """Those that guide: without that of a voice which is not given (generate/clip.py)."""
    absent = None if "voice" in asked.files else passage_of(recipe)
    return {name: scale for name, scale in sampling.scales.items() if name != absent}


def check_asked(asked: Asked, recipe: PhaseRecipe, sampling: SamplingConfig, source: str) -> None:
    """What `request_of` checks without codecs. The files of one clip are opened; those of many, when they are read."""
    negative_prompt(asked, recipe, sampling)
    _check_media(asked, recipe, source)
    _check_wording(asked, recipe)
    duration(asked, recipe)
    if asked.where is not None:
        return
    cloned(asked, recipe)
    if "image" in asked.files:
        _named(asked, check_image)
    for name in sorted(asked.files.keys() & {*SOUNDS, "video"}):
        probe(asked.files[name])


def request_of(asked: Asked, model: Generator, recipe: PhaseRecipe, sampling: SamplingConfig, source: str) -> Read:
    """The request, with all that comes with it. `source`: what the model is called in messages.

    Raises RecipeError for what the model does not take, DataError for files that cannot be used, with the line that
    names them.
    """
    negative = negative_prompt(asked, recipe, sampling)
    _check_media(asked, recipe, source)
    _check_wording(asked, recipe)
    _check_length(asked, model)
    image = None if "image" not in asked.files else _image(asked, model)
    try:
        given = _given(asked, model, whole=sampling.windows is not None)
        tracks = tracks_of(asked, model, whole=sampling.windows is not None)
    except DataError as error:
        raise _told(asked, str(error)) from None
    voice = cloned(asked, recipe)
    heard = {} if voice is None else {voice.stream: voice.samples}
    request = Request(
        prompts={name: recipe.system.captions.written(name, asked.prompt or "") for name in model.text_codecs},
        image=image,
        id=asked.name,
        given={**heard, **({} if given is None else {given[0]: given[3].values}), **streams_of(tracks, model)},
        negative=negative,
        seed=asked.seed,
        seconds=duration(asked, recipe),
    )
    notes = () if voice is None else tuple(f"{asked.files['voice']}: {note}" for note in voice.notes)
    beside = None if given is None else given[1:]
    if tracks is not None and tracks.given is not None:
        beside = "audio", asked.files["audio"], tracks.given
    read = None if tracks is None or tracks.given is not None else tracks.tracks
    notes += () if tracks is None else tracks.tracks.notes
    return Read(request=request, beside=beside, tracks=read, notes=notes, tags=provenance(asked))


def _told(asked: Asked, error: str) -> DataError:
    """An error of a file that is given, with what asks for it in place of `sample`."""
    if asked.where is not None:
        return DataError(f"{asked.verb}: {asked.where}: {error.removeprefix('sample: ')}")
    return DataError(f"{asked.verb}: {error.removeprefix('sample: ')}" if error.startswith("sample: ") else error)


def warn(asked: Sequence[Asked], model: Generator, recipe: PhaseRecipe, ranks: Ranks) -> None:
    """Warn, once each, of what is missing from what is asked for."""
    _warn_of_white(asked, model, ranks)
    warn_of_haste(asked, recipe, ranks)
    warn_of_consent(asked, ranks)


def _warn_of_white(asked: Sequence[Asked], model: Generator, ranks: Ranks) -> None:
    """Warn, once, of the clips that begin with a white frame, though an image could be given."""
    white = [one for one in asked if model.first_frame and not one.files.keys() & {"image", "video"}]
    if not white or not ranks.main:
        return
    if white[0].where is None:
        _log.warning(f"{white[0].verb}: the clip begins {WHITE} --image FILE")
    else:
        begin = f"{len(white)} of {len(asked)} clips begin" if len(asked) > 1 else "the clip begins"
        _log.warning(f"{white[0].verb}: {begin} {WHITE} an `image` in their lines")


LACKS = {
    "image": "takes no image",
    "voice": "takes no voice",
    "audio": "does not make a video for a sound",
    "video": "does not make a sound for a film",
    **{track: f"hears no {track}" for track in TRACKS},
}
"""Medium -> what a model says of itself that cannot be given it."""


def _check_media(asked: Asked, recipe: PhaseRecipe, source: str) -> None:
    """RecipeError for files that the system, or this phase of it, does not take, alone or together."""
    system, taken = recipe.system, takes(recipe)
    for name in (name for name in MEDIA if name in asked.files):
        option = asked.at(name)
        if name not in system.options:
            known = ", ".join(f"--{other}" for other in system.options) or "none"
            raise RecipeError(f"{option}: {system.kind} models take no such file; they take: {known}")
        if name not in taken:
            raise RecipeError(f"{option}: {source} {_lacks(asked, name, recipe)}; drop it")
    if "audio" in asked.files and (parted := sorted(asked.files.keys() & {*TRACKS})):
        drop = "drop --audio" if asked.where is None else "drop the `audio`"
        raise RecipeError(f"{asked.at(parted[0])} is a track of a sound, which the audio is as a whole: {drop}")
    if {"audio", "video"} <= asked.files.keys():
        both = "--audio and --video" if asked.where is None else f"{asked.where}: `audio` and `video`"
        raise RecipeError(f"{asked.verb}: {both} give everything, and leave nothing to make: give one of them")
    if {"image", "video"} <= asked.files.keys():
        drop = "drop --image" if asked.where is None else "drop the `image`"
        raise RecipeError(f"{asked.at('video')} has a first frame of its own; {drop}")


def _lacks(asked: Asked, name: str, recipe: PhaseRecipe) -> str:
    """What a phase says of itself that cannot be given the medium `name`."""
    if name == "image" and makes(recipe) == ("audio",):
        return "generates sound only"
    if name == "audio" and (tracks := [asked.option(track) for track in TRACKS if track in takes(recipe)]):
        return f"cannot demix a sound, whose tracks it hears: give {listed(tracks)}"
    return LACKS[name]


def _check_wording(asked: Asked, recipe: PhaseRecipe) -> None:
    """RecipeError for a part of the prompt that the system does not take apart, or a script that cannot be said."""
    wording = recipe.system.captions.wording
    for name in asked.worded:
        if name not in wording:
            raise RecipeError(f"{asked.at(name)}: {recipe.system.kind} models have no such text; give a prompt")
    if wording and asked.prompt is not None:
        check_script(asked.prompt, asked.at("prompt"))


def _check_length(asked: Asked, model: Generator) -> None:
    """RecipeError for a script that a text encoder would cut: words that nobody says are no speech."""
    captions, prompt = model.system.captions, asked.prompt or ""
    if not captions.wording or not Script.parse(prompt).words:
        return
    for name, codec in model.text_codecs.items():
        if excess := model.codecs.text[codec].overflow(captions.written(name, prompt)):
            option = asked.at("script" if "script" in asked.worded else "prompt")
            raise RecipeError(f"{option}: the text is too long for this model's encoder by {excess} units: shorten it")


def _image(asked: Asked, model: Generator) -> Tensor:
    assert model.shape is not None, "what takes an image makes pictures"
    _, height, width = model.shape
    return _named(asked, partial(load_image, height=height, width=width))


def _named(asked: Asked, read: Callable[[Path], T]) -> T:
    """What is read of the image; DataError that begins with what names it."""
    try:
        return read(asked.files["image"])
    except DataError as error:
        raise DataError(f"{asked.at('image')}: {error}") from None


def _given(asked: Asked, model: Generator, *, whole: bool) -> tuple[str, Medium, Path, Given] | None:
    """The stream that is given, its medium, the file and the values."""
    if "audio" in asked.files and not model.tracks:
        return _given_sound(asked, model, whole=whole)
    return None if "video" not in asked.files else _given_film(asked, model)


def _given_sound(asked: Asked, model: Generator, *, whole: bool) -> tuple[str, Medium, Path, Given]:
    stream = model.listens
    assert stream is not None, "what takes a sound makes a video for it"
    path = asked.files["audio"]
    rate, samples = model.codecs.audio[model.codec_of(stream)].sample_rate, model.samples_of(stream)
    more = None if whole else (model.hears(stream) - samples) / rate
    given = given_sound(path, sample_rate=rate, samples=samples, more=more)
    if stream not in model.targets:
        check_audible(path, given.values, rate)
    return stream, "audio", path, given


def _given_film(asked: Asked, model: Generator) -> tuple[str, Medium, Path, Given]:
    film, path = model.stream_of("video"), asked.files["video"]
    assert film is not None, "what takes a film makes one"
    assert model.shape is not None
    frames, height, width = model.shape
    return film, "video", path, given_film(path, frames=frames, fps=model.fps, height=height, width=width)

"""A performance: takes of a script by a model of sound, and films of those that were chosen, by a model of video.

Sound comes first, since it costs a thousandth: p(sound, video | text) = p(sound | text) p(video | sound, text).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from talkies.config import RecipeError
from talkies.config.regular_files import present
from talkies.flow.config import SamplingConfig, WindowsConfig
from talkies.generate.prompts import Asked
from talkies.media.loudness import loudness
from talkies.media.probe import probe
from talkies.media.sound import read_audio, sound_end
from talkies.media.timeline import find_beginning
from talkies.media.write import OURS, read_tags
from talkies.parallel.ranks import Ranks
from talkies.planning.sampling_flops import sampling_flops
from talkies.prepare.geometry import Geometry
from talkies.recipe.check import grids
from talkies.recipe.config import PhaseRecipe
from talkies.recipe.media import makes, takes
from talkies.recipe.sampling import check_sampling
from talkies.runs.asked import check_asked, request_of
from talkies.runs.cloned import CONSENT, VOICE
from talkies.runs.opened import Source
from talkies.runs.run_sample import Wanted, make_together
from talkies.runs.run_samples import make_clips
from talkies.runs.source import Opening
from talkies.streams.script import Script
from talkies.world.recognition import accuracy, recognise
from talkies.world.scripts import SYLLABLES

TAKE = f"{OURS}take"
"""The tag of a film that says which take is heard."""


@dataclass(frozen=True, kw_only=True)
class Take:
    """A take in its file: its `seconds`, its `loudness` in LUFS, and the `accuracy` of what is recognised of the script
    (None: nothing here recognises its words)."""

    path: Path
    seconds: float
    loudness: float
    accuracy: float | None


def takes_in(folder: Path, most: int) -> int:
    """How many takes in a row are in `folder`, from the first on; at most `most`."""
    return next((count for count in range(most) if not present(folder / f"take-{count + 1}.wav")), most)


def asked_takes(asked: Asked, count: int) -> list[Asked]:
    """The takes of what is asked for: the same but for their noise."""
    return [replace(asked, name=f"take-{number}") for number in range(1, count + 1)]


def check_audio(asked: Asked, source: str, opening: Opening) -> None:
    """RecipeError or DataError for a model that does not say scripts, or cannot be asked for this one."""
    recipe = opening.recipe
    if makes(recipe) != ("audio",) or "script" not in recipe.system.captions.wording:
        raise RecipeError(f"{_unfit('--audio-model', recipe)} does not say scripts: give a model of sound that does")
    check_asked(asked, recipe, recipe.sampling, source)


def check_video(recipe: PhaseRecipe) -> None:
    """RecipeError for a model that makes no video for a sound."""
    if "audio" not in takes(recipe) or "video" not in makes(recipe):
        found = _unfit("--video-model", recipe)
        raise RecipeError(f"{found} does not make a video for a sound: give a model that does")


def _unfit(option: str, recipe: PhaseRecipe) -> str:
    return f"perform: {option}: {recipe.name} ({recipe.system.kind}, {recipe.phase.kind})"


def check_film(asked: Asked, recipe: PhaseRecipe, source: str) -> None:
    """RecipeError or DataError for a film that a model, which makes films, cannot be asked for. The take may not be
    made yet."""
    check_sampling(recipe, film_sampling(recipe))
    given = {name: path for name, path in asked.files.items() if name != "audio"}
    check_asked(replace(asked, files=given), recipe, film_sampling(recipe), source)


def film_sampling(recipe: PhaseRecipe) -> SamplingConfig:
    """That of the recipe, with windows: a film is as long as its take."""
    return replace(recipe.sampling, windows=recipe.sampling.windows or WindowsConfig())


def make_takes(
    source: Source, asked: Sequence[Asked], *, spec: str, folder: Path, ranks: Ranks, say: Callable[[str], None] = print
) -> list[Take]:
    """The takes in `folder`; those that it lacks are made. `spec`: what the source is called in messages."""
    began, there = monotonic(), [present(folder / f"{one.name}.wav") for one in asked]
    make_clips(source, asked, source.recipe.sampling, spec=spec, out=folder, ranks=ranks, say=say)
    if ranks.main and not all(there):
        count = there.count(False)
        say(f"perform:  sound: {count} takes in {monotonic() - began:.1f} s")
    return [measured(folder / f"{one.name}.wav", one.prompt or "") for one in asked] if ranks.main else []


def measured(path: Path, caption: str) -> Take:
    """What is known of a take."""
    rate = probe(path).audio_rate
    assert rate is not None, "a take is a sound"
    begin = find_beginning(path, modalities=("audio",))
    samples = read_audio(path, sample_rate=rate, seconds=sound_end(path) - begin.seconds, begin=begin)
    words = tuple(word for turn in Script.parse(caption).turns for word in turn.text.split())
    known = all(word in SYLLABLES for word in words)
    return Take(
        path=path,
        seconds=len(samples) / rate,
        loudness=loudness(samples, rate),
        accuracy=accuracy(recognise(samples, rate), words) if known else None,
    )


def table_of(found: Sequence[Take]) -> list[str]:
    """The lines of a table of takes."""
    lines = ["take  seconds   LUFS  script  file"]
    for number, take in enumerate(found, 1):
        said = "     -" if take.accuracy is None else f"{take.accuracy:6.2f}"
        lines.append(f"{number:4d}  {take.seconds:7.2f}  {take.loudness:5.1f}  {said}  {take.path}")
    return lines


def costs(audio: PhaseRecipe, video: PhaseRecipe | None, count: int) -> str:
    """What both stages compute, in one line: for clips as long as those of the recipes."""
    sound, seconds = _flops(audio)
    line = f"perform:  {count} takes of {seconds:g} s are {count * sound:.1e} FLOPs"
    if video is None:
        return line
    film, seconds = _flops(video)
    return f"{line}, {seconds:g} s of film {film:.1e}: as many as {film / sound:,.1f} takes"


def _flops(recipe: PhaseRecipe) -> tuple[int, float]:
    """FLOPs of a clip, and its seconds."""
    geometry = Geometry.parse(recipe.data.geometry, key="data.geometry")
    return sampling_flops(recipe, grids(recipe, geometry)), float(geometry.seconds)


def make_film(
    source: Source,
    asked: Asked,
    *,
    spec: str,
    out: Path,
    ranks: Ranks,
    say: Callable[[str], None] = print,
) -> None:
    """The film of a take, which `asked` gives as its sound, at `out`, with the take's word on whose voice it is."""
    take, sampling, began = asked.files["audio"], film_sampling(source.recipe), monotonic()
    read = request_of(asked, source.generator(), source.recipe, sampling, spec)
    kept = {name: text for name, text in read_tags(take).items() if name in (VOICE, CONSENT)}
    wanted = Wanted(
        request=read.request,
        out=out,
        beside=read.beside,
        notes=read.notes,
        tags={**read.tags, **kept, TAKE: take.name},
        verb=asked.verb,
    )
    make_together(source, [wanted], sampling, ranks=ranks, say=say)
    if ranks.main:
        say(f"perform:  video: {monotonic() - began:.1f} s")

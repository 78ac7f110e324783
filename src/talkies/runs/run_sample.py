"""Sampled clips, as files with their provenance."""

from collections import deque
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from torch import Tensor

from talkies.config.quoting import one_line
from talkies.data.shards import ShardSet
from talkies.flow.config import SamplingConfig
from talkies.generate.clip import generate
from talkies.generate.given import Given
from talkies.generate.given_tracks import GivenTracks
from talkies.generate.model import Generator as Model
from talkies.generate.request import Request
from talkies.generate.windows import generate_long, heard_from, windows_for
from talkies.media.carried import Medium
from talkies.media.mux import write_beside
from talkies.media.write import PROVENANCE, Pieces
from talkies.media.write_sound import write_media
from talkies.parallel.ranks import Ranks
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe, Systems
from talkies.recipe.media import makes
from talkies.runs.cloned import VOICE, heldout_voice, note_cloned
from talkies.runs.opened import Source
from talkies.runs.place import place_of
from talkies.runs.source import open_source
from talkies.runs.validation import batches, decoded, requests_of
from talkies.streams.codec import Media

TITLE = 200
ONLY = {"video": ", video without sound", "audio": ", sound without video"}
"""What is missing, by the only medium that a model makes."""
EVERY_S = 30.0
"""Seconds between two lines about clips that are being made."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A clip to make and to write to `out`, with more `tags`; a given stream is copied from its file (`beside`: its
    medium, the file, and what the request holds of it), and with `tracks` it is heard with their sum. `notes`: what
    differs from files that are given; `verb`: what asks for it."""

    request: Request
    out: Path
    beside: tuple[Medium, Path, Given] | None = None
    tracks: GivenTracks | None = None
    notes: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    verb: str = "sample"


def suffix_of(recipe: PhaseRecipe) -> str:
    """That of the files of clips, unless another one is asked for."""
    return ".mp4" if "video" in makes(recipe) else ".wav"


class Steps:
    """Says, now and then, how far a sampler of `steps` steps is."""

    def __init__(self, steps: int, say: Callable[[str], None]) -> None:
        self._steps, self._say, self._last = steps, say, monotonic()

    def __call__(self, done: int) -> None:
        """After so many steps."""
        if done < self._steps and monotonic() - self._last >= EVERY_S:
            self._last = monotonic()
            self._say(f"sample:   step {done} of {self._steps}")


def make_clip(
    source: Source,
    request: Request,
    sampling: SamplingConfig,
    *,
    seed: int,
    out: Path,
    ranks: Ranks,
    beside: tuple[Medium, Path, Given] | None = None,
    heard: Media | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Generate one clip, or in windows the film of a longer sound, and write it with its provenance; a given stream is
    copied from its file (`beside`: its medium, the file, and what the request holds of it), and a model that makes no
    sound is heard with that of `heard`. Every process of `ranks` calls it."""
    wanted = Wanted(request=replace(request, seed=seed), out=out, beside=beside)
    make_together(source, [wanted], sampling, ranks=ranks, heard=heard, say=say)


def make_together(
    source: Source,
    wanted: Sequence[Wanted],
    sampling: SamplingConfig,
    *,
    ranks: Ranks,
    heard: Media | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """As `make_clip`, for clips that are made as one batch (`alike`); each is written as a file of its own."""
    model, progress = source.generator(), Steps(sampling.steps, say) if ranks.main else None
    windows = windows_for(model, wanted[0].request, sampling)
    if windows is not None:
        (one,) = wanted
        assert one.request.seed is not None
        seed = one.request.seed
        film = generate_long(model, one.request, sampling, windows=windows, seed=seed, progress=progress)
        write = partial(_write, source, one, notes=windows.notes(model.fps), say=say)
        ranks.agree(partial(_taken, ranks.in_step(film), write if ranks.main else None, model))
        return
    asked = [heard_from(model, w.request, 0) for w in wanted]
    for one, made in zip(wanted, generate(model, asked, sampling, seed=0, progress=progress), strict=True):
        media = made if heard is None else replace(made, samples=heard.samples, sample_rate=heard.sample_rate)
        silent = heard is None and one.beside is None and one.tracks is None
        ranks.agree(partial(_write, source, one, media, silent=silent, say=say) if ranks.main else None)


def alike(source: Source, request: Request, sampling: SamplingConfig) -> Hashable:
    """Requests for which this is equal, and not None, can be made as one batch."""
    model = source.generator()
    if windows_for(model, request, sampling) is not None:
        return None
    lasts = tuple(model.lasting(request.seconds).grids[name].shape for name in model.targets)
    return frozenset(request.given), request.image is None and not model.first_frame, lasts


def _write(
    source: Source,
    wanted: Wanted,
    media: Media | Pieces,
    *,
    say: Callable[[str], None],
    silent: bool = False,
    notes: tuple[str, ...] = (),
) -> None:
    """Write one clip, and say what was done. `silent`: it has no more than what the model makes."""
    request, out, seed = wanted.request, wanted.out, wanted.request.seed
    title = source.recipe.system.captions.joined(request.prompts)[:TITLE] if request.prompts else ""
    made_by = f"synthetic; talkies {source.name} sha256 {source.sha256[:16]} seed {seed}"
    made_by += "; cloned voice" if VOICE in wanted.tags else ""
    tags = {PROVENANCE: made_by, "title": title, **wanted.tags}
    for note in wanted.notes:
        say(f"sample:   {note}")
    made = [medium for medium in ONLY if source.generator().stream_of(medium) is not None]
    only = ONLY[made[0]] if len(made) == 1 and silent else ""
    tracks = source.generator().tracks.keys()
    only += ", without tracks" if tracks and not tracks & {*request.given, *request.latents} else ""
    if wanted.beside is not None:
        medium, path, given = wanted.beside
        for note in (*given.notes, *notes):
            say(f"sample:   {path}: {note}")
        write_beside(out, media, path, medium, begin=given.begin, tags=tags)
    elif wanted.tracks is not None:
        for note in notes:
            say(f"sample:   {note}")
        _write_with_tracks(out, media, wanted.tracks, tags=tags)
    else:
        assert isinstance(media, Media), "windows are for a given sound"
        write_media(out, media, tags=tags)
    note_cloned(source.run, out, tags, verb=wanted.verb)
    shown = f": {one_line(title)}" if title else ""
    say(f"sample:   {out} ({source.name}, seed {seed}{only}){shown}")


def _write_with_tracks(out: Path, media: Media | Pieces, tracks: GivenTracks, *, tags: Mapping[str, str]) -> None:
    """Write a clip, or a film in pieces, with the sum of its tracks."""
    with TemporaryDirectory() as folder:
        mixed = Path(folder) / "mix.wav"
        write_media(mixed, Media(frames=None, fps=1.0, samples=tracks.mix, sample_rate=tracks.sample_rate), tags={})
        write_beside(out, media, mixed, "audio", begin=0.0, tags=tags)


def _taken(pieces: Generator[Tensor, None, None], write: Callable[[Pieces], None] | None, model: Model) -> None:
    """Give the film to `write`, or, where another process writes it, only take part in making it."""
    assert model.shape is not None
    _, height, width = model.shape
    with closing(pieces):
        if write is None:
            deque(pieces, maxlen=0)
        else:
            write(Pieces(pieces=pieces, height=height, width=width, fps=model.fps))


def sample_heldout(
    spec: str,
    run: Path,
    *,
    registry: Callable[[str], Path],
    out: Path,
    ranks: Ranks,
    systems: Systems,
    say: Callable[[str], None] = print,
) -> None:
    """Sample a registered version with the caption, the first frame and the conditions of a held-out clip of the run's
    data. A model that makes no sound is heard with the clip's own."""
    source = open_source(spec, registry, ranks, systems=systems)
    heldout = ShardSet.open(place_of(run).data_root / "sets" / source.recipe.data.heldout)
    batch = batches(heldout, 1, parts(source.recipe).held_out)[0]
    model = source.generator()
    request = replace(requests_of(batch, model)[0], id="sample", seed=0)
    heard = None
    if model.stream_of("audio") is None and model.heard is not None:
        heard = decoded(batch, model, seconds=heldout.seconds)[0]
    wanted = Wanted(request=request, out=out, tags=heldout_voice(source.recipe), verb="train")
    make_together(source, [wanted], source.recipe.sampling, ranks=ranks, heard=heard, say=say)

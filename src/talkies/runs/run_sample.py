"""One sampled clip, as an mp4 with its provenance."""

from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import Tensor

from talkies.config.quoting import one_line
from talkies.data.shards import ShardSet
from talkies.flow.config import SamplingConfig
from talkies.generate.clip import generate
from talkies.generate.given import Given
from talkies.generate.model import Generator as Model
from talkies.generate.request import Request
from talkies.generate.windows import generate_long, heard_from, windows_for
from talkies.media.carried import Medium
from talkies.media.mux import write_beside
from talkies.media.write import PROVENANCE, Pieces, write_mp4
from talkies.parallel.ranks import Ranks
from talkies.recipe.components import parts
from talkies.recipe.config import Systems
from talkies.runs.place import place_of
from talkies.runs.source import Source, open_source
from talkies.runs.validation import batches, decoded, requests_of
from talkies.streams.codec import Media

TITLE = 200
ONLY = {"video": ", video without sound", "audio": ", sound without video"}
"""What is missing, by the only medium that a model makes."""


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
    model = source.generator()
    title = " ".join(request.prompts.values())[:TITLE]
    tags = {PROVENANCE: f"synthetic; talkies {source.name} sha256 {source.sha256[:16]} seed {seed}", "title": title}
    made = [medium for medium in ONLY if model.stream_of(medium) is not None]
    only = ONLY[made[0]] if len(made) == 1 and beside is None and heard is None else ""
    windows = windows_for(model, request, sampling)

    def write(media: Media | Pieces) -> None:
        if beside is not None:
            medium, path, given = beside
            for note in (*given.notes, *(windows.notes(model.fps) if windows is not None else ())):
                say(f"sample:   {path}: {note}")
            write_beside(out, media, path, medium, begin=given.begin, tags=tags)
        else:
            assert isinstance(media, Media), "windows are for a given sound"
            write_mp4(out, media, tags=tags)
        shown = f": {one_line(title)}" if title else ""
        say(f"sample:   {out} ({source.name}, seed {seed}{only}){shown}")

    if windows is None:
        asked = heard_from(model, request, 0) if model.listens in request.given else request
        media = generate(model, [asked], sampling, seed=seed)[0]
        if heard is not None:
            media = replace(media, samples=heard.samples, sample_rate=heard.sample_rate)
        ranks.agree(partial(write, media) if ranks.main else None)
    else:
        pieces = ranks.in_step(generate_long(model, request, sampling, windows=windows, seed=seed))
        ranks.agree(partial(_taken, pieces, write if ranks.main else None, model))


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
    request = replace(requests_of(batch, model)[0], id="sample")
    heard = None
    if model.stream_of("audio") is None and model.heard is not None:
        heard = decoded(batch, model, seconds=heldout.seconds)[0]
    make_clip(source, request, source.recipe.sampling, seed=0, out=out, ranks=ranks, heard=heard, say=say)

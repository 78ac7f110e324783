"""One sampled clip, as an mp4 with its provenance."""

from collections.abc import Callable
from pathlib import Path

from talkies.config.quoting import one_line
from talkies.data.shards import ShardSet
from talkies.generate.clip import Request, generate
from talkies.generate.config import SamplingConfig
from talkies.media.write import PROVENANCE, write_mp4
from talkies.parallel.ranks import Ranks
from talkies.runs.place import place_of
from talkies.runs.source import Source, open_source
from talkies.runs.validation import batches, first_frames

TITLE = 200
ONLY = {"video": ", video without sound", "audio": ", sound without video"}


def make_clip(
    source: Source,
    request: Request,
    sampling: SamplingConfig,
    *,
    seed: int,
    out: Path,
    ranks: Ranks,
    say: Callable[[str], None] = print,
) -> None:
    """Generate one clip and write it with its provenance. Every process of `ranks` calls it."""
    fixed = {"grids": source.grids, "fps": source.fps, "seed": seed, "device": source.device, **source.fixed}
    media = generate(source.model, source.codecs, [request], sampling, **fixed)[0]
    tags = {PROVENANCE: f"synthetic; talkies {source.name} sha256 {source.sha256[:16]} seed {seed}"}
    only = ONLY[next(iter(source.grids))] if len(source.grids) == 1 else ""

    def write() -> None:
        write_mp4(out, media, tags={**tags, "title": request.prompt[:TITLE]})
        say(f"sample:   {out} ({source.name}, seed {seed}{only}): {one_line(request.prompt[:TITLE])}")

    ranks.agree(write if ranks.main else None)


def sample_heldout(
    spec: str,
    run: Path,
    *,
    registry: Callable[[str], Path],
    out: Path,
    ranks: Ranks,
    say: Callable[[str], None] = print,
) -> None:
    """Sample a registered version with the caption and the first frame of a held-out clip of the run's data."""
    source = open_source(spec, registry, ranks)
    root = place_of(run).data_root
    batch = batches(ShardSet.open(root / "sets" / source.recipe.data.heldout), 1, tuple(source.grids))[0]
    request = Request(prompt=batch.captions[0], image=first_frames(batch, source.codecs)[0], id="sample")
    make_clip(source, request, source.recipe.sampling, seed=0, out=out, ranks=ranks, say=say)

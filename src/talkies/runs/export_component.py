"""A component of a release as the files of a layout: where each tensor's bytes come from, under its name there."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from talkies.checkpoints.release import component_files, current_names
from talkies.streams.layout import Held
from talkies.training.merging import Merging
from talkies.weights.headers import read_header
from talkies.weights.pieces import Outgoing, Piece
from talkies.weights.shards import Shard, divided, shard_name

Make = Callable[[str, Piece], Outgoing]


def shards_of(release: Path, component: str, held: Held, *, merging: Merging | None, limit: int | None) -> list[Shard]:
    """The component in files of at most `limit` bytes, or (None) divided, ordered and headed as the release has it.
    `merging`: adds an adapter to the tensors while they are written. CheckpointError if that is for another network."""
    made = partial(_outgoing, component, held, merging)
    files = component_files(release, component)
    rename = current_names(release, component)
    shards = [
        _mirrored(path, shard_name(held.stem, number, len(files)), lambda key, piece: made(rename(key), piece))
        for number, path in enumerate(files, 1)
    ]
    if limit is None:
        return shards
    tensors = sorted((tensor for shard in shards for tensor in shard.tensors), key=lambda tensor: tensor.name)
    return divided(held.stem, tensors, limit)


def _mirrored(path: Path, file: str, made: Make) -> Shard:
    """The file `path` under other names, in its own order."""
    content = read_header(path)
    pairs = [(made(key, piece), piece) for key, piece in content.pieces.items()]
    stored = sorted(pairs, key=lambda pair: pair[1].begin)
    return Shard(
        file=file,
        tensors=[tensor for tensor, _ in stored],
        listed=[tensor.name for tensor, _ in pairs],
        metadata=content.metadata,
    )


def _outgoing(component: str, held: Held, merging: Merging | None, name: str, piece: Piece) -> Outgoing:
    made = piece.chunks if merging is None else partial(merging.chunks, f"{component}.{name}", piece)
    return Outgoing(name=held.theirs(name), dtype=piece.dtype, shape=piece.shape, size=piece.size, chunks=made)

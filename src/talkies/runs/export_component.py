"""Components of a release as the files of a layout: where each tensor's bytes come from, under its name there."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from talkies.checkpoints.release import component_files, current_names
from talkies.streams.layout import Held
from talkies.training.merging import Merging
from talkies.weights.headers import read_header
from talkies.weights.pieces import Outgoing, Piece
from talkies.weights.shards import Shard, arranged, divided, shard_name

SHARD_SIZE = 5 * 10**9
"""Bytes of the largest files, unless something else is asked for."""
Make = Callable[[str, Piece], Outgoing]


def shards_of(
    release: Path,
    components: Mapping[str, Held],
    *,
    merging: Merging | None,
    limit: int | None,
    weight_map: Mapping[str, str] | None = None,
) -> list[Shard]:
    """The `components` of one folder in files of at most `limit` bytes, or (None) divided, ordered and headed as the
    release has one of them, and several as the `weight_map` of the folder's index says.

    `merging`: adds an adapter to the tensors while they are written. CheckpointError if that is for another network.
    """
    shards = [shard for name, held in components.items() for shard in _as_released(release, name, held, merging)]
    stem = next(iter(components.values())).stem
    if limit is None and len(components) == 1:
        return shards
    tensors = sorted((tensor for shard in shards for tensor in shard.tensors), key=lambda tensor: tensor.name)
    if limit is None and weight_map is not None:
        return arranged(tensors, weight_map)
    if limit is None:  # it came in one file, or in such as no index of this layout names
        limit = sum(shard.size for shard in shards) if len(shards) == len(components) else SHARD_SIZE
    return divided(stem, tensors, limit)


def _as_released(release: Path, component: str, held: Held, merging: Merging | None) -> list[Shard]:
    made = partial(_outgoing, component, held, merging)
    files = component_files(release, component)
    rename = current_names(release, component)
    return [
        _mirrored(path, shard_name(held.stem, number, len(files)), lambda key, piece: made(rename(key), piece))
        for number, path in enumerate(files, 1)
    ]


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

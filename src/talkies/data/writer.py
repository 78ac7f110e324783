"""Writes clips into a shard set."""

import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from talkies.config import DataError
from talkies.config.quoting import shown
from talkies.data.clip import Clip, Header, Latent
from talkies.data.index import INDEX, NULL_TEXTS, tensor_names, write_index
from talkies.data.records import ClipEntry, FileEntry
from talkies.data.stored import checksum
from talkies.files.integrity import sha256_of
from talkies.files.tensors import write_tensors


class ShardWriter:
    """Writes clips into `folder`, `shard_clips` to a file; index.json comes last, so an incomplete set is never opened.

    All clips must have the streams, texts and geometry of the first. Leftovers of an interrupted writer are removed.
    Raises DataError if `folder` already holds a set, StorageError if the disk is full. As a context manager it closes
    on success.
    """

    def __init__(self, folder: Path, header: Header, shard_clips: int) -> None:
        assert shard_clips >= 1, "a shard holds at least one clip"
        if (folder / INDEX).exists():
            raise DataError(f"data: {folder} already holds a shard set: remove it or choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        for stale in (*folder.glob("*.safetensors"), *folder.glob(".*.tmp")):
            stale.unlink()
        self.folder, self.header, self.shard_clips = folder, header, shard_clips
        self._first: Clip | None = None
        self._pending: list[Clip] = []
        self._ids: set[str] = set()
        self._clips: list[ClipEntry] = []
        self._shards: list[FileEntry] = []

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def add(self, clip: Clip) -> None:
        """Add one clip. Raises DataError for a repeated id, another geometry or values that are not finite."""
        if clip.id in self._ids:
            raise DataError(f"data: clip {shown(clip.id)} is added twice to {self.folder}: ids must be unique")
        self._first = self._first or clip
        _check(clip, self._first, self.header)
        self._ids.add(clip.id)
        self._clips.append(_entry(clip))
        self._pending.append(clip)
        if len(self._pending) == self.shard_clips:
            self._flush()

    def close(self) -> None:
        """Write the last shard and the index. Raises DataError if no clip was added."""
        if self._first is None:
            raise DataError(
                f"data: no clip for shard set {shown(self.header.name)} in {self.folder}: nothing to train on"
            )
        if self._pending:
            self._flush()
        names = tensor_names(self._first)
        null_texts = {names[name]: text.embedding[0] for name, text in self.header.null_texts.items()}
        write_index(
            self.folder,
            self.header,
            self._first,
            null_texts=self._write(NULL_TEXTS, null_texts, clips=0),
            shards=self._shards,
            clips=self._clips,
        )

    def _flush(self) -> None:
        tensors: dict[str, Tensor] = {}
        for row, clip in enumerate(self._pending):
            tensors |= {f"{row:05d}.{name}": tensor for name, tensor in stored(clip).items()}
        name = f"shard-{len(self._shards):05d}.safetensors"
        self._shards.append(self._write(name, tensors, clips=len(self._pending)))
        self._pending = []

    def _write(self, name: str, tensors: Mapping[str, Tensor], *, clips: int) -> FileEntry:
        path = self.folder / name
        write_tensors(path, tensors)
        return FileEntry(name=name, size=path.stat().st_size, sha256=sha256_of(path), clips=clips)


def stored(clip: Clip) -> dict[str, Tensor]:
    """The tensors that a shard holds of a clip, by their names without the clip's row."""
    names = tensor_names(clip)
    latents = {names[name]: latent.values for name, latent in clip.streams.items()}
    return latents | {names[name]: text.features for name, text in clip.texts.items()}


def _entry(clip: Clip) -> ClipEntry:
    return ClipEntry(
        id=clip.id,
        captions={name: text.caption for name, text in clip.texts.items()},
        lengths={name: len(text.features) for name, text in clip.texts.items()},
        valid={name: one.valid for name, one in clip.streams.items() if one.valid < one.grid.shape[0]},
        checksums={name: checksum(tensor) for name, tensor in stored(clip).items()},
        starts={name: one.start for name, one in clip.streams.items() if one.start is not None},
    )


def _check(clip: Clip, first: Clip, header: Header) -> None:
    """Raise DataError if `clip` does not fit the set that `first` began."""
    where = f"data: clip {shown(clip.id)}"
    grids, expected = ({name: one.grid for name, one in each.streams.items()} for each in (clip, first))
    if grids != expected:
        raise DataError(f"{where} has another geometry than {shown(first.id)} of its set: {grids} != {expected}")
    if not grids:
        raise DataError(f"{where} has no stream; at least one is needed")
    timed, needed = ({name for name, one in each.streams.items() if one.start is not None} for each in (clip, first))
    if timed != needed:
        raise DataError(f"{where} has starts of {sorted(timed)}, the first clip of its set of {sorted(needed)}")
    made_by = header.made_by.keys()
    if made_by != clip.streams.keys() | clip.texts.keys() or header.null_texts.keys() != clip.texts.keys():
        found = sorted(clip.streams.keys() | clip.texts.keys())
        raise DataError(f"{where} has the streams and texts {found}, its set's header {sorted(made_by)}")
    for name, latent in clip.streams.items():
        _check_latent(where, name, latent)
    for name, text in clip.texts.items():
        shape, (longest, width) = tuple(text.features.shape), header.null_texts[name].embedding.shape[1:]
        if shape[1:] != (width,) or shape[0] > longest:
            raise DataError(f"{where}: text {shape} does not match the null text's ({longest}, {width})")
        if not bool(torch.isfinite(text.features).all()):
            raise DataError(f"{where}: its text has values that are not finite")


def _check_latent(where: str, name: str, latent: Latent) -> None:
    grid, values = latent.grid, latent.values
    if tuple(values.shape) != grid.latent_shape:
        raise DataError(f"{where}: {name} latent {tuple(values.shape)} does not match its grid {grid.latent_shape}")
    if not 1 <= latent.valid <= grid.shape[0]:
        raise DataError(f"{where}: {latent.valid} valid {name} steps; there are {grid.shape[0]} and one is needed")
    if not bool(torch.isfinite(values).all()):
        raise DataError(f"{where}: its {name} latent has values that are not finite")
    if latent.start is not None and not math.isfinite(latent.start):
        raise DataError(f"{where}: its {name} starts at {latent.start} s; a finite time is needed")

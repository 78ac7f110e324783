"""Opening and reading a shard set."""

import errno
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from talkies.config import DataError
from talkies.config.quoting import named, shown
from talkies.data.clip import Caption, Clip, Header, Latent
from talkies.data.index import Index, contradicted, read_index
from talkies.data.records import ClipEntry, FileEntry
from talkies.data.stored import StoredTensors, checksum, finite
from talkies.data.verify import verify_files
from talkies.data.writer import ShardWriter
from talkies.streams import Grid
from talkies.streams.batch import Text
from talkies.streams.clip_size import spelled

__all__ = ["ShardSet", "ShardWriter"]

T = TypeVar("T")
OPEN_FILES = 64
_OURS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""Errors of this process or machine, not of a file."""


class ShardSet:
    """The clips of one folder, read by index. Files are opened on demand; the last OPEN_FILES used stay open.

    `fingerprint` is the sha256 of the index, which holds the sha256 of every shard: it names the data.
    """

    def __init__(self, folder: Path, index: Index) -> None:
        self.folder, self.index = folder, index
        self._starts: list[tuple[int, FileEntry]] = []
        start = 0
        for shard in index.shards:
            self._starts += [(start, shard)] * shard.clips
            start += shard.clips
        self._handles: dict[str, StoredTensors] = {}
        self.header = self._read_header()

    @classmethod
    def open(cls, folder: Path, verify: bool = True) -> "ShardSet":
        """Open the set in `folder`.

        Raises DataError if it is missing, empty, of an unknown schema, or (with `verify`) if a shard's size or sha256
        differs from the index. Files that were verified before and have not changed are not read again.
        """
        index = read_index(folder)
        if verify:
            verify_files(folder, [index.null_texts, *index.shards])
        return cls(folder, index)

    def __len__(self) -> int:
        return len(self.index.clips)

    def __getstate__(self) -> dict[str, Any]:
        # Open files cannot be sent to a worker process.
        return {**self.__dict__, "_handles": {}}

    @property
    def fingerprint(self) -> str:
        """sha256 of index.json."""
        return self.index.fingerprint

    @property
    def ids(self) -> list[str]:
        """Ids in the order of the shards."""
        return [clip.id for clip in self.index.clips]

    @property
    def fps(self) -> float:
        """Frames per second of every clip."""
        return self.header.fps

    @property
    def seconds(self) -> float:
        """Duration of every clip."""
        return self.header.seconds

    @property
    def grids(self) -> Mapping[str, Grid]:
        """Latent geometry of every clip, by stream."""
        return self.index.grids

    @property
    def null_texts(self) -> Mapping[str, Text]:
        """The encoded empty captions by text, batch 1."""
        return self.header.null_texts

    def shard_of(self, i: int) -> str:
        """The name of the file that holds clip `i`."""
        return self._starts[i][1].name

    def read(self, i: int, streams: Collection[str] | None = None) -> Clip:
        """Clip `i` with all its texts; with `streams` only these latents.

        Raises DataError if, even after reopening the file, a tensor cannot be read, fails its checksum, or has values
        that are not finite.
        """
        return self._again(self.shard_of(i), lambda: self._read(i, streams))

    def _read(self, i: int, streams: Collection[str] | None) -> Clip:
        entry = self.index.clips[i]
        wanted = [name for name in self.index.streams if streams is None or name in streams]
        return Clip(
            id=entry.id,
            streams={name: self._latent(i, entry, name) for name in wanted},
            texts={name: self._caption(i, entry, name) for name in self.index.texts},
        )

    def _latent(self, i: int, entry: ClipEntry, name: str) -> Latent:
        grid, tensor = self.index.streams[name].grid, self.index.streams[name].tensor
        values = self._tensor(i, tensor)
        self._match(entry, f"streams.{name}", grid.latent_shape, tensor, tuple(values.shape))
        return Latent(
            values=values, grid=grid, valid=entry.valid.get(name, grid.shape[0]), start=entry.starts.get(name)
        )

    def _caption(self, i: int, entry: ClipEntry, name: str) -> Caption:
        tensor = self.index.texts[name].tensor
        features = self._tensor(i, tensor)
        self._match(entry, f"lengths.{name}", entry.lengths[name], tensor, features.shape[0])
        return Caption(caption=entry.captions[name], features=features)

    def check(self, codec_identities: Mapping[str, str], geometry: str, streams: Collection[str]) -> None:
        """Raise DataError if the set lacks a stream, has another geometry, or was encoded by other codecs."""
        where = f"data: shard set {shown(self.header.name)} ({self.folder})"
        for name in streams:
            if name not in self.grids:
                raise DataError(
                    f"{where} holds no {name}, only {', '.join(self.grids)}: choose another `data.shards` or prepare it"
                )
        if geometry != self.header.geometry:
            found, needed = spelled(self.header.geometry), spelled(geometry)
            raise DataError(
                f"{where} has geometry {found}, the recipe expects {needed}: set `data.geometry` to {found}, or "
                f"prepare a set of {needed}"
            )
        for part, identity in codec_identities.items():
            made_by = self.header.codecs.get(part, "none")
            if made_by != identity:
                kind = self.header.codec_configs.get(part, {}).get("kind", "unknown")
                raise DataError(
                    f"{where} was encoded with {part} codec {made_by[:16]} ({kind}), the recipe expects "
                    f"{identity[:16]}: prepare it again, or set `codecs.{part}` to what encoded it"
                )

    def _read_header(self) -> Header:
        return self.index.header_with({name: self._null_text(name) for name in self.index.texts})

    def _null_text(self, name: str) -> Text:
        file, entry = self.index.null_texts.name, self.index.texts[name]
        embedding = self._again(file, lambda: self._opened(file).read(entry.tensor))[None]
        longest = max(entry.length, *(clip.lengths[name] for clip in self.index.clips))
        if longest > embedding.shape[1]:
            most = f"texts of this set have at most {embedding.shape[1]}"
            raise contradicted(self.folder, f"a `lengths.{name}`, or `texts.{name}.length`, is {longest}, but {most}")
        return Text(embedding=embedding, length=torch.tensor([entry.length]))

    def _match(self, entry: ClipEntry, key: str, recorded: object, name: str, found: object) -> None:
        """Raise DataError if the size in the index is not that of the tensor."""
        if recorded != found:
            where = f"{name} of clip {shown(entry.id)} has {named(found)}"
            raise contradicted(self.folder, f"its `{key}` says {named(recorded)}, but {where}")

    def _tensor(self, i: int, name: str) -> Tensor:
        """The stored tensor `name` of clip `i`, checked."""
        (start, shard), entry = self._starts[i], self.index.clips[i]
        tensor = self._opened(shard.name).read(f"{i - start:05d}.{name}")
        found, expected = checksum(tensor), entry.checksums[name]
        if found == expected and finite(tensor):
            return tensor
        where = f"data: {name} of clip {shown(entry.id)} in {self.folder / shard.name}"
        if found != expected:
            raise DataError(f"{where} is damaged: found crc32 {found:08x}, expected {expected:08x}; copy it again")
        raise DataError(f"{where} has values that are not finite; prepare it again")

    def _opened(self, file: str) -> StoredTensors:
        stored = self._handles.pop(file, None) or StoredTensors(self.folder / file)
        self._handles[file] = stored
        if len(self._handles) > OPEN_FILES:
            del self._handles[next(iter(self._handles))]  # the least recently used one
        return stored

    def _again(self, file: str, read: Callable[[], T]) -> T:
        """`read()`, retried once with `file` reopened if it fails: network storage has transient errors."""
        for last in (False, True):
            try:
                return read()
            except (DataError, OSError) as error:
                self._handles.pop(file, None)
                if isinstance(error, OSError) and error.errno in _OURS:
                    raise
                if last:
                    raise _cannot(self.folder / file, error) from None
        raise AssertionError("the last attempt returns or raises")


def _cannot(path: Path, error: DataError | OSError) -> DataError:
    if isinstance(error, DataError):
        return error
    return DataError(f"data: cannot read {path}: {error.strerror or error}; copy it again or prepare the set again")

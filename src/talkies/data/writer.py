"""Writes clips into a shard set."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from talkies.config import DataError
from talkies.config.quoting import shown
from talkies.data.clip import Clip, Header
from talkies.data.index import INDEX, NULL_TEXT, write_index
from talkies.data.records import ClipEntry, FileEntry
from talkies.data.stored import checksum
from talkies.files.integrity import sha256_of
from talkies.files.tensors import write_tensors


class ShardWriter:
    """Writes clips into `folder`, `shard_clips` to a file; index.json comes last, so an incomplete set is never opened.

    All clips must have the geometry of the first. Leftovers of an interrupted writer are removed. Raises DataError if
    `folder` already holds a set, StorageError if the disk is full. As a context manager it closes on success.
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
        entry = ClipEntry(
            id=clip.id,
            caption=clip.caption,
            valid=dict(clip.valid),
            text_length=clip.text_length,
            checksums={name: checksum(tensor) for name, tensor in stored(clip).items()},
        )
        self._clips.append(entry)
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
        write_index(
            self.folder,
            self.header,
            grids=self._first.grids,
            image=self._first.image is not None,
            null_text=self._write(NULL_TEXT, {"text": self.header.null_text.embedding[0]}, clips=0),
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
    tensors = {f"latent.{modality}": latent for modality, latent in clip.latents.items()}
    tensors["text"] = clip.text[: clip.text_length].clone()
    return tensors if clip.image is None else {**tensors, "image": clip.image}


def _check(clip: Clip, first: Clip, header: Header) -> None:
    """Raise DataError if `clip` does not fit the set that `first` began."""
    where = f"data: clip {shown(clip.id)}"
    if clip.grids != first.grids or (clip.image is None) != (first.image is None):
        raise DataError(
            f"{where} has another geometry than {shown(first.id)} of its set: {clip.grids} != {first.grids}"
        )
    if not clip.latents.keys() == clip.grids.keys() == clip.valid.keys() or not clip.grids:
        raise DataError(f"{where}: latents, grids and valid must name the same modalities, at least one")
    for modality, grid in clip.grids.items():
        latent, valid = clip.latents[modality], clip.valid[modality]
        if tuple(latent.shape) != grid.latent_shape:
            shape = tuple(latent.shape)
            raise DataError(f"{where}: {modality} latent {shape} does not match its grid {grid.latent_shape}")
        if not 1 <= valid <= grid.shape[0]:
            raise DataError(f"{where}: {valid} valid {modality} steps; there are {grid.shape[0]} and one is needed")
        if not bool(torch.isfinite(latent).all()):
            raise DataError(f"{where}: its {modality} latent has values that are not finite")
    if clip.image is not None and not bool(torch.isfinite(clip.image).all()):
        raise DataError(f"{where}: its first-frame latent has values that are not finite")
    _check_text(where, clip, tuple(header.null_text.embedding.shape[1:]))


def _check_text(where: str, clip: Clip, expected: tuple[int, ...]) -> None:
    found, length = tuple(clip.text.shape), clip.text_length
    if found != expected or not 0 <= length <= expected[0]:
        raise DataError(f"{where}: text {found} of length {length} does not match the null text's {expected}")
    # Only the first `length` rows are stored: most captions are much shorter than the text encoder's length.
    if bool(clip.text[length:].any()):
        raise DataError(f"{where} has text features past its length {length}: the encoder must zero them")

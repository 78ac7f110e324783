"""Opening and reading a shard set."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn.functional import pad

from talkies.config import DataError
from talkies.data.clip import Clip, Header
from talkies.data.index import FileEntry, Index, read_index
from talkies.data.verify import verify_files
from talkies.data.writer import ShardWriter
from talkies.streams import Grid, Modality
from talkies.streams.batch import Text

__all__ = ["ShardSet", "ShardWriter"]


class ShardSet:
    """The clips of one folder, read by index. Files are memory-mapped, once per process and only when read.

    `fingerprint` is the sha256 of the index, which holds the sha256 of every shard: it names the data.
    """

    def __init__(self, folder: Path, index: Index) -> None:
        self.folder, self.index = folder, index
        self._starts: list[tuple[int, FileEntry]] = []
        start = 0
        for shard in index.shards:
            self._starts += [(start, shard)] * shard.clips
            start += shard.clips
        self._handles: dict[str, Any] = {}
        self._process = os.getpid()
        self.header = self._read_header()

    @classmethod
    def open(cls, folder: Path, verify: bool = True) -> "ShardSet":
        """Open the set in `folder`.

        Raises DataError where it is missing, empty, of an unknown schema, or (with `verify`) where a shard's size or
        sha256 is not what the index says. What is already verified and unchanged is not read again.
        """
        index = read_index(folder)
        if verify:
            verify_files(folder, [index.null_text, *index.shards])
        return cls(folder, index)

    def __len__(self) -> int:
        return len(self.index.clips)

    def __getstate__(self) -> dict[str, Any]:
        # An open file does not travel to a worker process.
        return {**self.__dict__, "_handles": {}, "_process": -1}

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
    def grids(self) -> Mapping[Modality, Grid]:
        """Latent geometry of every clip, by modality."""
        return self.index.grids

    @property
    def null_text(self) -> Text:
        """The encoded empty caption, batch 1."""
        return self.header.null_text

    def read(self, i: int, modalities: Collection[Modality] | None = None) -> Clip:
        """Clip `i`; with `modalities` only these latents (and the first-frame latent only with video).

        The tensors are views of the mapped file where the dtype allows: do not write into them.
        """
        start, shard = self._starts[i]
        entry, row = self.index.clips[i], i - start
        wanted = [m for m in self.grids if modalities is None or m in modalities]
        image = self._tensor(shard.name, f"{row:05d}.image") if self.index.image and "video" in wanted else None
        return Clip(
            id=entry.id,
            caption=entry.caption,
            latents={m: self._tensor(shard.name, f"{row:05d}.latent.{m}") for m in wanted},
            valid={m: entry.valid[m] for m in wanted},
            grids={m: self.grids[m] for m in wanted},
            image=image,
            text=self._padded(self._tensor(shard.name, f"{row:05d}.text"), self.null_text.embedding.shape[1]),
            text_length=entry.text_length,
        )

    def check(self, codec_identities: Mapping[str, str], geometry: str, modalities: Collection[Modality]) -> None:
        """Raise DataError where the set lacks a modality, has another geometry, or was encoded by other codecs."""
        where = f"data: shard set {self.header.name!r} ({self.folder})"
        for modality in modalities:
            if modality not in self.grids:
                held = ", ".join(self.grids)
                raise DataError(f"{where} holds no {modality}, only {held}: choose another `data.shards` or prepare it")
        if geometry != self.header.geometry:
            raise DataError(
                f"{where} has geometry {self.header.geometry}, the recipe expects {geometry}: set `data.geometry` to "
                f"{self.header.geometry}, or prepare a set of {geometry}"
            )
        for part, identity in codec_identities.items():
            found = self.header.codecs.get(part, "none")
            if found != identity:
                kind = self.header.codec_configs.get(part, {}).get("kind", "unknown")
                raise DataError(
                    f"{where} was encoded with {part} codec {found[:16]} ({kind}), the recipe expects {identity[:16]}: "
                    f"prepare it again, or set `codecs.{part}` to what encoded it"
                )

    def _read_header(self) -> Header:
        embedding = self._tensor(self.index.null_text.name, "text")[None].clone()
        text = Text(embedding=embedding, length=torch.tensor([self.index.null_text_length]))
        return self.index.header_with(text)

    @staticmethod
    def _padded(rows: Tensor, length: int) -> Tensor:
        return pad(rows, (0, 0, 0, length - rows.shape[0])) if rows.shape[0] < length else rows

    def _tensor(self, file: str, key: str) -> Tensor:
        if self._process != os.getpid():  # a forked worker maps the files itself
            self._handles, self._process = {}, os.getpid()
        path = self.folder / file
        try:
            if file not in self._handles:
                self._handles[file] = safe_open(path, framework="pt", device="cpu")
            tensor: Tensor = self._handles[file].get_tensor(key)
        except (SafetensorError, OSError) as error:
            raise DataError(f"data: cannot read {key} from {path}: {error}; prepare the set again") from None
        return tensor

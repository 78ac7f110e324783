"""index.json: the contents of a shard set. It is written last, so a folder without it holds no complete set."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from talkies.config import DataError, UserError
from talkies.config.plain_json import canonical_json
from talkies.config.quoting import shown
from talkies.config.records import present
from talkies.data.clip import Header
from talkies.data.records import INDEX as RECORD
from talkies.data.records import SCHEMA, ClipEntry, FileEntry
from talkies.files.durable import write_text
from talkies.streams import Grid, Modality
from talkies.streams.batch import Text

INDEX = "index.json"
NULL_TEXT = "null_text.safetensors"
_HEADER_KEYS = ("name", "split", "geometry", "fps", "codecs", "codec_configs", "mask_channels")


@dataclass(frozen=True, kw_only=True)
class Index:
    """A decoded index.json. `header`: the values of a Header except its null text; `fingerprint`: the file's sha256."""

    header: Mapping[str, Any]
    grids: Mapping[Modality, Grid]
    image: bool
    null_text: FileEntry
    null_text_length: int
    shards: Sequence[FileEntry]
    clips: Sequence[ClipEntry]
    fingerprint: str

    def header_with(self, null_text: Text) -> Header:
        """The Header, with its null text."""
        return Header(**self.header, null_text=null_text)


def header_values(header: Header) -> dict[str, Any]:
    """The JSON part of a Header."""
    return {key: getattr(header, key) for key in _HEADER_KEYS}


def write_index(
    folder: Path,
    header: Header,
    *,
    grids: Mapping[Modality, Grid],
    image: bool,
    null_text: FileEntry,
    shards: Sequence[FileEntry],
    clips: Sequence[ClipEntry],
) -> None:
    """Write index.json, as the last step of writing a set."""
    values = {
        "schema": SCHEMA,
        "header": header_values(header),
        "grids": {modality: grid.to_json() for modality, grid in grids.items()},
        "image": image,
        "null_text": {**asdict(null_text), "length": int(header.null_text.length[0])},
        "shards": [asdict(shard) for shard in shards],
        "clips": [asdict(clip) for clip in clips],
    }
    write_text(folder / INDEX, canonical_json(values) + "\n")


def read_index(folder: Path) -> Index:
    """Decode folder/index.json. Raises DataError if it is missing, damaged, empty or of an unknown schema."""
    path = folder / INDEX
    if not present(path):
        raise DataError(f"data: {folder} holds no complete shard set: {INDEX} is missing; run `talkies prepare`")
    record, data = RECORD.read_with(path)
    index = Index(
        header={key: getattr(record.header, key) for key in _HEADER_KEYS},
        grids={modality: grid.grid for modality, grid in record.grids.items()},
        image=record.image,
        null_text=record.null_text,
        null_text_length=record.null_text.length,
        shards=record.shards,
        clips=record.clips,
        fingerprint=hashlib.sha256(data).hexdigest(),
    )
    _check(folder, index)
    return index


def contradicted(folder: Path, how: str) -> UserError:
    """The error for an index that contradicts itself or its shards."""
    return RECORD.damaged(folder / INDEX, how)


def _check(folder: Path, index: Index) -> None:
    if not index.clips:
        raise DataError(f"data: shard set {folder} is empty: see the report of `talkies prepare` for what was dropped")
    total = sum(shard.clips for shard in index.shards)
    if total != len(index.clips):
        raise DataError(
            f"data: {folder / INDEX} lists {len(index.clips)} clips, but its shards hold {total}: "
            "run `talkies prepare` again"
        )
    seen: set[str] = set()
    steps = {modality: grid.shape[0] for modality, grid in index.grids.items()}
    stored = {"text", *(f"latent.{m}" for m in index.grids), *(["image"] if index.image else [])}
    for clip in index.clips:
        if clip.checksums.keys() != stored:
            raise DataError(
                f"data: {folder / INDEX} is damaged: clip {shown(clip.id)} has checksums of {sorted(clip.checksums)}, "
                f"but must have those of {sorted(stored)}; run `talkies prepare` again"
            )
        if clip.valid.keys() != index.grids.keys():
            raise DataError(
                f"data: {folder / INDEX} is damaged: clip {shown(clip.id)} has `valid` for {sorted(clip.valid)}, but "
                f"must have it for {sorted(index.grids)}; run `talkies prepare` again"
            )
        for modality, valid in clip.valid.items():
            if not 1 <= valid <= steps[modality]:
                wanted = f"1 to {steps[modality]} of its grid"
                raise contradicted(
                    folder, f"`valid.{modality}` of clip {shown(clip.id)} is {valid}, and must be {wanted}"
                )
        if clip.id in seen:
            raise DataError(f"data: clip {shown(clip.id)} appears twice in {folder / INDEX}: ids must be unique")
        seen.add(clip.id)

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
from talkies.data.clip import Clip, Header
from talkies.data.records import INDEX as RECORD
from talkies.data.records import ClipEntry, FileEntry, GridRecord, StreamRecord, TextRecord
from talkies.files.durable import write_text
from talkies.streams import Grid
from talkies.streams.batch import Text

INDEX = "index.json"
NULL_TEXTS = "null_text.safetensors"
_HEADER_KEYS = ("name", "split", "geometry", "fps", "codecs", "codec_configs")


@dataclass(frozen=True, kw_only=True)
class Index:
    """A decoded index.json. `header`: the values of a Header except its null texts; `fingerprint`: the file's
    sha256."""

    header: Mapping[str, Any]
    streams: Mapping[str, StreamRecord]
    texts: Mapping[str, TextRecord]
    null_texts: FileEntry
    shards: Sequence[FileEntry]
    clips: Sequence[ClipEntry]
    fingerprint: str

    @property
    def grids(self) -> dict[str, Grid]:
        """Latent geometry by stream."""
        return {name: stream.grid for name, stream in self.streams.items()}

    @property
    def tensors(self) -> dict[str, str]:
        """Stream or text -> its tensor's name in a shard, without the clip's row."""
        streams = {name: entry.tensor for name, entry in self.streams.items()}
        return streams | {name: entry.tensor for name, entry in self.texts.items()}

    def header_with(self, null_texts: Mapping[str, Text]) -> Header:
        """The Header, with its null texts."""
        return Header(**self.header, null_texts=null_texts)


def tensor_names(clip: Clip) -> dict[str, str]:
    """Stream or text -> the name of its tensor in a new shard, without the clip's row."""
    return {name: f"latent.{name}" for name in clip.streams} | {name: f"text.{name}" for name in clip.texts}


def write_index(
    folder: Path,
    header: Header,
    first: Clip,
    *,
    null_texts: FileEntry,
    shards: Sequence[FileEntry],
    clips: Sequence[ClipEntry],
) -> None:
    """Write index.json, as the last step of writing a set; `first`: any of its clips."""
    tensors = tensor_names(first)
    streams = {
        name: GridRecord.of(latent.grid, header.made_by[name]).to_json() | {"tensor": tensors[name]}
        for name, latent in first.streams.items()
    }
    texts = {
        name: {"codec": header.made_by[name], "tensor": tensors[name], "length": int(null.length[0])}
        for name, null in header.null_texts.items()
    }
    values = {
        "schema": RECORD.newest,
        "header": {key: getattr(header, key) for key in _HEADER_KEYS},
        "streams": streams,
        "texts": texts,
        "null_texts": asdict(null_texts),
        "shards": [asdict(shard) for shard in shards],
        "clips": [clip.to_json() for clip in clips],
    }
    write_text(folder / INDEX, canonical_json(values) + "\n")


def read_index(folder: Path) -> Index:
    """Decode folder/index.json. Raises DataError if it is missing, damaged, empty or of an unknown schema."""
    path = folder / INDEX
    if not present(path):
        raise DataError(f"data: {folder} holds no complete shard set: {INDEX} is missing; run `talkies prepare`")
    record, data = RECORD.read_with(path)
    values = {key: getattr(record.header, key) for key in _HEADER_KEYS}
    index = Index(
        header={**values, "made_by": record.made_by},
        streams=record.streams,
        texts=record.texts,
        null_texts=record.null_texts,
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
    both = sorted(index.streams.keys() & index.texts.keys())
    if both:
        raise contradicted(folder, f"it names both a stream and a text {shown(both[0])}")
    seen: set[str] = set()
    stored, steps = set(index.tensors.values()), {name: entry.shape[0] for name, entry in index.streams.items()}
    for clip in index.clips:
        _check_clip(folder, index, clip, stored, steps)
        if clip.id in seen:
            raise DataError(f"data: clip {shown(clip.id)} appears twice in {folder / INDEX}: ids must be unique")
        seen.add(clip.id)


def _check_clip(folder: Path, index: Index, clip: ClipEntry, stored: set[str], steps: Mapping[str, int]) -> None:
    for key, found, needed in (
        ("checksums", clip.checksums.keys(), stored),
        ("captions", clip.captions.keys(), index.texts.keys()),
        ("lengths", clip.lengths.keys(), index.texts.keys()),
    ):
        if found != needed:
            raise DataError(
                f"data: {folder / INDEX} is damaged: clip {shown(clip.id)} has {key} of {sorted(found)}, "
                f"but must have those of {sorted(needed)}; run `talkies prepare` again"
            )
    for name, valid in clip.valid.items():
        if not 1 <= valid <= steps.get(name, 0):
            wanted = f"1 to {steps[name]} of its grid" if name in steps else "that of a stream"
            raise contradicted(folder, f"`valid.{name}` of clip {shown(clip.id)} is {valid}, and must be {wanted}")
    if clip.starts.keys() != (first := index.clips[0]).starts.keys() or not clip.starts.keys() <= steps.keys():
        raise contradicted(
            folder,
            f"clip {shown(clip.id)} has `starts` of {sorted(clip.starts)}, its first clip of {sorted(first.starts)}; "
            f"the streams are {sorted(steps)}",
        )

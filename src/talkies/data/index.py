"""index.json: what a shard set holds. It is written last, so a set without it does not exist."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from talkies.config import DataError
from talkies.config.shown import shown
from talkies.data.clip import Header
from talkies.data.durable import canonical_json, write_text
from talkies.streams import Grid, Modality
from talkies.streams.batch import Text

SCHEMA = 2
INDEX = "index.json"
NULL_TEXT = "null_text.safetensors"
_HEADER_KEYS = ("name", "split", "geometry", "fps", "codecs", "codec_configs", "mask_channels")


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One safetensors file of a set, and how many clips it holds."""

    name: str
    size: int
    sha256: str
    clips: int


@dataclass(frozen=True, kw_only=True)
class ClipEntry:
    """What the index says of one clip; its tensors lie in a shard. `checksums`: of each, by the name that it has there
    after the clip's row."""

    id: str
    caption: str
    valid: Mapping[Modality, int]
    text_length: int
    checksums: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Index:
    """A decoded index.json. `header` are the values of a Header but its null text; `fingerprint` the file's sha256."""

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
    """Write index.json: the last act of writing a set."""
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
    """Decode folder/index.json. Raises DataError where it is missing, damaged, empty or of an unknown schema."""
    path = folder / INDEX
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"data: {folder} holds no complete shard set: cannot read {INDEX} ({error.strerror}); run `talkies prepare`"
        ) from None
    try:
        values = json.loads(data)
        schema = values["schema"]
        if schema == SCHEMA:
            return _decode(folder, values, hashlib.sha256(data).hexdigest())
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"data: {path} is damaged: {shown(error)}; run `talkies prepare` again") from None
    raise DataError(
        f"data: {path} has schema {shown(schema)}, this version reads {SCHEMA}: use the talkies that wrote it, or "
        "prepare again"
    )


def _decode(folder: Path, values: dict[str, Any], fingerprint: str) -> Index:
    null = dict(values["null_text"])
    length = int(null.pop("length"))
    index = Index(
        header={key: values["header"][key] for key in _HEADER_KEYS},
        grids={modality: Grid.from_json(grid) for modality, grid in values["grids"].items()},
        image=bool(values["image"]),
        null_text=FileEntry(**null),
        null_text_length=length,
        shards=[FileEntry(**shard) for shard in values["shards"]],
        clips=[ClipEntry(**clip) for clip in values["clips"]],
        fingerprint=fingerprint,
    )
    _check(folder, index)
    return index


def _check(folder: Path, index: Index) -> None:
    if not index.clips:
        raise DataError(f"data: shard set {folder} is empty: see the report of `talkies prepare` for what was dropped")
    held = sum(shard.clips for shard in index.shards)
    if held != len(index.clips):
        raise DataError(f"data: {folder / INDEX} lists {len(index.clips)} clips, its shards hold {held}: prepare again")
    for entry in (index.null_text, *index.shards):
        if Path(entry.name).name != entry.name or entry.name.startswith("."):
            raise DataError(f"data: {folder / INDEX} names a file outside its folder: {shown(entry.name)}")
    seen: set[str] = set()
    stored = {"text", *(f"latent.{m}" for m in index.grids), *(["image"] if index.image else [])}
    for clip in index.clips:
        if clip.checksums.keys() != stored:
            raise DataError(
                f"data: {folder / INDEX} is damaged: clip {shown(clip.id)} has checksums of {sorted(clip.checksums)}, "
                f"it must have them of {sorted(stored)}; run `talkies prepare` again"
            )
        if clip.id in seen:
            raise DataError(f"data: clip {shown(clip.id)} stands twice in {folder / INDEX}: ids must be unique")
        seen.add(clip.id)

"""The records of a shard set."""

import re
from collections.abc import Mapping
from dataclasses import asdict, field, fields
from fractions import Fraction
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from talkies.config.numbers import Count, Natural, Positive
from talkies.config.quoting import named
from talkies.config.records import Kind, Name, Sha256, record
from talkies.streams import Grid

FIRST = 2
_RATE = re.compile(r"[0-9]{1,18}(/[0-9]{1,18})?")


def _rate(text: str) -> str:
    if _RATE.fullmatch(text) is None or 0 in map(int, text.split("/")):
        raise ValueError("a rate > 0, such as 25/2")
    return text


Rate = Annotated[str, AfterValidator(_rate)]


def _file(name: str) -> str:
    if "/" in name or name.startswith("."):
        raise ValueError("the name of a file in its folder; it names a file outside its folder, or a hidden one")
    return name


@record
class FileEntry:
    """One safetensors file of a set, and how many clips it holds."""

    name: Annotated[Name, AfterValidator(_file)]
    size: Natural
    sha256: Sha256
    clips: Natural


@record
class ClipEntry:
    """A clip's entry in the index; its tensors are in a shard. By stream: `valid`, the time steps that are not padding
    (absent: all), and `starts`, seconds by which it begins after the clip (absent: it begins with the clip). By text:
    `captions`, and the `lengths` of their features. `checksums` has one per tensor, by its name in the shard without
    the clip's row."""

    id: Name
    captions: dict[Name, str]
    lengths: dict[Name, Natural]
    valid: dict[Name, Natural]
    checksums: dict[str, Annotated[int, Field(ge=0, lt=2**32)]]
    starts: dict[Name, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Plain JSON, without `starts` if there are none: sets without them are as they were before there were any."""
        return {key: value for key, value in asdict(self).items() if key != "starts" or value}


@record
class HeaderRecord:
    """A Header without what its streams and texts say."""

    name: Name
    split: Name
    geometry: Name
    fps: Positive
    codecs: dict[str, Name]
    codec_configs: dict[str, dict[str, Any]]


@record
class GridRecord:
    """A Grid, with its exact rate as text, and the name of the `codec` whose latents it describes (absent: that of the
    stream). `chunk`: latent steps and seconds of a piece, if the codec encodes pieces on their own."""

    channels: Count
    shape: Annotated[tuple[Count, ...], Field(min_length=1, max_length=3)]
    rate: Rate
    chunk: tuple[Count, Rate] | None = None
    codec: Name | None = None

    @classmethod
    def of(cls, grid: Grid, codec: str | None = None) -> "GridRecord":
        """The record of a Grid."""
        chunk = None if grid.chunk is None else (grid.chunk[0], str(grid.chunk[1]))
        return cls(channels=grid.channels, shape=grid.shape, rate=str(grid.rate), chunk=chunk, codec=codec)

    def to_json(self) -> dict[str, object]:
        """Plain JSON, without what is absent."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @property
    def grid(self) -> Grid:
        """The Grid itself."""
        chunk = None if self.chunk is None else (self.chunk[0], Fraction(self.chunk[1]))
        return Grid(channels=self.channels, shape=self.shape, rate=Fraction(self.rate), chunk=chunk)


@record
class StreamRecord(GridRecord):
    """A stream of a set: the Grid of its latents, and the name of its `tensor` in a shard, without the clip's row."""

    tensor: Name


@record
class TextRecord:
    """A text of a set: its `codec`, the name of its `tensor` in a shard, and the `length` of its null text."""

    codec: Name
    tensor: Name
    length: Natural


def check_encoded(streams: Mapping[str, str], codecs: Mapping[str, str], key: str = "codecs") -> None:
    """ValueError if `codecs` (`key` in the record) lack the codec of a stream or a text (name -> codec): a check of the
    codecs would then pass without comparing it."""
    lacking = [codec for codec in streams.values() if codec not in codecs]
    if lacking:
        raise ValueError(f"its `{key}` lack {named(lacking[0])}")


@record
class IndexRecord:
    """index.json. `null_texts`: the file of the encoded empty captions."""

    schema: Annotated[int, Field(ge=3, le=3)]
    header: HeaderRecord
    streams: Annotated[dict[Name, StreamRecord], Field(min_length=1)]
    texts: dict[Name, TextRecord]
    null_texts: FileEntry
    shards: tuple[FileEntry, ...]
    clips: tuple[ClipEntry, ...]

    def __post_init__(self) -> None:
        check_encoded(self.made_by, self.header.codecs, "header.codecs")

    @property
    def made_by(self) -> dict[str, str]:
        """Stream or text -> its codec."""
        streams = {name: entry.codec or name for name, entry in self.streams.items()}
        return streams | {name: entry.codec for name, entry in self.texts.items()}


def from_2(values: dict[str, Any]) -> dict[str, Any]:
    """Schema 2 had one text, two kinds of latents, and a first-frame latent that the codec of the video made; what a
    system decides now stood in the header."""
    kept = {key.name for key in fields(HeaderRecord)}
    header = {key: value for key, value in values["header"].items() if key in kept}
    streams = {name: {**grid, "tensor": f"latent.{name}"} for name, grid in values["grids"].items()}
    if values["image"]:
        streams["image"] = {**values["grids"]["video"], "tensor": "image", "codec": "video"}
    null = dict(values["null_text"])
    texts = {"text": {"codec": "text", "tensor": "text", "length": null.pop("length")}}
    return {
        "header": header,
        "streams": streams,
        "texts": texts,
        "null_texts": null,
        "shards": values["shards"],
        "clips": [_clip_from_2(clip) for clip in values["clips"]],
    }


def _clip_from_2(clip: dict[str, Any]) -> dict[str, Any]:
    changed = {"captions": {"text": clip["caption"]}, "lengths": {"text": clip["text_length"]}}
    return {"id": clip["id"], "valid": clip["valid"], "checksums": clip["checksums"], **changed}


INDEX = Kind(
    holds=IndexRecord,
    first=FIRST,
    migrations=(from_2,),
    about="data",
    remedy="copy it again, or run `talkies prepare` again",
    limit=1 << 30,
)
VERIFIED = Kind(holds=dict[str, str], about="data", remedy="remove it: it only saves time", limit=1 << 28)

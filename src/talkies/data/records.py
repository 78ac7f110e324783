"""The records of a shard set."""

import re
from collections.abc import Collection
from fractions import Fraction
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from talkies.config.numbers import Count, Natural, Positive
from talkies.config.records import Kind, Name, Sha256, record
from talkies.streams import Grid, Modality

SCHEMA = 2
_RATE = re.compile(r"[0-9]{1,18}(/[0-9]{1,18})?")


def _rate(text: str) -> str:
    if _RATE.fullmatch(text) is None or 0 in map(int, text.split("/")):
        raise ValueError("a rate > 0, such as 25/2")
    return text


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
class NullText(FileEntry):
    """The file of the encoded empty caption, and its `length` in tokens."""

    length: Natural


@record
class ClipEntry:
    """A clip's entry in the index; its tensors are in a shard. `checksums` has one per tensor, by its name in the shard
    without the clip's row."""

    id: Name
    caption: str
    valid: dict[Modality, Natural]
    text_length: Natural
    checksums: dict[str, Annotated[int, Field(ge=0, lt=2**32)]]


@record
class HeaderRecord:
    """A Header without its null text."""

    name: Name
    split: Name
    geometry: Name
    fps: Positive
    codecs: dict[str, Name]
    codec_configs: dict[str, dict[str, Any]]
    mask_channels: Natural


@record
class GridRecord:
    """A Grid, with its exact rate as text."""

    channels: Count
    shape: Annotated[tuple[Count, ...], Field(min_length=1, max_length=3)]
    rate: Annotated[str, AfterValidator(_rate)]

    @classmethod
    def of(cls, grid: Grid) -> "GridRecord":
        """The record of a Grid."""
        return cls(channels=grid.channels, shape=grid.shape, rate=str(grid.rate))

    @property
    def grid(self) -> Grid:
        """The Grid itself."""
        return Grid(channels=self.channels, shape=self.shape, rate=Fraction(self.rate))


def check_encoded(grids: Collection[Modality], codecs: Collection[str], key: str = "codecs") -> None:
    """ValueError if `codecs` (`key` in the record) lack an entry for a modality of `grids` or for the text: a check of
    the codecs would then pass without comparing it."""
    lacking = [part for part in (*grids, "text") if part not in codecs]
    if lacking:
        raise ValueError(f"its `{key}` lack {lacking[0]}")


@record
class IndexRecord:
    """index.json."""

    schema: Annotated[int, Field(ge=2, le=2)]
    header: HeaderRecord
    grids: Annotated[dict[Modality, GridRecord], Field(min_length=1)]
    image: bool
    null_text: NullText
    shards: tuple[FileEntry, ...]
    clips: tuple[ClipEntry, ...]

    def __post_init__(self) -> None:
        check_encoded(self.grids, self.header.codecs, "header.codecs")


INDEX = Kind(
    holds=IndexRecord, first=SCHEMA, about="data", remedy="copy it again, or run `talkies prepare` again", limit=1 << 30
)
VERIFIED = Kind(holds=dict[str, str], about="data", remedy="remove it: it only saves time", limit=1 << 28)

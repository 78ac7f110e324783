"""The content of release.json, as records."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from talkies.checkpoints.loop import SkippedRecord
from talkies.checkpoints.manifest import FileRecord
from talkies.checkpoints.names import NamesSchema
from talkies.config import CheckpointError, RecipeError
from talkies.config.migrations import migrated
from talkies.config.numbers import Natural, Positive
from talkies.config.quoting import named, shown
from talkies.config.records import Kind, Name, Sha256, record
from talkies.data.records import GridRecord, check_encoded

ADAPTER = "adapter/adapter_model.safetensors"
ADAPTER_CONFIG = "adapter/adapter_config.json"


@record
class ComponentRecord:
    """The file of a component, or the `shards` that make it up; sizes and sha256 are in `files` of the release."""

    file: Name | None = None
    shards: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    parameters: Natural

    def __post_init__(self) -> None:
        if (self.file is None) == (self.shards is None):
            raise ValueError("a component must have either `file` or `shards`")


def files_of(component: Mapping[str, Any]) -> list[str]:
    """The files of a component, from its record's values."""
    return [*(component.get("shards") or [component["file"]])]


def shard_names(stem: str, count: int) -> list[str]:
    """The names of `count` shards, as the releases of others have them."""
    return [f"{stem}-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]


@record
class ImportedRecord:
    """Where a release that was not trained here comes from: the `layout` of the folder, and the `folders` of the
    components in it."""

    layout: Name
    folders: dict[Name, Name]


@record
class BaseRecord:
    """The release that an adapter adapts. `path`: where it was, in releases of older versions."""

    sha256: Sha256
    name: Name
    path: Name | None = None


@record
class SetsRecord:
    """The training set and the held-out set of a phase; `grids` by stream, `texts`: text -> its codec."""

    shards: Name
    clips: Natural
    fingerprint: Name
    heldout_fingerprint: Name
    geometry: Name
    fps: Positive
    grids: Annotated[dict[Name, GridRecord], Field(min_length=1)]
    texts: dict[Name, Name] = field(default_factory=lambda: {"text": "text"})

    @property
    def made_by(self) -> dict[str, str]:
        """Stream or text -> its codec."""
        return {name: grid.codec or name for name, grid in self.grids.items()} | dict(self.texts)


def _with_codecs(values: dict[str, Any]) -> dict[str, Any]:
    """A recipe of any schema, whose codecs a card names without decoding all of it."""
    try:
        codecs = migrated(values).get("codecs")
    except RecipeError as error:
        raise ValueError(f"the values cannot be migrated ({error})") from None
    kinds = [isinstance(one, dict) and one.get("kind") for one in codecs.values()] if isinstance(codecs, dict) else []
    if not kinds or not all(isinstance(kind, str) and kind for kind in kinds):
        raise ValueError("its `codecs` must each have a `kind`")
    return values


@record
class SurvivalRecord:
    """The steps that were skipped, and the skipped batches."""

    skipped_steps: tuple[SkippedRecord, ...]
    passed_batches: tuple[tuple[Natural, Natural], ...]


@record
class ReplacedRecord:
    """How many clips were replaced, and the hash of the file that names them."""

    clips: Natural
    sha256: Sha256 | None


@record
class LineageRecord:
    """The release that a component was initialised from."""

    spec: Name
    sha256: Sha256
    name: Name
    step: Natural
    recipe_hash: Name
    commit: Name


@record
class ReleaseRecord:
    """release.json. A phase makes it, and writes all keys but `imported`; or it was `imported`, and then has no data
    and no losses."""

    schema: Annotated[int, Field(ge=1, le=1)]
    names_schema: NamesSchema = 1
    components: dict[Name, ComponentRecord]
    files: dict[Name, FileRecord]
    base: BaseRecord | None
    adapter: bool
    name: Name
    phase: Name
    step: Natural
    weights: Name
    recipe: Annotated[dict[str, Any], AfterValidator(_with_codecs)]
    recipe_hash: Name
    commit: Name
    shape: dict[Name, Any]
    data: SetsRecord | None
    codecs: dict[str, Name]
    survival: SurvivalRecord | None
    quarantined: ReplacedRecord | None
    parents: dict[Name, LineageRecord]
    imported: ImportedRecord | None = None

    def __post_init__(self) -> None:
        if self.adapter != (self.base is not None):
            raise ValueError(f"its `adapter` is {str(self.adapter).lower()}, which its `base` contradicts")
        for key in ("data", "survival", "quarantined"):
            if (getattr(self, key) is None) != (self.imported is not None):
                raise ValueError(f"its `{key}` must be null if, and only if, it was `imported`")
        if self.data is not None:
            check_encoded(self.data.made_by, self.codecs)
        self._check_components()
        for file in (ADAPTER, ADAPTER_CONFIG) if self.adapter else ():
            if file not in self.files:
                raise ValueError(f"its `files` do not list {file}")

    def _check_components(self) -> None:
        """Each component has its own file, and each such file belongs to a component: a component that is left out
        would start from random weights, and exchanged files would not be noticed, because their shapes are equal."""
        for name, one in self.components.items():
            self._check_files(f"components.{named(name)}", name, one)
        expected_files = {file for one in self.components.values() for file in one.shards or (one.file,)}
        for file in self.files:
            if "/" not in file and file.endswith(".safetensors") and file not in expected_files:
                raise ValueError(f"its `files` list {named(file)}, which belongs to none of its `components`")

    def _check_files(self, key: str, name: str, one: ComponentRecord) -> None:
        found = [one.file] if one.shards is None else [*one.shards]
        expected = [f"{name}.safetensors"] if one.shards is None else shard_names(name, len(found))
        key = f"{key}.{'file' if one.shards is None else 'shards'}"
        for file, needed in zip(found, expected, strict=True):
            if file != needed:
                raise ValueError(f"its `{key}` is {shown(file)}, and must be {named(needed)}")
            if needed not in self.files:
                raise ValueError(f"its `{key}` is {shown(needed)}, which its `files` do not list")


RECORD = Kind(holds=ReleaseRecord, about="release", remedy="restore the release from a copy", error=CheckpointError)

"""The content of release.json, as records."""

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
    """The file of a component; its size and sha256 are in `files` of the release."""

    file: Name
    parameters: Natural


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
    """release.json. Only a phase makes releases, and it writes all keys."""

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
    data: SetsRecord
    codecs: dict[str, Name]
    survival: SurvivalRecord
    quarantined: ReplacedRecord
    parents: dict[Name, LineageRecord]

    def __post_init__(self) -> None:
        if self.adapter != (self.base is not None):
            raise ValueError(f"its `adapter` is {str(self.adapter).lower()}, which its `base` contradicts")
        check_encoded(self.data.made_by, self.codecs)
        self._check_components()
        for file in (ADAPTER, ADAPTER_CONFIG) if self.adapter else ():
            if file not in self.files:
                raise ValueError(f"its `files` do not list {file}")

    def _check_components(self) -> None:
        """Each component has its own file, and each such file belongs to a component: a component that is left out
        would start from random weights, and exchanged files would not be noticed, because their shapes are equal."""
        for name, one in self.components.items():
            key, expected = f"components.{named(name)}.file", f"{name}.safetensors"
            if one.file != expected:
                raise ValueError(f"its `{key}` is {shown(one.file)}, and must be {named(expected)}")
            if expected not in self.files:
                raise ValueError(f"its `{key}` is {shown(expected)}, which its `files` do not list")
        expected_files = {f"{name}.safetensors" for name in self.components}
        for file in self.files:
            if "/" not in file and file.endswith(".safetensors") and file not in expected_files:
                raise ValueError(f"its `files` list {named(file)}, which belongs to none of its `components`")


RECORD = Kind(holds=ReleaseRecord, about="release", remedy="restore the release from a copy", error=CheckpointError)

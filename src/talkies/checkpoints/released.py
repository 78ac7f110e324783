"""What release.json holds: what every release has, and what a phase says of what it made."""

from typing import Annotated, Any

from pydantic import Field

from talkies.checkpoints.loop import SkippedRecord
from talkies.checkpoints.manifest import FileRecord
from talkies.checkpoints.names import NEWEST
from talkies.config import CheckpointError
from talkies.config.numbers import Natural, Positive
from talkies.config.records import Kind, Name, Sha256, record
from talkies.config.shown import named, shown
from talkies.data.records import GridRecord, check_encoded
from talkies.streams import Modality

ADAPTER = "adapter/adapter_model.safetensors"
ADAPTER_CONFIG = "adapter/adapter_config.json"


@record
class ComponentRecord:
    """The file of a component. Its size and sha256 stand among the files of the release."""

    file: Name
    parameters: Natural


@record
class BaseRecord:
    """What an adapter adapts. `path`: where it was, in releases of older versions."""

    sha256: Sha256
    name: Name
    path: Name | None = None


@record
class SetsRecord:
    """The sets that a phase was trained on and is measured on."""

    shards: Name
    clips: Natural
    fingerprint: Name
    heldout_fingerprint: Name
    geometry: Name
    fps: Positive
    grids: Annotated[dict[Modality, GridRecord], Field(min_length=1)]


@record
class CodecRecord:
    """The config of a codec; `kind` says how the rest of it is read."""

    kind: Name


@record
class RecipePart:
    """What of a recipe is read without decoding it."""

    codecs: dict[str, CodecRecord]


@record
class ShapeRecord:
    """The numbers that fix the parameters, by network."""

    video: dict[str, Any]
    audio: dict[str, Any]
    bridge: dict[str, Any]


@record
class SurvivalRecord:
    """What was left out."""

    skipped_steps: tuple[SkippedRecord, ...]
    passed_batches: tuple[tuple[Natural, Natural], ...]


@record
class ReplacedRecord:
    """How many clips were replaced, and the hash of the file that names them."""

    clips: Natural
    sha256: Sha256 | None


@record
class LineageRecord:
    """What a component was begun from."""

    spec: Name
    sha256: Sha256
    name: Name
    step: Natural
    recipe_hash: Name
    commit: Name


@record
class ReleaseRecord:
    """release.json. A phase writes all of it; nothing else makes releases."""

    schema: Annotated[int, Field(ge=1, le=NEWEST)]
    components: dict[Name, ComponentRecord]
    files: dict[Name, FileRecord]
    base: BaseRecord | None
    adapter: bool
    name: Name
    phase: Name
    step: Natural
    weights: Name
    recipe: RecipePart
    recipe_hash: Name
    commit: Name
    shape: ShapeRecord
    data: SetsRecord
    codecs: dict[str, Name]
    survival: SurvivalRecord
    quarantined: ReplacedRecord
    parents: dict[Name, LineageRecord]

    def __post_init__(self) -> None:
        if self.adapter != (self.base is not None):
            raise ValueError(f"its `adapter` is {str(self.adapter).lower()}, which its `base` contradicts")
        check_encoded(self.data.grids, self.codecs)
        self._check_components()
        for file in (ADAPTER, ADAPTER_CONFIG) if self.adapter else ():
            if file not in self.files:
                raise ValueError(f"its `files` do not list {file}")

    def _check_components(self) -> None:
        """Each component has its own file, and each such file is a component's: one that is left out would begin from
        random weights, and towers whose files are exchanged have the same shapes."""
        for name, one in self.components.items():
            key, own = f"components.{named(name)}.file", f"{name}.safetensors"
            if one.file != own:
                raise ValueError(f"its `{key}` is {shown(one.file)}, and must be {named(own)}")
            if own not in self.files:
                raise ValueError(f"its `{key}` is {shown(own)}, which its `files` do not list")
        own_files = {f"{name}.safetensors" for name in self.components}
        for file in self.files:
            if "/" not in file and file.endswith(".safetensors") and file not in own_files:
                raise ValueError(f"its `files` list {named(file)}, which is of none of its `components`")


RECORD = Kind(holds=ReleaseRecord, about="release", remedy="restore the release from a copy", error=CheckpointError)

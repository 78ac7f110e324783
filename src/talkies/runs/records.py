"""The records in a run's folder."""

from typing import Annotated, Any

from pydantic import AfterValidator

from talkies.checkpoints.released import LineageRecord
from talkies.config import CheckpointError, RecipeError
from talkies.config.migrations import migrated
from talkies.config.numbers import Natural
from talkies.config.records import Integer, Kind, Name, Reading, Sha256, record

RESTORE_OR_NEW = "restore it from a copy, or start a new run (--new)"


def _a_recipe(values: dict[str, Any]) -> dict[str, Any]:
    try:
        steps = migrated(values).get("steps")
    except RecipeError as error:
        raise ValueError(f"the values cannot be migrated ({error})") from None
    last = steps.get("max") if isinstance(steps, dict) else None
    if type(last) is not int or last < 1:
        raise ValueError("its `steps.max` must be a number > 0")
    return values


@record
class RecipeRecord:
    """recipe.json: what a run trains, and from which parents. `recipe_hash`: of the recipe when the run began, in the
    schema of that time; `sha256`: of the hashed part of `recipe` (schema 1 had none); `commit`: of the sources when the
    run began."""

    recipe: Annotated[dict[str, Any], AfterValidator(_a_recipe)]
    recipe_hash: Name
    sha256: Sha256 | None = None
    parents: dict[Name, LineageRecord]
    commit: str | None = None

    @property
    def newest(self) -> dict[str, Any]:
        """The values of the recipe in the newest schema."""
        return migrated(self.recipe)

    @property
    def steps(self) -> int:
        """The recipe's last step."""
        return int(self.newest["steps"]["max"])


@record
class CurriculumRecord:
    """curriculum.json: the `digest` that identifies a curriculum's run, and the recipes of its preparation and phases,
    in the form of recipe.json (schema 1 had none)."""

    digest: Name
    prepare: dict[str, Any] | None = None
    phases: tuple[dict[str, Any], ...] = ()


@record
class DataRecord:
    """prepare.json of a data root: the recipe of its preparation, with resolved paths, in the form of recipe.json."""

    recipe: dict[str, Any]


@record
class PlaceRecord:
    """place.json: the data root, the tracking store, and the folder where a local store keeps artifacts. Relative paths
    start at `folder`, or at its present place if it was moved."""

    data_root: Name
    store: Name
    artifacts: Name | None = None
    folder: Name | None = None


@record
class ResultRecord:
    """result.json: the last step, the hash of the release, and the last value of every metric."""

    step: Natural
    sha256: Sha256
    metrics: dict[str, float]


@record
class BestRecord:
    """best.json: the step of the best checkpoint, and the `value` of the `metric` that it was chosen by."""

    step: Natural
    metric: str
    value: float


@record
class EvaluationRecord:
    """evaluation.json: the metrics of the release `sha256` on `clips` clips of the held-out set with the fingerprint
    `heldout`, with noise from `seed`. A metric that is not finite is a string, since JSON has no such number."""

    sha256: Sha256
    clips: Natural
    seed: Integer
    heldout: Name
    metrics: dict[str, Reading]


@record
class ValidatedRecord:
    """validated.json: the step that was validated last."""

    step: Natural


RECIPE = Kind(holds=RecipeRecord, about="run", remedy=RESTORE_OR_NEW, error=CheckpointError)
CURRICULUM = Kind(holds=CurriculumRecord, about="run", remedy=RESTORE_OR_NEW, error=CheckpointError)
DATA = Kind(holds=DataRecord, about="prepare", remedy="restore it from a copy, or remove it")
PLACE = Kind(holds=PlaceRecord, about="run", remedy=RESTORE_OR_NEW, error=CheckpointError)
RESULT = Kind(holds=ResultRecord, about="run", remedy=RESTORE_OR_NEW, error=CheckpointError)
BEST = Kind(
    holds=BestRecord,
    about="run",
    remedy="restore it from a copy, or remove it to forget the best",
    error=CheckpointError,
)
EVALUATION = Kind(
    holds=EvaluationRecord,
    about="run",
    remedy="restore it from a copy, or remove it to evaluate again",
    error=CheckpointError,
)
VALIDATED = Kind(
    holds=ValidatedRecord,
    about="run",
    remedy="restore it from a copy, or remove it to validate the last step again",
    error=CheckpointError,
)

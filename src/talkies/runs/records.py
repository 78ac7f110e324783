"""What the records in a run's folder hold."""

from typing import Annotated, Any

from pydantic import AfterValidator

from talkies.checkpoints.released import LineageRecord
from talkies.config import CheckpointError
from talkies.config.numbers import Natural
from talkies.config.records import Integer, Kind, Name, Reading, Sha256, record

ANEW = "restore it from a copy, or train anew with --new"


def _a_recipe(values: dict[str, Any]) -> dict[str, Any]:
    steps = values.get("steps")
    last = steps.get("max") if isinstance(steps, dict) else None
    if type(last) is not int or last < 1:
        raise ValueError("a recipe, with a number > 0 as its `steps.max`")
    return values


@record
class RecipeRecord:
    """recipe.json: what a run trains, and from what. `recipe_hash`: of the recipe when the run began, in the schema of
    that day; `sha256`: of what of `recipe` is hashed (schema 1 had none); `commit`: of the sources when it began."""

    recipe: Annotated[dict[str, Any], AfterValidator(_a_recipe)]
    recipe_hash: Name
    sha256: Sha256 | None = None
    parents: dict[Name, LineageRecord]
    commit: str | None = None

    @property
    def steps(self) -> int:
        """The recipe's last step."""
        return int(self.recipe["steps"]["max"])


@record
class CurriculumRecord:
    """curriculum.json: by which `digest` a curriculum's run is known, and the recipes of its preparation and phases, as
    recipe.json has them (schema 1 had none)."""

    digest: Name
    prepare: dict[str, Any] | None = None
    phases: tuple[dict[str, Any], ...] = ()


@record
class PlaceRecord:
    """place.json: where the prepared data lies, the tracking store, and where a local store keeps artifacts; relative
    paths begin at `folder`, or wherever that is now."""

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
    """best.json: the step of the best checkpoint, and the `value` of the `metric` that says so."""

    step: Natural
    metric: str
    value: float


@record
class EvaluationRecord:
    """evaluation.json: what the release `sha256` does on `clips` clips of the held-out set `heldout` (its fingerprint),
    with noise of `seed`. A metric that is no finite number is the word for it, as JSON has none."""

    sha256: Sha256
    clips: Natural
    seed: Integer
    heldout: Name
    metrics: dict[str, Reading]


@record
class StepRecord:
    """validated.json: the step that was validated last."""

    step: Natural


RECIPE = Kind(holds=RecipeRecord, about="run", remedy=ANEW, error=CheckpointError)
CURRICULUM = Kind(holds=CurriculumRecord, about="run", remedy=ANEW, error=CheckpointError)
PLACE = Kind(holds=PlaceRecord, about="run", remedy=ANEW, error=CheckpointError)
RESULT = Kind(holds=ResultRecord, about="run", remedy=ANEW, error=CheckpointError)
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
    holds=StepRecord,
    about="run",
    remedy="restore it from a copy, or remove it to validate the last step again",
    error=CheckpointError,
)

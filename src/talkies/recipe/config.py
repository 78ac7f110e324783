"""The root of a recipe: one phase, one preparation, or a curriculum of both."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from talkies.codecs.config import CodecsConfig
from talkies.config import RecipeError, config
from talkies.config.numbers import Natural
from talkies.config.quoting import shown
from talkies.config.source import LoadedRecipe, displayed
from talkies.data.config import DataConfig
from talkies.flow.config import FlowConfig
from talkies.generate.config import SamplingConfig
from talkies.launch.config import SlurmConfig
from talkies.models.config import MovaConfig
from talkies.parallel.config import ComputeConfig, DdpConfig, ParallelConfig
from talkies.prepare.config import PrepareConfig
from talkies.resilience.config import SurvivalConfig
from talkies.tracking.config import TrackingConfig
from talkies.training.config import EmaConfig, OptimizerConfig, PhaseConfig, StepsConfig, ValidationConfig

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=100)]


@config
class ParentsConfig:
    """Where weights come from: the name of an earlier phase of the curriculum, a run folder, a release folder or
    models:/name@alias. `base` brings every component; `video` and `audio` one tower each."""

    base: str | None = None
    video: str | None = None
    audio: str | None = None


@config
class PhaseRecipe:
    """One training phase."""

    kind: Literal["phase"] = "phase"
    name: Name
    seed: Natural = 0
    phase: PhaseConfig
    model: MovaConfig
    codecs: CodecsConfig
    parents: ParentsConfig = ParentsConfig()
    flow: FlowConfig = FlowConfig()
    optimizer: OptimizerConfig
    data: DataConfig
    steps: StepsConfig
    ema: EmaConfig = EmaConfig()
    precision: Literal["fp32", "bf16"] = "fp32"
    parallel: ParallelConfig = DdpConfig()
    compute: ComputeConfig = ComputeConfig()
    slurm: SlurmConfig = SlurmConfig()
    survival: SurvivalConfig = SurvivalConfig()
    validation: ValidationConfig
    sampling: SamplingConfig = SamplingConfig()
    tracking: TrackingConfig


@config
class CurriculumRecipe:
    """A preparation and an ordered list of phase recipes, as paths relative to this file. `promote` names the phase
    whose result is promoted at the end; `overrides` are `PHASE.key=value`, `phases.key=value` (every phase) or
    `prepare.key=value`, before those of the command line."""

    kind: Literal["curriculum"] = "curriculum"
    name: Name
    prepare: str
    phases: tuple[str, ...]
    promote: str | None = None
    overrides: tuple[str, ...] = ()


KINDS = ("phase", "curriculum", "prepare")
Recipe = Annotated[PhaseRecipe | CurriculumRecipe | PrepareConfig, Field(discriminator="kind")]


def kind_of(source: LoadedRecipe) -> str:
    """The `kind` that a recipe file declares; RecipeError if it declares none of the known ones."""
    kind = source.values.get("kind")
    if "kind" not in source.values:
        raise RecipeError(f"recipe: {displayed(source.file)} {_no_recipe(source.values)}")
    if kind not in KINDS:
        raise RecipeError(f"recipe: `kind` is {shown(kind)}; it must be one of {', '.join(KINDS)}")
    return str(kind)


def _no_recipe(values: Mapping[str, Any]) -> str:
    """The message for a file without a `kind`."""
    if isinstance(values.get("recipe"), dict):
        return (
            "is the record of a run, not a recipe: its part `recipe` is the one that was trained; give the file of "
            "that recipe, or copy the part into a file of its own"
        )
    return f"has no `kind`, so it is not a recipe: `kind` must be one of {', '.join(KINDS)}"

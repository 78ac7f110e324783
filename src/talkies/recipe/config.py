"""The root of a recipe: one phase, one preparation, or a curriculum of both."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NoReturn, Union

from pydantic import Field

from talkies.codecs.config import CodecsConfig
from talkies.config import RecipeError, config
from talkies.config.decode import decode, decode_values, one_of
from talkies.config.numbers import Natural
from talkies.config.quoting import shown
from talkies.config.schema import by_name
from talkies.config.source import LoadedRecipe, displayed
from talkies.data.config import DataConfig
from talkies.flow.config import FlowConfig, SamplingConfig
from talkies.launch.config import SlurmConfig
from talkies.parallel.config import ComputeConfig, DdpConfig, ParallelConfig
from talkies.prepare.config import PrepareConfig
from talkies.resilience.config import SurvivalConfig
from talkies.streams.system import System
from talkies.tracking.config import TrackingConfig
from talkies.training.config import (
    AllConfig,
    EmaConfig,
    OptimizerConfig,
    StepsConfig,
    TrainConfig,
    ValidationConfig,
)

NAME, NAME_LENGTH = r"[A-Za-z0-9_][A-Za-z0-9._-]*", 100
Name = Annotated[str, Field(pattern=f"^{NAME}$", max_length=NAME_LENGTH)]


@config
class PhaseRecipe:
    """One training phase of a `system`, whose classes `recipe_type` fills in for `phase` and `model`.

    `parents`: where weights come from, by the system's slots (`base` brings every component): the name of an earlier
    phase of the curriculum, a run folder, a release folder or models:/name@alias. `train`: all parameters, or an
    adapter on a frozen parent."""

    system: ClassVar[System]

    kind: Literal["phase"] = "phase"
    name: Name
    seed: Natural = 0
    phase: Any
    model: Any
    train: TrainConfig = AllConfig()
    codecs: CodecsConfig
    parents: dict[str, str | None] = by_name(default=None)
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
Systems = Sequence[System]
"""The systems that a program knows."""


@cache
def recipe_type(system: Any) -> type[PhaseRecipe]:
    """PhaseRecipe with the classes of a system."""
    annotations = {"model": system.model, "phase": system.phases}
    body = {"__annotations__": annotations, "__doc__": PhaseRecipe.__doc__, "__module__": __name__, "system": system}
    return config(type(f"{system.kind.capitalize()}Recipe", (PhaseRecipe,), body))


def decode_phase(source: LoadedRecipe, systems: Systems) -> PhaseRecipe:
    """The phase recipe in `source`, of one of these systems. RecipeError names what cannot be decoded."""
    return decode(recipe_type(_system_of(source, systems)), source)


def decode_phase_values(values: dict[str, Any], systems: Systems, *, where: str) -> PhaseRecipe:
    """The phase recipe in plain `values` of `where`, a file that talkies wrote."""
    system = _system_of(LoadedRecipe(file=Path(where), values=values, origins={}), systems)
    return decode_values(recipe_type(system), values, where=where)


def _system_of(source: LoadedRecipe, systems: Systems) -> System:
    model = source.values.get("model")
    kind = model.get("kind") if isinstance(model, Mapping) else None
    for system in systems:
        if system.kind == kind:
            return system
    return systems[0] if kind is None else _unknown(kind, source, systems)


def _unknown(kind: object, source: LoadedRecipe, systems: Systems) -> NoReturn:
    names = [system.kind for system in systems]
    place = source.origins.get("model.kind", displayed(source.file))
    raise RecipeError(f"recipe: unknown kind {shown(kind)} at `model.kind` ({place}){one_of(kind, names)}")


def decode_recipe(source: LoadedRecipe, systems: Systems) -> PhaseRecipe | CurriculumRecipe | PrepareConfig:
    """The recipe of any kind in `source`."""
    kind = kind_of(source)
    if kind == "phase":
        return decode_phase(source, systems)
    if kind == "curriculum":
        return decode(CurriculumRecipe, source)
    return decode(PrepareConfig, source)


def recipe_union(systems: Systems) -> Any:
    """The type of every recipe file, for the JSON schema."""
    members = (*(recipe_type(system) for system in systems), CurriculumRecipe, PrepareConfig)
    return Union[members]  # noqa: UP007 - made at run time


def kind_of(source: LoadedRecipe) -> str:
    """The `kind` that a recipe file declares; RecipeError if it declares none of the known ones."""
    kind = source.values.get("kind")
    if "kind" not in source.values:
        raise RecipeError(f"recipe: {displayed(source.file)} {_no_recipe(source.values)}")
    if kind not in KINDS:
        place = source.origins.get("kind", displayed(source.file))
        raise RecipeError(f"recipe: `kind` is {shown(kind)} ({place}){one_of(kind, KINDS)}")
    return str(kind)


def _no_recipe(values: Mapping[str, Any]) -> str:
    """The message for a file without a `kind`."""
    if isinstance(values.get("recipe"), dict):
        return (
            "is the record of a run, not a recipe: its part `recipe` is the one that was trained; give the file of "
            "that recipe, or copy the part into a file of its own"
        )
    return f"has no `kind`, so it is not a recipe: `kind` must be one of {', '.join(KINDS)}"

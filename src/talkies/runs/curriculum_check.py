"""What the recipes of a curriculum say of its phases before anything is made: what one would be refused for in the end,
all are refused for at the beginning.
"""

import difflib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from talkies.codecs.identity import config_values
from talkies.config import RecipeError, UserError
from talkies.config.shown import shown
from talkies.prepare.config import PrepareConfig, SetConfig
from talkies.prepare.geometry import Geometry
from talkies.recipe.check import enough
from talkies.recipe.components import parent_of, parts
from talkies.recipe.config import PhaseRecipe
from talkies.recipe.curriculum import Curriculum
from talkies.runs.parents import check_brings, check_shape, shape_json
from talkies.world.config import SyntheticSource


@contextmanager
def of_phase(name: str) -> Iterator[None]:
    """What is refused within the block is said to be of phase `name`."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"phase {shown(name)}: {error}") from None


def foresee(curriculum: Curriculum, *, done: Collection[str] = ()) -> None:
    """Raise what a phase would raise once its turn comes, as far as the recipes tell it: sets that the preparation does
    not make or makes otherwise, other codecs, more held-out clips than are held out, a parent of another architecture,
    a promotion of what registers nothing. Phases of `done` are finished and not looked at.
    """
    earlier: dict[str, PhaseRecipe] = {}
    for phase in curriculum.phases:
        if phase.name not in done:
            with of_phase(phase.name):
                _check_sets(phase, curriculum.prepare)
                _check_codecs(phase, curriculum.prepare)
                _check_parents(phase, earlier)
        earlier[phase.name] = phase
    _check_tracking(curriculum)


def _check_sets(phase: PhaseRecipe, prepare: PrepareConfig) -> None:
    for key in ("shards", "heldout"):
        name = getattr(phase.data, key)
        if name not in prepare.sets:
            near = difflib.get_close_matches(name, prepare.sets, 1)
            hint = f"did you mean {shown(near[0])}? " if near else ""
            raise RecipeError(
                f"recipe: `data.{key}` is {shown(name)}, which the preparation {shown(prepare.name)} does not "
                f"make; {hint}its sets: {', '.join(prepare.sets)}"
            )
        _check_set(phase, key, prepare.sets[name])
    most = _most(prepare, prepare.sets[phase.data.heldout])
    if most is not None:
        enough(phase, most, held="will have at most")


def _check_set(phase: PhaseRecipe, key: str, section: SetConfig) -> None:
    where = f"set {shown(getattr(phase.data, key))} of the preparation (`data.{key}`)"
    for modality in parts(phase).weights:
        if modality not in section.modalities:
            held = ", ".join(section.modalities)
            raise RecipeError(f"recipe: {where} keeps no {modality}, only {held}: choose another, or keep it")
    made = str(Geometry.parse(section.geometry, key=f"sets.{getattr(phase.data, key)}.geometry"))
    if made != phase.data.geometry:
        raise RecipeError(
            f"recipe: {where} has geometry {made}, the phase expects {phase.data.geometry}: set `data.geometry` to "
            f"{made}, or prepare a set of {phase.data.geometry}"
        )


def _most(prepare: PrepareConfig, section: SetConfig) -> int | None:
    """The most clips that a set can have; None where only its media tell."""
    source = prepare.sources.get(section.source)
    if source is None:
        return None  # preparing says so
    if section.split == "heldout":
        return source.heldout
    if not isinstance(source, SyntheticSource):
        return None
    return source.clips - source.heldout * (section.split == "train")


def _check_codecs(phase: PhaseRecipe, prepare: PrepareConfig) -> None:
    for part in ("video", "audio", "text"):
        ours, made = (config_values(getattr(recipe.codecs, part)) for recipe in (phase, prepare))
        for key in sorted(ours.keys() | made.keys()):
            if ours.get(key) != made.get(key):
                raise RecipeError(
                    f"recipe: `codecs.{part}.{key}` is {shown(ours.get(key))}, the preparation "
                    f"{shown(prepare.name)} has "
                    f"{shown(made.get(key))}: the data would be encoded by another codec; make them the same"
                )


def _check_parents(phase: PhaseRecipe, earlier: Mapping[str, PhaseRecipe]) -> None:
    """Of parents that are phases of this curriculum, which are not trained yet."""
    for component, spec in parent_of(phase).items():
        if spec in earlier:
            parent = earlier[spec]
            lora = parent.phase.kind == "lora"
            check_shape(component, spec, shape_json(parent), phase, adapter=lora)
            check_brings(component, spec, parts(parent).components)


def _check_tracking(curriculum: Curriculum) -> None:
    stores = {phase.name: phase.tracking.uri for phase in curriculum.phases}
    if len({*stores.values()}) > 1:
        told = ", ".join(f"{name} {shown(uri)}" for name, uri in stores.items())
        raise RecipeError(
            f"recipe: the phases of a curriculum are tracked in one store, but their `tracking.uri` are: {told}; set "
            "phases.tracking.uri"
        )
    name = curriculum.recipe.promote
    if name is not None and curriculum.phase(name).tracking.register is None:
        raise RecipeError(
            f"recipe: `promote` is {shown(name)}, but that phase names no registered model: set "
            f"{name}.tracking.register=NAME, or drop `promote`"
        )

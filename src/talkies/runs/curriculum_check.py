"""Checks of a curriculum's recipes before anything is made: an error that would stop a late phase stops the curriculum
at its start.
"""

import difflib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from talkies.codecs.identity import config_values
from talkies.config import RecipeError, UserError
from talkies.config.quoting import shown
from talkies.prepare.config import PrepareConfig, SetConfig
from talkies.prepare.geometry import Geometry
from talkies.prepare.plan import stored_streams, system_of
from talkies.recipe.check import check_heldout_clips
from talkies.recipe.components import codecs_read, parent_of, parts
from talkies.recipe.config import PhaseRecipe
from talkies.recipe.curriculum import Curriculum
from talkies.runs.parents import check_parent, shape_json
from talkies.streams.clip_size import spelled
from talkies.streams.system import System
from talkies.world.config import SyntheticSource


@contextmanager
def of_phase(name: str) -> Iterator[None]:
    """Name the phase in every error raised within the block."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"phase {shown(name)}: {error}") from None


def check_recipes(curriculum: Curriculum, *, done: Collection[str] = ()) -> None:
    """Raise now what a phase would raise later, as far as the recipes show it: a set that the preparation does not make
    or makes differently, other codecs, more held-out clips than are held out, a parent of another architecture, a
    promotion of a phase that registers nothing. Phases in `done` are finished and are not checked.
    """
    earlier: dict[str, PhaseRecipe] = {}
    for phase in curriculum.phases:
        if phase.name not in done:
            with of_phase(phase.name):
                _check_sets(phase, curriculum)
                _check_codecs(phase, curriculum.prepare)
                _check_parents(phase, earlier)
        earlier[phase.name] = phase
    _check_tracking(curriculum)


def _check_sets(phase: PhaseRecipe, curriculum: Curriculum) -> None:
    prepare = curriculum.prepare
    system = system_of(prepare, curriculum.systems)
    for key in ("shards", "heldout"):
        name = getattr(phase.data, key)
        if name not in prepare.sets:
            near = difflib.get_close_matches(name, prepare.sets, 1)
            hint = f"did you mean {shown(near[0])}? " if near else ""
            raise RecipeError(
                f"recipe: `data.{key}` is {shown(name)}, which the preparation {shown(prepare.name)} does not "
                f"make; {hint}its sets: {', '.join(prepare.sets)}"
            )
        _check_set(phase, key, prepare, system)
    most = _max_clips(prepare, prepare.sets[phase.data.heldout])
    if most is not None:
        check_heldout_clips(phase, most, held="will have at most")


def _check_set(phase: PhaseRecipe, key: str, prepare: PrepareConfig, system: System) -> None:
    name_of_set = getattr(phase.data, key)
    where, section = f"set {shown(name_of_set)} of the preparation (`data.{key}`)", prepare.sets[name_of_set]
    stored = stored_streams(prepare, section, system, key=f"sets.{name_of_set}")
    for name in parts(phase).read:
        if name not in stored:
            kept = ", ".join(stored)
            raise RecipeError(
                f"recipe: {where} keeps no {name}, only {kept}: choose another, or let the preparation keep it (its "
                f"`system`, the set's `modalities` and `without`) for {phase.system.kind} models"
            )
    geometry = Geometry.parse(section.geometry, key=f"sets.{name_of_set}.geometry")
    if str(geometry) != phase.data.geometry:
        needed = spelled(phase.data.geometry)
        raise RecipeError(
            f"recipe: {where} has geometry {geometry.spelled}, the phase expects {needed}: set `data.geometry` to "
            f"{geometry.spelled}, or prepare a set of {needed}"
        )


def _max_clips(prepare: PrepareConfig, section: SetConfig) -> int | None:
    """The most clips that a set can have; None if that depends on its media."""
    source = prepare.sources.get(section.source)
    if source is None:
        return None  # the preparation raises for it
    if section.split == "heldout":
        return source.heldout
    if not isinstance(source, SyntheticSource):
        return None
    return source.clips - source.heldout * (section.split == "train")


def _check_codecs(phase: PhaseRecipe, prepare: PrepareConfig) -> None:
    for part in sorted(codecs_read(phase)):
        ours, theirs = (_codec_values(recipe.codecs, part) for recipe in (phase, prepare))
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key):
                raise RecipeError(
                    f"recipe: `codecs.{part}.{key}` is {shown(ours.get(key))}, the preparation {shown(prepare.name)} "
                    f"has {shown(theirs.get(key))}: the data would be encoded by another codec; use one value for both"
                )


def _codec_values(codecs: Mapping[str, Any], name: str) -> dict[str, Any]:
    return config_values(codecs[name]) if name in codecs else {}


def _check_parents(phase: PhaseRecipe, earlier: Mapping[str, PhaseRecipe]) -> None:
    """Check the parents that are phases of this curriculum, not trained yet."""
    for component, spec in parent_of(phase).items():
        if spec in earlier:
            parent = earlier[spec]
            lora = parent.train.kind == "lora"
            check_parent(component, spec, shape_json(parent), parts(parent).components, phase, adapter=lora)


def _check_tracking(curriculum: Curriculum) -> None:
    stores = {phase.name: phase.tracking.uri for phase in curriculum.phases}
    if len({*stores.values()}) > 1:
        uris = ", ".join(f"{name} {shown(uri)}" for name, uri in stores.items())
        raise RecipeError(
            f"recipe: the phases of a curriculum are tracked in one store, but their `tracking.uri` are: {uris}; set "
            "phases.tracking.uri"
        )
    name = curriculum.recipe.promote
    if name is not None and curriculum.phase(name).tracking.register is None:
        raise RecipeError(
            f"recipe: `promote` is {shown(name)}, but that phase names no registered model: set "
            f"{name}.tracking.register=NAME, or drop `promote`"
        )

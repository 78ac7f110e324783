"""A curriculum: one preparation, then its phases in order, each from the exact result of the one before."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from talkies.config import RecipeError
from talkies.config.canonical import recipe_hash, to_dict
from talkies.config.decode import decode
from talkies.config.source import load
from talkies.prepare.config import PrepareConfig
from talkies.recipe.check import check
from talkies.recipe.config import CurriculumRecipe, PhaseRecipe

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """A decoded curriculum: the preparation and the phases, each checked, with the hash of it all."""

    recipe: CurriculumRecipe
    prepare: PrepareConfig
    prepare_folder: Path
    phases: tuple[PhaseRecipe, ...]
    digest: str

    def phase(self, name: str) -> PhaseRecipe:
        """The phase of that name."""
        return next(phase for phase in self.phases if phase.name == name)


def split_overrides(overrides: Sequence[str], name: str) -> list[str]:
    """The overrides meant for the member `name`: `name.key=value`, or `phases.key=value` for every phase."""
    heads = (f"{name}.", "phases.") if name != "prepare" else ("prepare.",)
    return [text.split(".", 1)[1] for text in overrides if text.startswith(heads)]


def load_curriculum(path: Path, overrides: Sequence[str] = ()) -> Curriculum:
    """Decode the curriculum at `path` and every recipe that it names.

    Raises RecipeError for an override of no member, a phase named twice, or a parent that comes later.
    """
    recipe = decode(CurriculumRecipe, load(path, ()))
    overrides = (*recipe.overrides, *overrides)
    prepare = _member(path.parent / recipe.prepare, split_overrides(overrides, "prepare"), PrepareConfig)
    phases: list[PhaseRecipe] = []
    for file in recipe.phases:
        target = path.parent / file
        name = decode(PhaseRecipe, load(target, ())).name
        phases.append(_member(target, split_overrides(overrides, name), PhaseRecipe))
    _check_order(path, phases, overrides)
    for phase in phases:
        check(phase)
    if recipe.promote is not None and recipe.promote not in {phase.name for phase in phases}:
        raise RecipeError(f"recipe: `promote` is {recipe.promote!r} in {path}, which is no phase of the curriculum")
    digest = recipe_hash({"prepare": to_dict(prepare), "phases": [recipe_hash(phase) for phase in phases]})
    return Curriculum(
        recipe=recipe,
        prepare=prepare,
        prepare_folder=(path.parent / recipe.prepare).parent,
        phases=tuple(phases),
        digest=digest,
    )


def _member(path: Path, overrides: Sequence[str], kind: type[T]) -> T:
    return decode(kind, load(path, overrides))


def _check_order(path: Path, phases: Sequence[PhaseRecipe], overrides: Sequence[str]) -> None:
    names = [phase.name for phase in phases]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RecipeError(f"recipe: phase {twice!r} stands twice in {path}: every phase needs a `name` of its own")
    for text in overrides:
        head = text.split(".", 1)[0]
        if head not in {*names, "prepare", "phases"} or "=" not in text:
            raise RecipeError(
                f"recipe: override {text!r} names no member of {path}; begin it with one of: "
                f"{', '.join(['phases', 'prepare', *names])}"
            )
    for place, phase in enumerate(phases):
        for parent in (phase.parents.base, phase.parents.video, phase.parents.audio):
            if parent in names[place:]:
                raise RecipeError(f"recipe: phase {phase.name!r} has parent {parent!r}, which comes later in {path}")

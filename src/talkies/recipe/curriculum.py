"""A curriculum: one preparation, then its phases in order, each from the exact result of the one before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from talkies.config import RecipeError
from talkies.config.canonical import recipe_hash
from talkies.config.decode import decode
from talkies.config.quoting import listed, shown
from talkies.config.source import LoadedRecipe, load
from talkies.prepare.config import PrepareConfig
from talkies.prepare.paths import located
from talkies.recipe.check import check, check_trained
from talkies.recipe.config import CurriculumRecipe, PhaseRecipe, Systems, decode_phase


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """A decoded curriculum: the preparation and the phases, each checked, and their common hash. `located`: the
    preparation with its paths resolved; `sources`: what each member was decoded from, by '' for the curriculum itself,
    `prepare`, and the names of the phases in order; `systems`: those that
    it was decoded with."""

    recipe: CurriculumRecipe
    prepare: PrepareConfig
    prepare_folder: Path
    located: PrepareConfig
    phases: tuple[PhaseRecipe, ...]
    digest: str
    sources: Mapping[str, LoadedRecipe]
    systems: Systems

    def phase(self, name: str) -> PhaseRecipe:
        """The phase of that name."""
        return next(phase for phase in self.phases if phase.name == name)

    def known_phase(self, name: str) -> PhaseRecipe:
        """As `phase`, for a name from the user: RecipeError if there is no such phase."""
        names = [phase.name for phase in self.phases]
        if name not in names:
            raise RecipeError(
                f"train: --phase {shown(name)} is not a phase of the curriculum; its phases: {listed(names)}"
            )
        return self.phase(name)


def digest_of(prepare: PrepareConfig, phases: Sequence[PhaseRecipe]) -> str:
    """The hash of a curriculum: of its preparation, with its paths resolved, and of its phases."""
    return recipe_hash({"prepare": prepare, "phases": [recipe_hash(phase) for phase in phases]})


def split_overrides(levels: Sequence[Sequence[str]], name: str) -> list[str]:
    """The overrides meant for the member `name`: `name.key=value`, or `phases.key=value` for every phase.

    A later level (the command line's, after the curriculum's own) wins over an earlier one, and within one the
    member's name over `phases`.
    """
    heads = ("phases.", f"{name}.") if name != "prepare" else ("prepare.",)
    kept: list[str] = []
    for level in levels:
        for head in heads:
            mine = [text.removeprefix(head) for text in level if text.startswith(head)]
            keys = {text.partition("=")[0] for text in mine}
            kept = [text for text in kept if text.partition("=")[0] not in keys] + mine
    return kept


def load_curriculum(path: Path, overrides: Sequence[str] = (), *, systems: Systems) -> Curriculum:
    """Decode the curriculum at `path` and every recipe that it names; the phases are of `systems`.

    Raises RecipeError for an override of no member, a phase named twice, or a parent that comes later.
    """
    curriculum_source = load(path)
    recipe = decode(CurriculumRecipe, curriculum_source)
    levels = (recipe.overrides, overrides)
    sources = {"": curriculum_source, "prepare": load(path.parent / recipe.prepare, split_overrides(levels, "prepare"))}
    prepare = decode(PrepareConfig, sources["prepare"])
    phases: list[PhaseRecipe] = []
    for file in recipe.phases:
        target = path.parent / file
        source = load(target, split_overrides(levels, decode_phase(load(target), systems).name))
        phases.append(decode_phase(source, systems))
        sources[phases[-1].name] = source
    _check_order(path, phases, (*recipe.overrides, *overrides))
    for phase in phases:
        check(phase)
        check_trained(phase)
    if recipe.promote is not None and recipe.promote not in {phase.name for phase in phases}:
        raise RecipeError(
            f"recipe: `promote` is {shown(recipe.promote)} in {path}, which is not a phase of the curriculum"
        )
    folder = (path.parent / recipe.prepare).parent
    located_prepare = located(prepare, folder, present=False)  # a plan needs no media
    return Curriculum(
        recipe=recipe,
        prepare=prepare,
        prepare_folder=folder,
        located=located_prepare,
        phases=tuple(phases),
        digest=digest_of(located_prepare, phases),
        sources=sources,
        systems=systems,
    )


def _check_order(path: Path, phases: Sequence[PhaseRecipe], overrides: Sequence[str]) -> None:
    names = [phase.name for phase in phases]
    if reserved := {"prepare", "phases"} & set(names):
        raise RecipeError(
            f"recipe: a phase of {path} is named {shown(reserved.pop())}, which overrides take for another member"
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RecipeError(
            f"recipe: two phases of {path} are named {shown(twice)}: every phase needs a `name` of its own"
        )
    for text in overrides:
        head = text.split(".", 1)[0]
        if head not in {*names, "prepare", "phases"} or "=" not in text:
            raise RecipeError(
                f"recipe: override {shown(text)} names no member of {path}; begin it with one of: "
                f"{listed(['phases', 'prepare', *names])}"
            )
    for place, phase in enumerate(phases):
        for parent in phase.parents.values():
            if parent in names[place:]:
                raise RecipeError(
                    f"recipe: phase {shown(phase.name)} has parent {shown(parent)}, which comes later in {path}"
                )

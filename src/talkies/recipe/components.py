"""What a phase builds and trains, and what it takes from its parents."""

from talkies.codecs.demix_config import demixers
from talkies.config import RecipeError
from talkies.config.quoting import listed, named
from talkies.recipe.config import PhaseRecipe
from talkies.streams.system import Parts

BASE = "base"
"""The key of `parents` that brings every component."""


def parts(recipe: PhaseRecipe) -> Parts:
    """The parts of a phase, as its system defines them."""
    return recipe.system.parts(recipe)


def codecs_read(recipe: PhaseRecipe) -> set[str]:
    """The codecs that encoded what the phase reads, what is degraded for it, and what is heard beside it; and the
    demixer, if it reads tracks."""
    system, read = recipe.system, parts(recipe)
    streams, texts = system.stored(recipe.codecs), system.texts(recipe.codecs)
    parted = any(streams[name].track is not None for name in read.held_out)
    codecs = {streams[name].codec for name in read.held_out} | {texts[name] for name in read.texts}
    return codecs | (demixers(recipe.codecs).keys() if parted else set())


def parent_of(recipe: PhaseRecipe) -> dict[str, str]:
    """component -> the parent that brings it. A component without a parent starts from random weights.

    Raises RecipeError if an adapter has no base, a frozen component no parent, or a parent brings nothing that this
    phase builds.
    """
    parents = {name: spec for name, spec in recipe.parents.items() if spec is not None}
    slots, built = recipe.system.slots, parts(recipe).components
    if unknown := sorted(parents.keys() - {BASE, *slots}):
        raise RecipeError(f"recipe: unknown key `parents.{named(unknown[0])}`; known: {listed([BASE, *slots])}")
    if recipe.train.kind != "all" and BASE not in parents:
        raise RecipeError(f"recipe: `train.kind` {recipe.train.kind} adapts a trained model: set `parents.{BASE}`")
    if BASE in parents:
        if len(parents) > 1:
            others = ", ".join(f"`parents.{name}`" for name in parents if name != BASE)
            raise RecipeError(f"recipe: `parents.{BASE}` brings every component; drop {others}")
        return dict.fromkeys(sorted(built), parents[BASE])
    found: dict[str, str] = {}
    for name, source in parents.items():
        if not built & set(slots[name]):
            raise RecipeError(
                f"recipe: `parents.{name}` is set but {recipe.phase.kind} phases build none of its components, "
                f"{', '.join(slots[name])}"
            )
        found |= dict.fromkeys(slots[name], source)
    if alone := sorted(parts(recipe).frozen - found.keys()):
        raise RecipeError(
            f"recipe: {recipe.phase.kind} phases do not train the component {alone[0]}: set `parents.{BASE}`, or "
            "another parent that brings it"
        )
    return found

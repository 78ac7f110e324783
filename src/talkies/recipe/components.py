"""What each phase builds, what it trains, and what it needs from its parents."""

from dataclasses import dataclass

from talkies.config import RecipeError
from talkies.recipe.config import PhaseRecipe
from talkies.streams import Modality

VIDEO = ("video_high", "video_low")
JOINT = (*VIDEO, "audio", "bridge")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """`components`: what the phase builds; `weights`: the loss weight of each modality that it trains; `alternate`: its
    steps alternate between the two video experts."""

    components: frozenset[str]
    weights: dict[Modality, float]
    alternate: bool


def parts(recipe: PhaseRecipe) -> Parts:
    """The parts of a phase, determined by its kind."""
    phase = recipe.phase
    if phase.kind == "video_pretraining":
        return Parts(components=frozenset(VIDEO), weights={"video": 1.0}, alternate=True)
    if phase.kind == "audio_pretraining":
        return Parts(components=frozenset({"audio"}), weights={"audio": 1.0}, alternate=False)
    components = frozenset(JOINT) if recipe.model.bridge else frozenset(JOINT) - {"bridge"}
    weights: dict[Modality, float] = {"video": phase.video_loss_weight, "audio": phase.audio_loss_weight}
    return Parts(components=components, weights=weights, alternate=True)


def parent_of(recipe: PhaseRecipe) -> dict[str, str]:
    """component -> the parent that brings it. A component without a parent starts from random weights.

    Raises RecipeError if a LoRA has no base, or a parent brings nothing that this phase builds.
    """
    parents, built = recipe.parents, parts(recipe).components
    if recipe.phase.kind == "lora" and parents.base is None:
        raise RecipeError("recipe: a lora phase adapts a trained model: set `parents.base`")
    if parents.base is not None and (parents.video or parents.audio):
        raise RecipeError("recipe: `parents.base` brings every component; drop `parents.video` and `parents.audio`")
    if parents.base is not None:
        return dict.fromkeys(sorted(built), parents.base)
    found: dict[str, str] = {}
    for name, members in (("video", VIDEO), ("audio", ("audio",))):
        source = getattr(parents, name)
        if source is None:
            continue
        if not built & set(members):
            raise RecipeError(f"recipe: `parents.{name}` is set but a {recipe.phase.kind} phase builds no {name} tower")
        found |= dict.fromkeys(members, source)
    return found

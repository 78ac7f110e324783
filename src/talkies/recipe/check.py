"""Consistency checks between the sections of a phase recipe, before anything is built."""

import re

from talkies.codecs.config import audio_grid, video_grid
from talkies.config import DataError, RecipeError
from talkies.config.quoting import shown
from talkies.models.config import TowerConfig
from talkies.parallel.check import check_layout, check_sequence, divisors
from talkies.prepare.geometry import Geometry
from talkies.recipe.components import parent_of, parts
from talkies.recipe.config import PhaseRecipe
from talkies.recipe.gates import check_gates
from talkies.resilience.config import SurvivalConfig
from talkies.streams import Grid, Modality
from talkies.tracking.config import TrackingConfig

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")


def grids(recipe: PhaseRecipe, geometry: Geometry) -> dict[Modality, Grid]:
    """Latent geometry per modality that the phase trains on."""
    codecs, wanted = recipe.codecs, parts(recipe).weights
    found: dict[Modality, Grid] = {}
    if "video" in wanted:
        found["video"] = video_grid(
            codecs.video, frames=geometry.frames, height=geometry.height, width=geometry.width, fps=geometry.fps
        )
    if "audio" in wanted:
        found["audio"] = audio_grid(codecs.audio, samples=geometry.samples(codecs.audio.sample_rate))
    return found


def mask_channels(recipe: PhaseRecipe) -> int:
    """Channels of the first-frame mask: the pixel frames that fold into one latent frame (as in the released code)."""
    return recipe.codecs.video.stride


def _channels(section: str, tower: TowerConfig, *, needed_in: int, needed_out: int) -> None:
    if (tower.in_channels, tower.out_channels) != (needed_in, needed_out):
        raise RecipeError(
            f"recipe: `codecs.{section}` gives {needed_out} latent channels, so the {section} tower needs {needed_in} "
            f"in and {needed_out} out, but the `model.preset` has {tower.in_channels} and {tower.out_channels}"
        )


def _check_survival(survival: SurvivalConfig) -> None:
    """RecipeError for a setting that has no effect with the others."""
    default, spike = SurvivalConfig(), survival.spike
    if spike != default.spike and spike.action == "ignore":
        raise RecipeError("recipe: `survival.spike` is set, but its `action` is ignore: choose raise, skip or rollback")
    if survival.rollback != default.rollback and not survival.goes_back:
        raise RecipeError(
            "recipe: `survival.rollback` is set, but neither `survival.non_finite` nor `survival.spike.action` is "
            "rollback: set one of them, or drop it"
        )
    if survival.skips != default.skips and "skip" not in (survival.non_finite, spike.action):
        raise RecipeError(
            "recipe: `survival.skips` is set, but neither `survival.non_finite` nor `survival.spike.action` is skip: "
            "set one of them, or drop it"
        )


def check_license(tracking: TrackingConfig) -> None:
    """RecipeError for a license that is not an identifier. Checked only when training begins, so that runs made before
    this rule can still be opened."""
    if not _LICENSE.fullmatch(tracking.license):
        raise RecipeError(
            f"recipe: `tracking.license` must be an identifier of the Hub (apache-2.0, cc-by-4.0, other, unknown; all: "
            f"https://hf.co/docs/hub/repositories-licenses), got {shown(tracking.license)}"
        )


def wanted_clips(recipe: PhaseRecipe) -> dict[str, int]:
    """Key of `validation` -> the number of held-out clips that it asks for."""
    wanted = {"clips": recipe.validation.clips, "samples": recipe.validation.samples}
    return wanted if recipe.tracking.register is None else {**wanted, "final_clips": recipe.validation.final_clips}


def check_heldout_clips(recipe: PhaseRecipe, heldout: int, *, held: str = "has") -> None:
    """Raise RecipeError if the recipe asks for more than `heldout` held-out clips."""
    for key, count in wanted_clips(recipe).items():
        if count > heldout:
            raise RecipeError(
                f"recipe: `validation.{key}` is {count}, but set {shown(recipe.data.heldout)} {held} {heldout} clips: "
                "lower it, or hold out more"
            )


def _check_rank(recipe: PhaseRecipe) -> None:
    """RecipeError for a LoRA of a higher rank than the layers that it adapts, which would only take memory."""
    phase, shape = recipe.phase, recipe.model.shape
    most = max(shape.video.dim, shape.audio.dim)
    if phase.kind == "lora" and phase.rank > most:
        raise RecipeError(
            f"recipe: `phase.rank` is {phase.rank}, but the towers of `model.preset` {recipe.model.preset} are at most "
            f"{most} wide: lower it"
        )


def check(recipe: PhaseRecipe) -> dict[Modality, Grid]:
    """Raise RecipeError if sections disagree; return the grids of the phase."""
    shape, codecs = recipe.model.shape, recipe.codecs
    video, audio = codecs.video, codecs.audio
    _channels("video", shape.video, needed_in=2 * video.channels + video.stride, needed_out=video.channels)
    _channels("audio", shape.audio, needed_in=audio.channels, needed_out=audio.channels)
    if codecs.text.dim != shape.video.text_dim:
        raise RecipeError(
            f"recipe: `codecs.text.dim` is {codecs.text.dim}, the towers of `model.preset` {recipe.model.preset} take "
            f"{shape.video.text_dim}"
        )
    if not recipe.model.bridge and recipe.sampling.bridge_scale != 1.0:
        raise RecipeError("recipe: `sampling.bridge_scale` needs a Bridge; `model.bridge` is false")
    steps = recipe.steps
    if steps.global_batch % steps.accumulate:
        raise RecipeError(
            f"recipe: `steps.global_batch` {steps.global_batch} is not divisible by `steps.accumulate` "
            f"{steps.accumulate}; divisors: {divisors(steps.global_batch)}"
        )
    check_layout(recipe.parallel, recipe.compute, global_batch=steps.global_batch, accumulate=steps.accumulate)
    _check_survival(recipe.survival)
    check_gates(recipe)
    _check_rank(recipe)
    parent_of(recipe)
    try:
        found = grids(recipe, Geometry.parse(recipe.data.geometry, key="data.geometry"))
    except DataError as error:
        raise RecipeError(f"recipe: `data.geometry` {recipe.data.geometry}: {error}") from None
    towers: dict[Modality, TowerConfig] = {"video": shape.video, "audio": shape.audio}
    tokens: dict[Modality, int] = {}
    for name, grid in found.items():
        try:
            tokens[name] = grid.tokens(towers[name].patch)
        except ValueError as error:
            raise RecipeError(f"recipe: `data.geometry` {recipe.data.geometry}: {name}: {error}") from None
    check_sequence(recipe.parallel, tokens)
    return found

"""Consistency checks between the sections of a phase recipe, before anything is built."""

import re
from collections.abc import Collection
from dataclasses import replace

from talkies.config import RecipeError
from talkies.config.keys import variants
from talkies.config.quoting import listed, named, shown
from talkies.flow.config import SAMPLERS, fits
from talkies.flow.degradation_config import check_unused
from talkies.flow.tasks import TOLERANCE, chances
from talkies.parallel.check import check_layout, check_sequence, divisors
from talkies.prepare.geometry import Geometry, stream_grid
from talkies.prepare.plan import check_codecs
from talkies.prepare.track_plan import demixer_of
from talkies.recipe.components import parent_of, parts
from talkies.recipe.config import PhaseRecipe
from talkies.recipe.gates import check_gates
from talkies.recipe.sampling import check_sampling
from talkies.resilience.config import SurvivalConfig
from talkies.streams import Grid
from talkies.streams.system import sizes_key
from talkies.tracking.config import TrackingConfig

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")


def grids(recipe: PhaseRecipe, geometry: Geometry) -> dict[str, Grid]:
    """Latent geometry of every stream that the phase reads."""
    stored = recipe.system.stored(recipe.codecs)
    found: dict[str, Grid] = {}
    for name in parts(recipe).streams:
        if name not in stored:
            raise RecipeError(f"recipe: {recipe.phase.kind} phases read {name}, for which `codecs` has no codec")
        found[name] = stream_grid(stored[name], recipe.codecs, geometry)
    return found


def cut_grids(
    recipe: PhaseRecipe, geometry: Geometry, *, where: str = "recipe: `data.geometry`"
) -> tuple[dict[str, Grid], dict[str, int]]:
    """As `grids`, and the tokens of what the phase trains. RecipeError, which begins with `where`, if a codec cannot
    encode clips of `geometry`, or the system cannot cut their latents."""
    try:
        found = grids(recipe, geometry)
        return found, recipe.system.tokens(recipe, {name: found[name] for name in parts(recipe).targets})
    except ValueError as error:
        raise RecipeError(f"{where} {geometry.spelled}: {error}") from None


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


def check_trained(recipe: PhaseRecipe) -> None:
    """RecipeError for what only a recipe that is to be trained must not have, so that runs made before these rules, and
    imported weights, can still be opened."""
    check_card(recipe)
    for one in parts(recipe).degraded.values():
        check_unused(one.by, key="phase.degradation")


def check_card(recipe: PhaseRecipe) -> None:
    """RecipeError for what a model card cannot say."""
    _check_license(recipe.tracking)
    voices = recipe.tracking.voices
    if recipe.system.voices and not (voices or "").strip():
        raise RecipeError(
            f"recipe: `tracking.voices` is missing: {recipe.system.kind} models speak with the voices that they were "
            "trained on; write whose they are, and by what right they are used"
        )


def _check_license(tracking: TrackingConfig) -> None:
    if not _LICENSE.fullmatch(tracking.license):
        raise RecipeError(
            f"recipe: `tracking.license` must be an identifier of the Hub (apache-2.0, cc-by-4.0, other, unknown; all: "
            f"https://hf.co/docs/hub/repositories-licenses), got {shown(tracking.license)}"
        )


def _check_masters(recipe: PhaseRecipe) -> None:
    """RecipeError for bf16 masters where matmuls read fp32, or of trained weights only."""
    if recipe.compute.masters == "fp32":
        return
    if recipe.precision == "fp32":
        raise RecipeError(
            "recipe: `compute.masters` is bf16, but `precision` is fp32, in which matmuls read fp32 weights: set "
            "`precision` to bf16, or drop `compute.masters`"
        )
    if recipe.train.kind == "all" and not parts(recipe).frozen:
        raise RecipeError(
            f"recipe: `compute.masters` bf16 holds frozen weights in bf16, but {recipe.phase.kind} phases with "
            "`train.kind` all train every weight, and in bf16 they would lose small updates: set `train.kind` to "
            "lora, or drop `compute.masters`"
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
    components = recipe.system.components(recipe)
    widest = max((components[name] for name in parts(recipe).components), key=lambda one: one.width)
    if recipe.train.kind == "lora" and recipe.train.rank > widest.width:
        raise RecipeError(
            f"recipe: `train.rank` is {recipe.train.rank}, but the layers of "
            f"{sizes_key(recipe.model, widest.sized_by)} are at most {widest.width} wide: lower it"
        )


def _check_names(recipe: PhaseRecipe) -> None:
    """RecipeError for names in mappings that the system does not know, or that it needs and does not find."""
    system = recipe.system
    rates, known_rates = (
        recipe.optimizer.lr,
        list(dict.fromkeys(one.rate for one in system.components(recipe).values())),
    )
    shifts = [
        (f"{key}.schedule.shifts", schedule.shifts)
        for key, schedule in (("flow", recipe.flow.schedule), ("sampling", recipe.sampling.schedule))
        if schedule.kind == "shifted"
    ]
    known_streams = _noised(recipe)
    sections: list[tuple[str, Collection[str], Collection[str]]] = [
        ("optimizer.lr", rates, known_rates),
        ("sampling.scales", recipe.sampling.scales, system.scales),
        *((key, values, known_streams) for key, values in shifts),
    ]
    for key, found, known in sections:
        if unknown := sorted(set(found) - set(known)):
            raise RecipeError(f"recipe: unknown key `{key}.{named(unknown[0])}`; known: {listed([*known])}")
    if missing := [name for name in known_rates if name not in rates]:
        raise RecipeError(f"recipe: missing key `optimizer.lr.{missing[0]}`")
    if not fits(recipe.sampling.sampler, recipe.flow.target):
        raise RecipeError(
            f"recipe: `sampling.sampler.kind` {recipe.sampling.sampler.kind} does not fit `flow.target.kind` "
            f"{recipe.flow.target.kind}: use {' or '.join(SAMPLERS[recipe.flow.target.kind])}"
        )


def _check_tracks(recipe: PhaseRecipe) -> None:
    """RecipeError if the phase reads tracks of the sound that no demixer makes."""
    stored = recipe.system.stored(recipe.codecs)
    read = {name: stored[name].track for name in parts(recipe).held_out if name in stored}
    parted = {name: track for name, track in read.items() if track is not None}
    if parted:
        demixer_of(recipe.codecs, parted, recipe.system, reads=f"{recipe.phase.kind} phases read")


def _noised(recipe: PhaseRecipe) -> Collection[str]:
    """The streams that a phase of the system noises, whichever it is: recipes of several phases share their shifts. If
    a phase has required keys, whatever shards store."""
    kinds = variants(recipe.system.phases).values() or [recipe.system.phases]
    try:
        phases = [replace(recipe, phase=kind()) for kind in kinds]
    except TypeError:
        return recipe.system.stored(recipe.codecs)
    return dict.fromkeys(name for phase in phases for name in parts(phase).targets)


def _check_tasks(recipe: PhaseRecipe) -> None:
    part = parts(recipe)
    if not part.tasks:
        return
    try:
        chances(part.tasks, len(part.cycle))
    except ValueError as error:
        raise RecipeError(f"recipe: `phase.tasks`: {error}") from None


def _check_known(recipe: PhaseRecipe) -> None:
    """RecipeError for shares of known frames that are more than all samples."""
    for frames in parts(recipe).known.values():
        if (total := sum(frames.shares.values())) > 1 + TOLERANCE:
            raise RecipeError(
                f"recipe: the shares of `phase.known_frames` add up to {total:g}: lower them to at most 1 in all"
            )


def check(recipe: PhaseRecipe) -> dict[str, Grid]:
    """Raise RecipeError if sections disagree; return the grids of the streams that the phase trains."""
    check_codecs(recipe.codecs, recipe.system)
    _check_tracks(recipe)
    check_sampling(recipe, recipe.sampling)
    _check_names(recipe)
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
    _check_masters(recipe)
    _check_tasks(recipe)
    _check_known(recipe)
    parent_of(recipe)
    found, tokens = cut_grids(recipe, Geometry.parse(recipe.data.geometry, key="data.geometry"))
    check_sequence(recipe.parallel, tokens)
    return found

"""The metrics that a phase measures, by name. A gate on any other metric would refuse every promotion."""

import difflib

from talkies.config import RecipeError
from talkies.config.quoting import shown
from talkies.evaluation.metric_info import SCORES
from talkies.prepare.geometry import Geometry
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe
from talkies.recipe.media import makes, medium_of
from talkies.streams.clip_size import spelled

SYNC_FRAMES, MOTION_FRAMES = 3, 4
"""With fewer frames there is no mouth, or no motion, to compare with the sound."""
SYNC = ("sync", "sync_median", "sync_shuffled", "sync_reference", "lag_ms", "lag_ms_mean")
GIVEN = ("sync", "sync_swapped", "sync_original", "lag_frames")
"""Of every task that gives a stream, and of every sound that is a condition."""
FOLLOWED = ("", "_swapped", "_original", "_reference")
"""Of the score of a track of the world's scenes that is a condition."""
WALL = ("wall", "wall_reference", "wall_chance")
"""Of the world's scenes, where tracks are conditions."""
MOTION = ("motion_sync", "motion_sync_shuffled", "motion_sync_reference")
SHOWN = tuple(f"{name}{part}" for name in ("kind", "background", "shirt") for part in ("", "_reference", "_chance"))
"""Of the world's speakers."""
SAID = tuple(f"{name}{part}" for name in ("script", "setting") for part in ("", "_reference", "_chance"))
"""Of the world's scripts."""
VOICE = tuple(f"{name}{part}" for name in ("pitch", "timbre") for part in ("", "_reference", "_chance"))
OF_VOICES = ("pitch_swapped", "pitch_original", "pitch_dropped", "timbre_swapped")
TUNED = ("clips", "setting", "pitch", "script")
IDENTITY = ("identity", "identity_reference", "identity_chance")
MAX_SUGGESTED = 5


def measured(recipe: PhaseRecipe) -> tuple[str, ...]:
    """Names of the metrics that training, validation and the evaluation before a promotion can give, sorted. Sync
    metrics need clips with moving mouths and audible voices, and SHOWN the world's speakers."""
    targets, made, bins = tuple(parts(recipe).targets), makes(recipe), range(recipe.validation.bins)
    losses = [f"{m}{part}" for m in targets for part in ("", *(f"/bin{k}" for k in bins))]
    found = {f"train/{key}" for key in ("loss", "grad_norm", "lr", "clips_per_second", "data_seconds", *losses)}
    if recipe.parallel.ranks > 1:
        found |= {"train/slowest_rank", "train/slowest_ratio"}
    found |= {"data/quarantined"}
    found |= {f"{where}heldout/{loss}" for where in ("", "evaluation/") for loss in losses}
    found |= {f"evaluation/frechet_{medium}" for medium in made}
    if made == ("audio",) and recipe.system.captions.wording:
        found |= {f"evaluation/{key}" for key in (*SAID, *_voiced(recipe))}
    frames = _heard_frames(recipe)
    if frames >= SYNC_FRAMES:
        found |= {f"evaluation/{key}" for key in (*SYNC, *SHOWN, *_given(recipe))}
    if frames >= MOTION_FRAMES:
        found |= {f"evaluation/{key}" for key in MOTION}
    return tuple(sorted(found))


def _heard_frames(recipe: PhaseRecipe) -> int:
    """Frames of the clips that the phase makes and that are heard with sound; 0 if there are none."""
    found = parts(recipe)
    media = {medium_of(recipe, name) for name in (*found.targets, *found.beside)}
    if "video" not in makes(recipe) or "audio" not in media:
        return 0
    return Geometry.parse(recipe.data.geometry, key="data.geometry").frames


def _given(recipe: PhaseRecipe) -> list[str]:
    """Metrics of what a phase is given: by a task, or as a condition."""
    found, stored = parts(recipe), recipe.system.stored(recipe.codecs)
    names = [f"{name}/{key}" for name, task in found.tasks.items() if task.given for key in GIVEN]
    for name in sorted(found.conditions):
        if stored[name].of == "reference":
            names += [*IDENTITY, f"{name}/identity_swapped"]
        elif name in SCORES:
            names += [*(f"{name}/{SCORES[name]}{part}" for part in FOLLOWED), f"{name}/others", *WALL]
            names += [f"{name}/{SCORES[name]}_chance"] if SCORES[name] == "mood" else []
        elif medium_of(recipe, name) == "audio":
            names += [f"{name}/{key}" for key in (*GIVEN, "sync_dropped")]
    return names


def _voiced(recipe: PhaseRecipe) -> list[str]:
    """Metrics of a sound in a voice that is given."""
    found, stored = parts(recipe), recipe.system.stored(recipe.codecs)
    names = [name for name in sorted(found.conditions) if stored[name].of == "passage"]
    metrics = [f"{name}/{key}" for name in names for key in OF_VOICES]
    arms = [*(["tuning"] if names else []), *(["degraded"] if found.degraded else [])]
    return [*metrics, *(VOICE if names else ()), *(f"{arm}/{key}" for arm in arms for key in TUNED)]


def check_gates(recipe: PhaseRecipe) -> None:
    """RecipeError for a gate on a metric that is not measured, and for a registered model that cannot be evaluated."""
    known = measured(recipe)
    for number, gate in enumerate(recipe.tracking.gates):
        if gate.metric not in known:
            near = difflib.get_close_matches(gate.metric, known, MAX_SUGGESTED, cutoff=0.4)
            hint = f"did you mean {near[0]}? Near it: {', '.join(near)}" if near else f"it measures {', '.join(known)}"
            raise RecipeError(
                f"recipe: `tracking.gates.{number}.metric` is {shown(gate.metric)}, which {recipe.phase.kind} phases "
                f"of `data.geometry` {spelled(recipe.data.geometry)} do not measure; {hint}"
            )
    if recipe.tracking.register is not None and recipe.validation.final_clips < 2:
        raise RecipeError(
            "recipe: `validation.final_clips` is 1, but the evaluation before a promotion (`tracking.register`) "
            "compares at least 2 clips: raise it"
        )

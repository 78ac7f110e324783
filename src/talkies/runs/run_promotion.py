"""A promotion: the evaluation of a finished run, its gates, then a registry version, an alias and a model card."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from talkies.checkpoints.release import read_release, release_sha256
from talkies.config import CheckpointError, RecipeError
from talkies.config.records import present
from talkies.parallel.ranks import Ranks
from talkies.recipe.config import PhaseRecipe, Systems
from talkies.recipe.full_scale import full_scale
from talkies.recipe.media import makes, takes
from talkies.runs.card_samples import samples_of
from talkies.runs.folders import finished, in_turn, locked
from talkies.runs.inputs_record import check_release
from talkies.runs.located import refuse_many
from talkies.runs.place import Place
from talkies.runs.recorded import recipe_of_release, recipe_of_run
from talkies.runs.records import EVALUATION, RESULT
from talkies.runs.retention import mark
from talkies.runs.run_evaluation import Registry, Tracked, evaluate_run
from talkies.runs.source import as_tracked, open_source
from talkies.tracking.cards import Shelf
from talkies.tracking.config import TrackingConfig
from talkies.tracking.registry import promote, ready


def promote_run(
    run: Path,
    *,
    registry: Registry,
    tracked: Tracked,
    expect: str | None,
    ranks: Ranks,
    systems: Systems,
    cards: Path | None = None,
    tracking: TrackingConfig | None = None,
    data: Path | None = None,
    say: Callable[[str], None] = print,
) -> str:
    """Lock a finished run, evaluate it unless that was done, apply its gates, register it and move its alias; returns
    its spec.

    Every process of `ranks` takes part in the evaluation; the main one does the rest. `tracking`: gates and names that
    replace those of the run; `data`: the prepared data, if not the run's own.
    """
    _check_finished(run)
    release = run / "release"
    with ExitStack() as locks:
        ranks.agree((lambda: locks.enter_context(locked(run, hint="then promote it"))) if ranks.main else None)
        info = ranks.after_main(lambda main: read_release(release, verify=main))
        recipe, run_recipe = recipe_of_release(release, info, systems), recipe_of_run(run, systems)
        ranks.agree(check_release if ranks.main else None, run, recipe, info)
        tracking = tracking or run_recipe.tracking  # excluded from the hash: that of the last command is recorded
        if tracking.register is None:
            raise RecipeError(
                f"promote: the recipe of {run} names no registered model: repeat its `talkies train` with "
                "tracking.register=NAME; nothing is trained again"
            )
        place = tracked(run, run_recipe)
        place = place if data is None else replace(place, data_root=data)
        shelf = Shelf(folder=cards or run, full_scale=full_scale())
        check_ready = partial(ready, run, tracking, store=place.store, expect=expect, shelf=shelf)
        ranks.agree(check_ready if ranks.main else None)
        clips = recipe.validation.final_clips
        metrics = _metrics(place, clips=clips, registry=registry, ranks=ranks, systems=systems, say=say)
        register = partial(_register, place, recipe, tracking, metrics, expect=expect, shelf=shelf, say=say)
        return ranks.first(register if cards is None else partial(_in_turn, register, shelf))


def _check_finished(run: Path) -> None:
    if finished(run):
        return
    if not run.exists():
        raise RecipeError(f"promote: {run} does not exist: give the folder of a run")
    if present(run / "release.json"):
        raise CheckpointError(
            f"promote: {run} is a release, not a run: what a run trained is registered; `parents`, `sample` and "
            "`evaluate` take a release by its path"
        )
    refuse_many("promote", run)
    raise CheckpointError(f"promote: {run} is not a finished run (no result.json): train it to its end first")


def _in_turn(register: Callable[[], str], shelf: Shelf) -> str:
    """Register while holding the lock of cards that several runs share. (A run's own cards are covered by its lock.)"""
    with in_turn(shelf.cards, hint="then promote again"):
        return register()


def _register(
    place: Place,
    recipe: PhaseRecipe,
    tracking: TrackingConfig,
    metrics: dict[str, float],
    *,
    expect: str | None,
    shelf: Shelf,
    say: Callable[[str], None],
) -> str:
    """Apply the gates, register the version, move the alias, write the card; returns the spec."""
    run, release = place.folder, place.folder / "release"
    samples = samples_of(run / "evaluation", release_sha256(release))
    promotion = promote(
        run,
        release,
        tracking,
        store=place.store,
        metrics=metrics,
        expect=expect,
        shelf=shelf,
        samples=samples,
        made=makes(recipe),
        takes=takes(recipe),
        keep=partial(mark, run, int(read_release(release, verify=False)["step"])),
    )
    spec = f"models:/{promotion.name}@{promotion.alias}"
    say(f"promoted: {spec} is version {promotion.version} (was {promotion.previous or 'unset'})")
    say(f"card:     {promotion.card}")
    return spec


def _metrics(
    place: Place, *, clips: int, registry: Registry, ranks: Ranks, systems: Systems, say: Callable[[str], None]
) -> dict[str, float]:
    """The last metrics of training and those of this release's evaluation, which is made unless it exists."""
    run, release = place.folder, place.folder / "release"
    trained = RESULT.read(run / "result.json").metrics
    wanted = {"sha256": release_sha256(release), "clips": clips, "seed": 0}
    wanted["heldout"] = read_release(release, verify=False)["data"]["heldout_fingerprint"]
    known = EVALUATION.find(run / "evaluation.json")
    if known is not None and {key: getattr(known, key) for key in wanted} == wanted:
        return {**trained, **known.metrics}
    source = as_tracked(open_source(str(run), registry, ranks, systems=systems))
    return {**trained, **evaluate_run(source, place, clips=clips, seed=0, send=False, ranks=ranks, say=say)}

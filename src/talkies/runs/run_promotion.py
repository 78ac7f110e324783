"""A promotion: the evaluation of a finished run, its gates, then a registry version, an alias and a model card."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from talkies.checkpoints.release import read_release, release_sha256
from talkies.config import CheckpointError, RecipeError
from talkies.parallel.ranks import Ranks
from talkies.recipe.full_scale import full_scale
from talkies.runs.card_samples import samples_of
from talkies.runs.folders import finished, in_turn, locked
from talkies.runs.inputs_record import check_release
from talkies.runs.place import Place
from talkies.runs.recorded import recipe_of_release, recipe_of_run
from talkies.runs.records import EVALUATION, RESULT
from talkies.runs.retention import mark
from talkies.runs.run_evaluation import Registry, Tracked, evaluate_run
from talkies.runs.source import as_tracked, open_source, refuse_many
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
    cards: Path | None = None,
    tracking: TrackingConfig | None = None,
    data: Path | None = None,
    say: Callable[[str], None] = print,
) -> str:
    """Hold a finished run, evaluate it if it was not yet, apply its gates, register it, move its alias; returns its
    spec.

    Every process of `ranks` takes part in the evaluation; the main one does the rest. `tracking`: gates and names in
    place of those that the run was trained with; `data`: the prepared data, if not the run's own.
    """
    _check_finished(run)
    release = run / "release"
    with ExitStack() as held:
        ranks.agree((lambda: held.enter_context(locked(run, hint="then promote it"))) if ranks.main else None)
        info = ranks.after_main(lambda main: read_release(release, verify=main))
        recipe, begun = recipe_of_release(release, info), recipe_of_run(run)
        ranks.agree(check_release if ranks.main else None, run, recipe, info)
        tracking = tracking or begun.tracking  # excluded from the hash: the last command counts
        if tracking.register is None:
            raise RecipeError(
                f"promote: the recipe of {run} names no registered model: repeat its `talkies train` with "
                "tracking.register=NAME, which trains nothing again"
            )
        place = tracked(run, begun)
        place = place if data is None else replace(place, data_root=data)
        shelf = Shelf(folder=cards or run, full_scale=full_scale())
        early = partial(ready, run, tracking, store=place.store, expect=expect, shelf=shelf)
        ranks.agree(early if ranks.main else None)
        metrics = _metrics(place, clips=recipe.validation.final_clips, registry=registry, ranks=ranks, say=say)
        register = partial(_register, place, tracking, metrics, expect=expect, shelf=shelf, say=say)
        return ranks.first(register if cards is None else partial(_in_turn, register, shelf))


def _check_finished(run: Path) -> None:
    if finished(run):
        return
    if not run.exists():
        raise RecipeError(f"promote: there is no {run}: give the folder of a run")
    refuse_many("promote", run)
    raise CheckpointError(f"promote: {run} is not a finished run (no result.json): train it to its end first")


def _in_turn(register: Callable[[], str], shelf: Shelf) -> str:
    """Cards that runs share are read and written by one promotion after the other. (A run's own are held with it.)"""
    with in_turn(shelf.cards, hint="then promote again"):
        return register()


def _register(
    place: Place,
    tracking: TrackingConfig,
    metrics: dict[str, float],
    *,
    expect: str | None,
    shelf: Shelf,
    say: Callable[[str], None],
) -> str:
    """Gates, version, alias and card; returns the spec."""
    run, release = place.folder, place.folder / "release"
    samples = samples_of(run / "evaluation", release_sha256(release))
    done = promote(
        run,
        release,
        tracking,
        store=place.store,
        metrics=metrics,
        expect=expect,
        shelf=shelf,
        samples=samples,
        keep=partial(mark, run, int(read_release(release, verify=False)["step"])),
    )
    say(f"promoted: models:/{done.name}@{done.alias} is version {done.version} (was {done.previous or 'unset'})")
    say(f"card:     {done.card}")
    return f"models:/{done.name}@{done.alias}"


def _metrics(
    place: Place, *, clips: int, registry: Registry, ranks: Ranks, say: Callable[[str], None]
) -> dict[str, float]:
    """What training measured last, and the evaluation of this very release; that is made where it was not yet."""
    run, release = place.folder, place.folder / "release"
    trained = RESULT.read(run / "result.json").metrics
    wanted = {"sha256": release_sha256(release), "clips": clips, "seed": 0}
    wanted["heldout"] = read_release(release, verify=False)["data"]["heldout_fingerprint"]
    known = EVALUATION.find(run / "evaluation.json")
    if known is not None and {key: getattr(known, key) for key in wanted} == wanted:
        return {**trained, **known.metrics}
    source = as_tracked(open_source(str(run), registry, ranks))
    return {**trained, **evaluate_run(source, place, clips=clips, seed=0, send=False, ranks=ranks, say=say)}

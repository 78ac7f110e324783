"""Run one phase in its folder: begin or resume, train, export the result, and record and track all of it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path

from talkies.config import CheckpointError, Interruption
from talkies.config.canonical import recipe_hash, to_dict
from talkies.files.durable import write_json
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import ALONE
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe
from talkies.runs.disk_space import check_disk_space
from talkies.runs.folders import finished, locked
from talkies.runs.inputs import Inputs, open_inputs
from talkies.runs.inputs_record import changed_since, facts_of, record_inputs
from talkies.runs.parents import Parent, Resolver, open_parents
from talkies.runs.place import Place, write_place
from talkies.runs.recorded import FILE, check_sum, name_of_run, recipe_in, values_of
from talkies.runs.records import RECIPE, RESULT, RecipeRecord
from talkies.runs.result import commit, export, write_result
from talkies.runs.train import train
from talkies.signals.answer import before_end, check_signal, signal_name
from talkies.tracking.spool import Status, Tracker

UPLOAD_S = 10.0
"""How long a run waits at its end for the uploader, which continues without it; an interrupted run does not wait."""


class InterruptedRunError(Exception):
    """The run stopped at a step boundary; the same command continues it."""

    def __init__(self, folder: Path, step: int, cause: str) -> None:
        super().__init__(f"{folder} stopped by {cause} after step {step}; the same command continues it")
        self.cause = cause


def unsent_message(folders: str) -> str:
    """The message for runs whose uploader has not sent everything."""
    return (
        "tracking: not everything is sent yet; a side process tries for 10 more minutes, and "
        f"`talkies replay {folders}` sends the rest"
    )


def open_tracker(recipe: PhaseRecipe, place: Place, *, training: bool = True) -> Tracker:
    """The tracker of a phase run; `training` False for a verb that only adds measurements to it."""
    return Tracker(
        place.folder,
        recipe.tracking,
        name=recipe.name,
        store=place.store,
        artifact_root=place.artifacts,
        parent_folder=place.parent,
        training=training,
    )


def adopt(recipe: PhaseRecipe, folder: Path, parents: Mapping[str, Parent]) -> None:
    """Write the run's recipe and lineage, or check that the folder holds the same ones. Values that the hash does not
    cover are updated, in the newest schema; a recorded hash stays, because it identifies the run.

    Raises CheckpointError if a resumed run would change its recipe or its parents.
    """
    path = folder / FILE
    found = RECIPE.find(path)
    for key in () if found is None else _differing(found, path, recipe, parents):
        raise CheckpointError(
            f"resume: {folder} was started with another value of its {key}; continue it unchanged, or start a new "
            "run (--new)"
        )
    values = values_of(recipe)
    if found is None or found.recipe != values:
        lineage = {component: parent.lineage() for component, parent in sorted(parents.items())}
        record = {"recipe": values, "sha256": check_sum(values), "parents": lineage}
        record["recipe_hash"] = recipe_hash(recipe) if found is None else found.recipe_hash
        record["commit"] = (None if found is None else found.commit) or commit()
        write_json(path, record)


def _differing(found: RecipeRecord, path: Path, recipe: PhaseRecipe, parents: Mapping[str, Parent]) -> list[str]:
    """What has changed since the run was begun: "recipe", "parents" or both. Parents are compared by hash, not by
    path."""
    known = {component: parent.sha256 for component, parent in found.parents.items()}
    same = {
        "recipe": recipe_hash(recipe_in(found, path, (recipe.system,))) == recipe_hash(recipe),
        "parents": known == {component: parent.sha256 for component, parent in parents.items()},
    }
    return [key for key, equal in same.items() if not equal]


def describe(tracker: Tracker, recipe: PhaseRecipe, inputs: Inputs, folder: Path) -> None:
    """Log the parameters, tags and resolved recipe of a run."""
    steps, part = recipe.steps, parts(recipe)
    tracker.params(
        {
            "phase": recipe.phase.kind,
            "train": recipe.train.kind,
            "recipe_hash": name_of_run(folder),
            **{key: value for key, value in to_dict(recipe.model).items() if key != "kind"},
            "system": recipe.system.kind,
            "steps": steps.max,
            "global_batch": steps.global_batch,
            **{f"lr.{name}": value for name, value in recipe.optimizer.lr.items()},
            **{f"dropout.{name}": value for name, value in part.dropout.items()},
            **{f"shift.{name}": value for name, value in _shifts(recipe).items()},
            "seed": recipe.seed,
        }
    )
    tags = {"commit": commit(), "data": inputs.shards.fingerprint, "heldout": inputs.heldout.fingerprint}
    tags |= {f"parent.{component}": parent.sha256 for component, parent in inputs.parents.items()}
    tracker.tags({**tags, "run_folder": str(folder)})
    tracker.artifact(folder / "recipe.json", "recipe")


def _shifts(recipe: PhaseRecipe) -> dict[str, float]:
    schedule = recipe.flow.schedule
    return {name: schedule.shift(name) for name in parts(recipe).targets} if schedule.kind == "shifted" else {}


def run_phase(
    recipe: PhaseRecipe,
    place: Place,
    *,
    siblings: Mapping[str, Path],
    registry: Resolver,
    stop_at: int | None = None,
    bar: bool = True,
    say: Callable[[str], None] = lambda _: None,
    ranks: Ranks | None = None,
    on_hang: Callable[[], None] | None = None,
) -> str:
    """Train or continue a phase to its end and return its release's sha256; of a finished phase it is only read.

    Every process of the layout calls it; the main one (of `ranks`) locks the folder and writes all records. `say`
    reports that not everything reached the tracking server, or that the data of a finished run have changed. `on_hang`
    is called in one process if training hangs. Raises InterruptedRunError if a signal or `stop_at` ended it early,
    RankError if another process failed.
    """
    folder, ranks = place.folder, ranks or Ranks(ALONE)
    check_signal()
    with ExitStack() as locks:
        ranks.agree((lambda: locks.enter_context(locked(folder))) if ranks.main else None)
        parents = ranks.after_main(lambda main: open_parents(recipe, siblings, registry, verify=main, near=folder))
        if ranks.first(lambda: finished(folder)):
            ranks.agree(adopt if ranks.main else None, recipe, folder, parents)
            if changed := ranks.first(lambda: changed_since(recipe, place)):
                say(changed)
            return RESULT.read(folder / "result.json").sha256
        inputs = ranks.after_main(lambda main: open_inputs(recipe, place.data_root, parents, verify=main))
        ranks.agree(check_disk_space if ranks.main else None, recipe, folder)
        ranks.agree(_write_records if ranks.main else None, recipe, place, parents, inputs)
        with _running_tracker(recipe, place, inputs, say) if ranks.main else nullcontext() as tracker:
            outcome, phase, after = train(
                recipe, inputs, folder, tracker, stop_at=stop_at, bar=bar, ranks=ranks, on_hang=on_hang
            )
            if outcome.step < recipe.steps.max:
                raise InterruptedRunError(folder, outcome.step, outcome.stopped_by or "the trainer")
            sha256 = export(recipe, parents, folder, phase, after)
            if tracker is not None:
                tracker.tags({"release.sha256": sha256})
                write_result(folder, step=outcome.step, sha256=sha256, metrics=tracker.last)
    return sha256


def _write_records(recipe: PhaseRecipe, place: Place, parents: Mapping[str, Parent], inputs: Inputs) -> None:
    """Write recipe.json, place.json and inputs.json of the run."""
    adopt(recipe, place.folder, parents)
    write_place(place)
    facts = facts_of(recipe, inputs.shards.index, inputs.heldout.index, inputs.carried)
    record_inputs(place.folder, recipe, facts, place.data_root)


@contextmanager
def _running_tracker(
    recipe: PhaseRecipe, place: Place, inputs: Inputs, say: Callable[[str], None]
) -> Iterator[Tracker]:
    """The tracker of an attempt, from status RUNNING to the one that it ends with."""
    tracker, alone = open_tracker(recipe, place), place.parent is None
    if alone:  # a curriculum has one uploader for all its phases
        tracker.start_uploader()
    with closing_with_status(tracker, str(place.folder) if alone else None, say):
        tracker.status("RUNNING")
        describe(tracker, recipe, inputs, place.folder)
        yield tracker


@contextmanager
def closing_with_status(
    tracker: Tracker, uploads: str | None, say: Callable[[str], None], done: Callable[[], bool] = lambda: True
) -> Iterator[None]:
    """Close `tracker` after the block with the status of the block's end, or RUNNING if not everything is `done` then.
    `uploads`: the run folders that its uploader serves, in shell notation. If given, wait for the uploader, and `say`
    if it has not sent everything."""
    status: Status = "FAILED"
    try:
        with before_end(partial(tracker.status, "KILLED")):
            yield
        status = "FINISHED" if done() else "RUNNING"
    except (InterruptedRunError, Interruption, KeyboardInterrupt):
        status = "KILLED"
        raise
    finally:
        tracker.status(status)
        sent = tracker.close(deadline_s=UPLOAD_S if uploads else 0.0)
        if uploads and not sent and signal_name() is None:
            say(unsent_message(uploads))

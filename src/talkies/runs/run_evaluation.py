"""An evaluation: the metrics of a model over held-out clips. Those of a run are kept in its folder and MLflow run."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from talkies.config import DataError
from talkies.config.places import looked_for
from talkies.config.quoting import listed
from talkies.data.shards import ShardSet
from talkies.files.durable import write_json
from talkies.flow.config import Offload
from talkies.parallel.ranks import Ranks
from talkies.recipe.config import PhaseRecipe, Systems
from talkies.runs.folders import locked
from talkies.runs.heldout_metrics import check_count, evaluate
from talkies.runs.opened import Source
from talkies.runs.place import Place, place_of
from talkies.runs.run_phase import UPLOAD_S, open_tracker, unsent_message
from talkies.runs.source import Opening, as_tracked, open_set, open_source
from talkies.runs.track_ablation import FIGURES
from talkies.runs.validation import PLAYED
from talkies.tracking.records import number
from talkies.tracking.spool import check_store

Registry = Callable[[str], Path]
"""Turns models:/name@alias into a verified release folder."""
Tracked = Callable[[Path, PhaseRecipe], Place]
"""Returns where a run works and is tracked."""


def evaluate_source(
    spec: str,
    *,
    registry: Registry,
    tracked: Tracked,
    clips: int | None,
    seed: int,
    ranks: Ranks,
    systems: Systems,
    data: Path | None = None,
    heldout: str | None = None,
    ablate: bool = False,
    offload: Offload | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, float]:
    """Evaluate `spec`. If it is a run, lock it and keep the metrics in its folder and MLflow run, except those of other
    data (`data`, or the set `heldout`) than its own. `ablate`: also what each condition decides; `offload` as in
    `open_source`.

    Every process of `ranks` takes part; the main one writes all records. Raises RunLockedError if another process
    trains or evaluates the run.
    """
    check = partial(_check_held_out, spec, data, heldout, clips)
    source = open_source(spec, registry, ranks, systems=systems, data=data, offload=offload, check=check)
    clips = source.recipe.validation.final_clips if clips is None else clips
    other = data is not None or heldout is not None
    if (run := source.run) is not None and not other:
        with ExitStack() as locks:
            lock = partial(locked, run, hint="then evaluate it")
            ranks.agree((lambda: locks.enter_context(lock())) if ranks.main else None)
            source = as_tracked(source)
            place = tracked(run, source.recipe)
            return evaluate_run(source, place, clips=clips, seed=seed, send=True, ranks=ranks, ablate=ablate, say=say)
    if data is None and source.run is not None:
        data = place_of(source.run).data_root
    assert data is not None
    return _measured(source, data, heldout or source.recipe.data.heldout, clips=clips, seed=seed, ablate=ablate)[0]


def _check_held_out(spec: str, data: Path | None, heldout: str | None, clips: int | None, opening: Opening) -> None:
    """DataError if nobody says where the held-out clips are, or they are not there."""
    if data is None and opening.run is None:
        raise DataError(f"evaluate: {spec} does not say where its held-out clips are; give --data FOLDER")
    root = data if data is not None or opening.run is None else place_of(opening.run).data_root
    assert root is not None
    if not root.is_dir():
        raise _gone(root, opening.run)
    if opening.imported and heldout is None:
        there = sorted(path.name for path in (root / "sets").glob("*") if path.is_dir())
        hint = f" (one of {listed(there)})" if there else ""
        raise DataError(f"evaluate: {spec} is imported and names no held-out set; give --heldout NAME{hint}")
    found = ShardSet.open(root / "sets" / (heldout or opening.recipe.data.heldout), verify=False)
    check_count(opening.recipe.validation.final_clips if clips is None else clips, found)


def _gone(data: Path, run: Path | None) -> DataError:
    tried = str(data) if run is None else looked_for(data, run)
    return DataError(f"evaluate: the held-out clips are gone (looked for: {tried}); give --data FOLDER")


def evaluate_run(
    source: Source,
    place: Place,
    *,
    clips: int,
    seed: int,
    send: bool,
    ranks: Ranks,
    ablate: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, float]:
    """Evaluate the run at `place`, which the caller has locked, on its own data. `send`: to MLflow now, not only to the
    run's spool."""
    check_store(place.folder, place.store)  # before minutes of work
    kept = place.folder if ranks.main else None
    name = source.recipe.data.heldout
    metrics, heldout = _measured(source, place.data_root, name, clips=clips, seed=seed, run=kept, ablate=ablate)
    record = {"sha256": source.sha256, "clips": clips, "seed": seed, "heldout": heldout, "metrics": metrics}
    ranks.agree(_record if ranks.main else None, source, place, record, send, say)
    return metrics


def _record(source: Source, place: Place, record: dict[str, Any], send: bool, say: Callable[[str], None]) -> None:
    """Keep an evaluation in the run's folder, and in its spool or (`send`) its MLflow run."""
    metrics = record["metrics"]
    if source.released:
        values = {name: number(value) for name, value in metrics.items()}
        write_json(place.folder / "evaluation.json", {**record, "metrics": values})
    tracker = open_tracker(source.recipe, place, training=False)
    tracker.metrics(metrics, source.step)
    kept = place.folder / "evaluation"
    played = (path for path in kept.glob("*") if path.suffix in (".mp4", PLAYED))
    for path in sorted((*played, *kept.glob(FIGURES))):
        tracker.artifact(path, "evaluation")
    if send:
        tracker.start_uploader()
    if not tracker.close(deadline_s=UPLOAD_S) and send:
        say(unsent_message(str(place.folder)))


def _measured(
    source: Source, data: Path, name: str, *, clips: int, seed: int, run: Path | None = None, ablate: bool = False
) -> tuple[dict[str, float], str]:
    """The metrics over the held-out set `name` of `data`, and the set's fingerprint. `run`: the run folder that keeps a
    few clips. DataError if the data are gone, or were encoded by other codecs than the model's."""
    if not data.is_dir():
        raise _gone(data, source.run)
    heldout = open_set(data, name, source)
    folder = None if run is None else run / "evaluation"
    sampling = source.recipe.sampling
    metrics = evaluate(source, heldout, clips=clips, sampling=sampling, seed=seed, folder=folder, ablate=ablate)
    return metrics, heldout.fingerprint

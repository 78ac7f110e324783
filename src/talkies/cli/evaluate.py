"""talkies evaluate SOURCE: metrics per modality, per noise bin and for synchronisation, into the MLflow run."""

import argparse
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talkies.cli.place import add_store, registry_of, seed_of, tracked_at

if TYPE_CHECKING:
    from talkies.parallel.ranks import Ranks
    from talkies.runs.place import Place
    from talkies.runs.source import Source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("source", help="a run, a checkpoint, a release folder, or models:/name@alias")
    parser.add_argument("--data", type=Path, help="prepared data (the run's own); of others nothing is kept")
    parser.add_argument("--heldout", help="the set of it that is measured (the recipe's `data.heldout`)")
    parser.add_argument("--clips", type=int, help="held-out clips (the recipe's `validation.final_clips`)")
    parser.add_argument("--seed", type=seed_of, default=0)
    add_store(parser)


def evaluate_source(
    spec: str,
    *,
    runs: Path,
    uri: str | None,
    clips: int | None,
    seed: int,
    data: Path | None = None,
    heldout: str | None = None,
    ranks: "Ranks | None" = None,
) -> dict[str, float]:
    """Evaluate `spec`; where it is a run, hold it and keep the metrics in its folder and its MLflow run, unless they
    are of other data (`data`, or the set `heldout`) than its own.

    Every process of `ranks` takes part; the main one keeps the books. Raises RunLockedError where somebody trains the
    run or evaluates it too.
    """
    from talkies.config import RecipeError
    from talkies.parallel.ranks import Ranks
    from talkies.parallel.world import ALONE
    from talkies.runs.folders import locked
    from talkies.runs.place import place_of
    from talkies.runs.source import as_tracked, open_source

    if clips is not None and clips < 2:
        raise RecipeError(f"evaluate: --clips {clips}: at least 2 are needed")
    ranks = ranks or Ranks(ALONE)
    source = open_source(spec, registry_of(runs, uri, source=spec), ranks, data=data)
    clips = source.recipe.validation.final_clips if clips is None else clips
    other = data is not None or heldout is not None
    if (held_run := source.run) is not None and not other:
        with ExitStack() as held:
            hold = partial(locked, held_run, hint="then evaluate it")
            ranks.agree((lambda: held.enter_context(hold())) if ranks.main else None)
            source = as_tracked(source)
            place = tracked_at(held_run, source.recipe, runs=runs, uri=uri)
            return evaluate_run(source, place, clips=clips, seed=seed, send=True, ranks=ranks)
    if data is None and source.run is not None:
        data = place_of(source.run).data_root
    ranks.agree(_refuse if ranks.main and data is None else None, spec)
    assert data is not None
    return _measured(source, data, heldout or source.recipe.data.heldout, clips=clips, seed=seed)[0]


def _refuse(spec: str) -> None:
    from talkies.config import DataError

    raise DataError(f"evaluate: {spec} does not say where its held-out clips are; give --data FOLDER")


def evaluate_run(
    source: "Source",
    place: "Place",
    *,
    clips: int,
    seed: int,
    send: bool,
    ranks: "Ranks",
) -> dict[str, float]:
    """Evaluate the run at `place`, which the caller holds, on its own data. `send`: to MLflow now, not only into the
    run's spool."""
    from talkies.tracking.spool import check_store

    check_store(place.folder, place.store)  # before minutes of work
    kept = place.folder if ranks.main else None
    name = source.recipe.data.heldout
    metrics, heldout = _measured(source, place.data_root, name, clips=clips, seed=seed, run=kept)
    record = {"sha256": source.sha256, "clips": clips, "seed": seed, "heldout": heldout, "metrics": metrics}
    ranks.agree(_record if ranks.main else None, source, place, record, send)
    return metrics


def _record(source: "Source", place: "Place", record: dict[str, Any], send: bool) -> None:
    """Keep an evaluation in the run's folder, and in its spool or (`send`) its MLflow run."""
    from talkies.runs.folders import write_json
    from talkies.runs.run_phase import UPLOAD_S, open_tracker, unsent
    from talkies.tracking.records import number

    metrics = record["metrics"]
    if source.released:
        told = {name: number(value) for name, value in metrics.items()}
        write_json(place.folder / "evaluation.json", {**record, "metrics": told})
    tracker = open_tracker(source.recipe, place, training=False)
    tracker.metrics(metrics, source.step)
    for path in sorted((place.folder / "evaluation").glob("*.mp4")):
        tracker.artifact(path, "evaluation")
    if send:
        tracker.start_uploader()
    if not tracker.close(deadline_s=UPLOAD_S) and send:
        print(unsent(str(place.folder)))


def _measured(
    source: "Source", data: Path, name: str, *, clips: int, seed: int, run: Path | None = None
) -> tuple[dict[str, float], str]:
    """The metrics over held-out clips, those of the set `name` of `data`, and what these clips are. `run`: where a few
    clips are kept. DataError where the data are gone, or were encoded by other codecs than the model's."""
    from talkies.config import DataError
    from talkies.runs.evaluate import evaluate
    from talkies.runs.source import open_set

    if not data.is_dir():
        looked = _looked(data, source)
        raise DataError(f"evaluate: the held-out clips are gone (looked for: {looked}); give --data FOLDER")
    heldout = open_set(data, name, source)
    folder = None if run is None else run / "evaluation"
    metrics = evaluate(source, heldout, clips=clips, sampling=source.recipe.sampling, seed=seed, folder=folder)
    return metrics, heldout.fingerprint


def _looked(data: Path, source: "Source") -> str:
    from talkies.config.places import looked_for

    return str(data) if source.run is None else looked_for(data, source.run)


def run(args: argparse.Namespace) -> int:
    """Evaluate and print the metrics."""
    from talkies.cli.ranks import with_ranks
    from talkies.parallel.world import world_of

    return with_ranks(args.argv, {"evaluate": world_of().size}, partial(_evaluate, args))


def _evaluate(args: argparse.Namespace, ranks: "Ranks") -> int:
    where = {"runs": args.runs, "uri": args.tracking_uri, "data": args.data, "heldout": args.heldout}
    metrics = evaluate_source(args.source, clips=args.clips, seed=args.seed, ranks=ranks, **where)
    for key, value in sorted(metrics.items()) if ranks.main else ():
        print(f"{key:<32} {value:.4f}")
    return 0

"""talkies evaluate SOURCE: metrics per modality, per noise bin and for synchronisation, into the MLflow run."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from talkies.cli.place import add_store, registry_of, seed_of, tracked_at

if TYPE_CHECKING:
    from talkies.recipe.run import Place
    from talkies.recipe.source import Source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("source", help="a run, a checkpoint, a release folder, or models:/name@alias")
    parser.add_argument("--data", type=Path, help="prepared data (the run's own)")
    parser.add_argument("--clips", type=int, help="held-out clips (the recipe's `validation.final_clips`)")
    parser.add_argument("--seed", type=seed_of, default=0)
    add_store(parser)


def evaluate_source(
    spec: str, *, runs: Path, uri: str | None, clips: int | None, seed: int, data: Path | None = None
) -> dict[str, float]:
    """Evaluate `spec`; where it is a run, hold it and keep the metrics in its folder and its MLflow run.

    Raises RunLockedError where somebody trains the run or evaluates it too.
    """
    from talkies.config import DataError, RecipeError
    from talkies.recipe.folders import locked
    from talkies.recipe.source import open_source

    if clips is not None and clips < 2:
        raise RecipeError(f"evaluate: --clips {clips}: at least 2 are needed")
    source = open_source(spec, registry_of(runs, uri, source=spec))
    clips = source.recipe.validation.final_clips if clips is None else clips
    if source.run is not None:
        with locked(source.run, hint="then evaluate it"):
            place = tracked_at(source.run, source.recipe, runs=runs, uri=uri)
            return evaluate_run(source, place, clips=clips, seed=seed, data=data, send=True)
    if data is None:
        raise DataError(f"evaluate: {spec} does not say where its held-out clips are; give --data FOLDER")
    return _measured(source, data, clips=clips, seed=seed)[0]


def evaluate_run(
    source: "Source", place: "Place", *, clips: int, seed: int, data: Path | None = None, send: bool
) -> dict[str, float]:
    """Evaluate the run at `place`, which the caller holds, on its own data or on `data`. `send`: to MLflow now, not
    only into the run's spool."""
    from talkies.recipe.folders import write_json
    from talkies.recipe.run import UPLOAD_S, open_tracker, unsent
    from talkies.tracking.spool import check_store

    check_store(place.folder, place.store)  # before minutes of work
    metrics, heldout = _measured(source, data or place.data_root, clips=clips, seed=seed, run=place.folder)
    if source.released:
        record = {"sha256": source.sha256, "clips": clips, "seed": seed, "heldout": heldout}
        write_json(place.folder / "evaluation.json", {**record, "metrics": metrics})
    tracker = open_tracker(source.recipe, place, training=False)
    tracker.metrics(metrics, source.step)
    for path in sorted((place.folder / "evaluation").glob("*.mp4")):
        tracker.artifact(path, "evaluation")
    if send:
        tracker.start_uploader()
    if not tracker.close(deadline_s=UPLOAD_S) and send:
        print(unsent(str(place.folder)))
    return metrics


def _measured(
    source: "Source", data: Path, *, clips: int, seed: int, run: Path | None = None
) -> tuple[dict[str, float], str]:
    """The metrics over held-out clips of `data`, and what these clips are. `run`: where a few clips are kept."""
    from talkies.data.shards import ShardSet
    from talkies.recipe.evaluate import evaluate

    heldout = ShardSet.open(data / "sets" / source.recipe.data.heldout)
    folder = None if run is None else run / "evaluation"
    metrics = evaluate(source, heldout, clips=clips, sampling=source.recipe.sampling, seed=seed, folder=folder)
    return metrics, heldout.fingerprint


def run(args: argparse.Namespace) -> int:
    """Evaluate and print the metrics."""
    metrics = evaluate_source(
        args.source, runs=args.runs, uri=args.tracking_uri, clips=args.clips, seed=args.seed, data=args.data
    )
    for key, value in sorted(metrics.items()):
        print(f"{key:<32} {value:.4f}")
    return 0

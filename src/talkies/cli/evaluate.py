"""talkies evaluate SOURCE: metrics per modality, per noise bin and for synchronisation, into the MLflow run."""

import argparse
from pathlib import Path

from talkies.cli.place import add_runs, registry_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("source", help="a run, a checkpoint, a release folder, or models:/name@alias")
    parser.add_argument("--data", type=Path, help="prepared data (the run's own)")
    parser.add_argument("--clips", type=int, help="held-out clips (the recipe's `validation.final_clips`)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tracking-uri", help="where models:/ is looked up (the store of --runs)")
    add_runs(parser)


def evaluate_source(
    spec: str, *, runs: Path, uri: str | None, clips: int | None, seed: int, data: Path | None = None
) -> dict[str, float]:
    """Evaluate `spec`; where it is a run, keep the metrics in its folder and its MLflow run."""
    from talkies.config import DataError, RecipeError
    from talkies.data.shards import ShardSet
    from talkies.recipe.evaluate import evaluate
    from talkies.recipe.folders import read_json, write_json
    from talkies.recipe.run import UPLOAD_S, Place, open_tracker
    from talkies.recipe.source import open_source

    if clips is not None and clips < 2:
        raise RecipeError(f"evaluate: --clips {clips}: at least 2 are needed")
    source = open_source(spec, registry_of(runs, uri))
    clips = source.recipe.validation.final_clips if clips is None else clips
    place = read_json(source.run / "place.json") if source.run is not None else {}
    root = data or (Path(place["data_root"]) if place else None)
    if root is None:
        raise DataError(f"evaluate: {spec} does not say where its held-out clips are; give --data FOLDER")
    heldout = ShardSet.open(root / "sets" / source.recipe.data.heldout)
    folder = source.run / "evaluation" if source.run is not None else None
    metrics = evaluate(source, heldout, clips=clips, sampling=source.recipe.sampling, seed=seed, folder=folder)
    if source.run is None:
        return metrics
    from talkies.cli.place import store_of

    store, artifacts = store_of(runs, uri or source.recipe.tracking.uri)
    where = Place(folder=source.run, data_root=root, store=store, artifacts=artifacts)
    tracker = open_tracker(source.recipe, where, training=False)
    if source.released:
        record = {"sha256": source.sha256, "clips": clips, "seed": seed, "heldout": heldout.fingerprint}
        write_json(source.run / "evaluation.json", {**record, "metrics": metrics})
    tracker.metrics(metrics, source.step)
    for path in sorted((source.run / "evaluation").glob("*.mp4")):
        tracker.artifact(path, "evaluation")
    tracker.start_uploader()
    tracker.close(deadline_s=UPLOAD_S)
    return metrics


def run(args: argparse.Namespace) -> int:
    """Evaluate and print the metrics."""
    metrics = evaluate_source(
        args.source, runs=args.runs, uri=args.tracking_uri, clips=args.clips, seed=args.seed, data=args.data
    )
    for key, value in sorted(metrics.items()):
        print(f"{key:<32} {value:.4f}")
    return 0

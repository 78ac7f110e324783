"""talkies promote RUN: gates on metrics, then a registry version, an alias and a model card."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from talkies.cli.place import add_runs, store_of

if TYPE_CHECKING:
    from talkies.tracking.config import TrackingConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("run", type=Path, help="a finished run folder")
    parser.add_argument(
        "--expect", metavar="VERSION", help="refuse unless the alias is at this version now ('none': unset)"
    )
    parser.add_argument("--cards", type=Path, help="where cards/ and MODEL_CARDS.md are written (RUN)")
    add_runs(parser)


def promote_run(
    run: Path, *, runs: Path, expect: str | None, cards: Path | None = None, tracking: "TrackingConfig | None" = None
) -> str:
    """Evaluate a finished run if it was not yet, apply its gates, register it, move its alias; returns its spec.

    `tracking`: gates and names in place of those that the run was trained with.
    """
    from talkies.checkpoints.release import read_release, release_sha256
    from talkies.cli.evaluate import evaluate_source
    from talkies.config import CheckpointError, RecipeError
    from talkies.recipe.folders import finished, read_json
    from talkies.recipe.full_scale import full_scale
    from talkies.recipe.source import recipe_of
    from talkies.tracking.cards import render_model_cards
    from talkies.tracking.registry import promote

    if not finished(run):
        raise CheckpointError(f"promote: {run} is not a finished run (no result.json): train it to its end first")
    release = run / "release"
    recipe = recipe_of(read_release(release)["recipe"], release / "release.json")
    tracking = tracking or recipe.tracking
    if tracking.register is None:
        raise RecipeError(f"promote: the recipe of {run} names no registered model: set `tracking.register`")
    sha256 = release_sha256(release)
    record = run / "evaluation.json"
    wanted = {"sha256": sha256, "clips": recipe.validation.final_clips, "seed": 0}
    wanted["heldout"] = read_release(release)["data"]["heldout_fingerprint"]
    known = read_json(record) if record.is_file() else {}
    if {key: known.get(key) for key in wanted} != wanted:
        evaluate_source(str(run), runs=runs, uri=tracking.uri, clips=None, seed=0)
    metrics = {**read_json(run / "result.json")["metrics"], **read_json(record)["metrics"]}
    store, _ = store_of(runs, tracking.uri)
    folder = cards or run
    done = promote(
        run, release, recipe.tracking, store=store, metrics=metrics, expect=expect, cards_folder=folder / "cards"
    )
    render_model_cards(folder / "cards", full_scale=full_scale(), target=folder / "MODEL_CARDS.md")
    print(f"promoted: models:/{done.name}@{done.alias} is version {done.version} (was {done.previous or 'unset'})")
    print(f"card:     {done.card}")
    return f"models:/{done.name}@{done.alias}"


def run(args: argparse.Namespace) -> int:
    """Promote one run."""
    promote_run(args.run, runs=args.runs, expect=args.expect, cards=args.cards)
    return 0

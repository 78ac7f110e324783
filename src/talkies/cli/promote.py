"""talkies promote RUN: gates on metrics, then a registry version, an alias and a model card."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from talkies.cli.place import add_store, registry_of, tracked_at

if TYPE_CHECKING:
    from talkies.recipe.run import Place
    from talkies.tracking.config import TrackingConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("run", type=Path, help="a finished run folder")
    parser.add_argument(
        "--expect", metavar="VERSION", help="refuse unless the alias is at this version now ('none': unset)"
    )
    parser.add_argument("--cards", type=Path, help="where cards/ and MODEL_CARDS.md are written (RUN)")
    add_store(parser)


def promote_run(
    run: Path,
    *,
    runs: Path,
    expect: str | None,
    cards: Path | None = None,
    tracking: "TrackingConfig | None" = None,
    uri: str | None = None,
) -> str:
    """Hold a finished run, evaluate it if it was not yet, apply its gates, register it, move its alias; returns its
    spec.

    `tracking`: gates and names in place of those that the run was trained with; `uri`: the store, if not the run's own.
    """
    from talkies.checkpoints.release import read_release
    from talkies.config import CheckpointError, RecipeError
    from talkies.recipe.folders import finished, locked
    from talkies.recipe.full_scale import full_scale
    from talkies.recipe.source import recipe_of, refuse_many
    from talkies.tracking.cards import render_model_cards
    from talkies.tracking.registry import promote

    if not finished(run):
        refuse_many("promote", run)
        raise CheckpointError(f"promote: {run} is not a finished run (no result.json): train it to its end first")
    release, folder = run / "release", cards or run
    with locked(run, hint="then promote it"):
        recipe = recipe_of(read_release(release)["recipe"], release / "release.json")
        tracking = tracking or recipe.tracking
        if tracking.register is None:
            raise RecipeError(f"promote: the recipe of {run} names no registered model: set `tracking.register`")
        place = tracked_at(run, recipe, runs=runs, uri=uri)
        metrics = _metrics(place, clips=recipe.validation.final_clips, runs=runs, uri=uri)
        done = promote(
            run, release, tracking, store=place.store, metrics=metrics, expect=expect, cards_folder=folder / "cards"
        )
    render_model_cards(folder / "cards", full_scale=full_scale(), target=folder / "MODEL_CARDS.md")
    print(f"promoted: models:/{done.name}@{done.alias} is version {done.version} (was {done.previous or 'unset'})")
    print(f"card:     {done.card}")
    return f"models:/{done.name}@{done.alias}"


def _metrics(place: "Place", *, clips: int, runs: Path, uri: str | None) -> dict[str, float]:
    """What training measured last, and the evaluation of this very release; that is made where it was not yet."""
    from talkies.checkpoints.release import read_release, release_sha256
    from talkies.cli.evaluate import evaluate_run
    from talkies.recipe.folders import read_json
    from talkies.recipe.source import open_source

    run, release = place.folder, place.folder / "release"
    trained = read_json(run / "result.json")["metrics"]
    wanted = {"sha256": release_sha256(release), "clips": clips, "seed": 0}
    wanted["heldout"] = read_release(release)["data"]["heldout_fingerprint"]
    record = run / "evaluation.json"
    known = read_json(record) if record.is_file() else {}
    if {key: known.get(key) for key in wanted} == wanted:
        return {**trained, **known["metrics"]}
    source = open_source(str(run), registry_of(runs, uri, source=str(run)))
    return {**trained, **evaluate_run(source, place, clips=clips, seed=0, send=False)}


def run(args: argparse.Namespace) -> int:
    """Promote one run."""
    promote_run(args.run, runs=args.runs, expect=args.expect, cards=args.cards, uri=args.tracking_uri)
    return 0

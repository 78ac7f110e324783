"""talkies export SOURCE --consolidate --out FOLDER: a checkpoint that many ranks wrote, as a release."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from talkies.cli.place import add_store, registry_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("source", type=Path, help="a run (its newest checkpoint) or a checkpoint")
    parser.add_argument(
        "--consolidate",
        action="store_true",
        required=True,
        help="one safetensors file per component, of the averaged weights, from the shards of any layout",
    )
    parser.add_argument("--out", type=Path, required=True, help="the release folder to make")
    add_store(parser)


def run(args: argparse.Namespace) -> int:
    """Write the release; one process, one tensor in memory at a time. A run that goes on keeps the checkpoint."""
    from talkies.config import CheckpointError, RecipeError
    from talkies.recipe.folders import finished
    from talkies.recipe.inputs import open_inputs
    from talkies.recipe.parents import open_parents
    from talkies.recipe.result import consolidate
    from talkies.recipe.run import place_of
    from talkies.recipe.source import checkpoint_of, neighbours, recipe_of_run

    if args.out.exists():
        raise RecipeError(f"export: --out {args.out} exists: choose a new folder")
    checkpoint, run_folder = checkpoint_of(args.source)
    recipe = recipe_of_run(run_folder)
    registry = registry_of(args.runs, args.tracking_uri, source=str(run_folder))
    data_root = place_of(run_folder).data_root
    try:
        inputs = open_inputs(recipe, data_root, open_parents(recipe, neighbours(run_folder), registry))
    except CheckpointError as error:
        raise CheckpointError(f"export: what {run_folder} started from is needed for its lineage: {error}") from None
    stays = finished(run_folder) or checkpoint.parent != run_folder / "checkpoints"
    with nullcontext() if stays else _kept(run_folder, checkpoint, args.out):
        sha256 = consolidate(recipe, inputs, checkpoint, args.out, data_root=data_root)
    print(f"release:  {args.out} sha256 {sha256[:16]} ({recipe.name}, {checkpoint.name}, averaged weights)")
    return 0


@contextmanager
def _kept(run: Path, checkpoint: Path, out: Path) -> Iterator[None]:
    """A run that goes on keeps the checkpoint from now on, unless nothing is made of it."""
    from talkies.checkpoints.manifest import read_manifest
    from talkies.recipe.keeping import mark

    kept = mark(run, read_manifest(checkpoint).step, str(out.resolve()))
    try:
        yield
    except BaseException:
        kept.unlink()
        raise

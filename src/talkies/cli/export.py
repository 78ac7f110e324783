"""talkies export SOURCE --layout LAYOUT --out FOLDER: a release as other programs read it; or
talkies export RUN --consolidate --out FOLDER: a checkpoint that many ranks wrote, as a release; or
talkies export RELEASE --adapter FORMAT --out FOLDER: its adapter in a format of files."""

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from talkies.cli.output import local_path
from talkies.cli.place import add_store, folder_of, registry_of
from talkies.config.quoting import shown
from talkies.config.regular_files import present, resolved

if TYPE_CHECKING:
    from talkies.runs.inputs_record import Facts

SHARD_SIZE = "5GB"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "source",
        type=source_of,
        help="a release, a finished run or models:/name@alias; with --consolidate a run (its newest checkpoint) or a "
        "checkpoint",
    )
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--layout", help="write a folder as other programs read it, in one of the layouts of the system")
    form.add_argument(
        "--consolidate", action="store_true", help="make one safetensors file per component of the EMA weights"
    )
    form.add_argument("--adapter", metavar="FORMAT", help="write the adapter of a release in a format of files: peft")
    parser.add_argument("--out", type=folder_of, required=True, help="the folder to make")
    parser.add_argument("--components", type=names_of, metavar="A,B", help="with --layout: only these (all)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--merge", action="store_true", help="with --layout: an adapter merged into its base")
    how.add_argument("--apart", action="store_true", help="with --layout: the base, and the adapter beside it")
    parser.add_argument("--no-codecs", action="store_true", help="with --layout: without codecs and text encoder")
    parser.add_argument(
        "--shard-size", type=size_of, metavar="SIZE", help=f"with --layout: of the largest files ({SHARD_SIZE})"
    )
    parser.add_argument("--data", type=Path, help="with --consolidate: prepared data with its codecs (the run's own)")
    add_store(parser)


def source_of(text: str) -> str:
    """The value of SOURCE; for argparse."""
    return text if text.startswith("models:/") else str(local_path(text))


def names_of(text: str) -> list[str]:
    """The value of --components; for argparse."""
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a list of different names, such as a,b")
    return names


def size_of(text: str) -> int:
    """Bytes, from the value of --shard-size; for argparse."""
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)(KB|MB|GB)", text)
    bytes_ = int(float(match[1]) * 1000 ** (1 + ("KB", "MB", "GB").index(match[2]))) if match else 0
    if not bytes_:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no size: give one such as {SHARD_SIZE} or 500MB")
    return bytes_


def run(args: argparse.Namespace) -> int:
    """Write the folder in one process."""
    from talkies.config import RecipeError
    from talkies.files.durable import check_writable, nearest
    from talkies.models.systems import SYSTEMS
    from talkies.runs.located import refuse_download

    if present(args.out):
        raise RecipeError(f"export: --out {args.out} exists: choose a new folder")
    check_writable(args.out, nearest(args.out))
    _refuse_ignored(args)
    refuse_download("export", Path(args.source), SYSTEMS)
    if args.layout is not None:
        return _layout(args)
    return _consolidate(args) if args.adapter is None else _adapter(args)


def _refuse_ignored(args: argparse.Namespace) -> None:
    """RecipeError for an option that belongs to another form of the verb."""
    from talkies.config import RecipeError

    of_layout = {
        "--components": args.components is not None,
        "--merge": args.merge,
        "--apart": args.apart,
        "--no-codecs": args.no_codecs,
        "--shard-size": args.shard_size is not None,
    }
    for option in () if args.layout is not None else [name for name, given in of_layout.items() if given]:
        raise RecipeError(f"export: {option} is for --layout: drop it")
    if args.data is not None and not args.consolidate:
        raise RecipeError("export: --data is for --consolidate: drop it")


def _layout(args: argparse.Namespace) -> int:
    from talkies.models.systems import SYSTEMS
    from talkies.planning.render import size
    from talkies.runs.export_source import open_exported
    from talkies.runs.run_export import export_layout

    registry = registry_of(args.runs, args.tracking_uri, source=args.source)
    exported = open_exported(args.source, registry, SYSTEMS)
    outcome = export_layout(
        exported,
        args.layout,
        args.out,
        components=args.components,
        how="merge" if args.merge else "apart" if args.apart else None,
        shard_size=args.shard_size,
        codecs=not args.no_codecs,
    )
    print(f"weights:  {args.out} ({args.layout}: {', '.join(outcome.components)}; {size(outcome.size)})")
    if outcome.codecs:
        print(f"codecs:   {', '.join(outcome.codecs)}")
    for part, why in outcome.left.items():
        print(f"left out: the {part} codec: {why}")
    return 0


def _adapter(args: argparse.Namespace) -> int:
    from talkies.config import RecipeError
    from talkies.config.decode import one_of
    from talkies.files.durable import storage_errors
    from talkies.files.folders import replacing_folder
    from talkies.runs.export_source import release_of
    from talkies.training.adapter import adapter_of
    from talkies.training.adapter_formats import FORMATS

    if args.adapter not in FORMATS:
        raise RecipeError(f"export: --adapter {shown(args.adapter)} is not a format{one_of(args.adapter, FORMATS)}")
    registry = registry_of(args.runs, args.tracking_uri, source=args.source)
    adapter = adapter_of(release_of(args.source, registry))
    with storage_errors(args.out), replacing_folder(args.out) as work:
        FORMATS[args.adapter](adapter, work)
    print(f"adapter:  {args.out} ({args.adapter}, rank {adapter.record.r}, alpha {adapter.record.lora_alpha:g})")
    return 0


def _consolidate(args: argparse.Namespace) -> int:
    """One tensor in memory at a time. An unfinished run keeps the checkpoint."""
    from talkies.config import CheckpointError
    from talkies.models.systems import SYSTEMS
    from talkies.runs.folders import finished
    from talkies.runs.inputs_record import read_facts
    from talkies.runs.located import checkpoint_of, neighbours
    from talkies.runs.parents import check_lineage, open_parents
    from talkies.runs.place import place_of
    from talkies.runs.recorded import recipe_of_run
    from talkies.runs.result import consolidate

    checkpoint, run_folder = checkpoint_of(Path(args.source))
    recipe = recipe_of_run(run_folder, SYSTEMS)
    registry = registry_of(args.runs, args.tracking_uri, source=str(run_folder))
    facts, codecs = read_facts(recipe, place_of(run_folder), args.data)
    _check_data(facts, checkpoint)
    try:
        parents = open_parents(recipe, neighbours(run_folder), registry, near=run_folder)
        check_lineage(run_folder, parents)
    except CheckpointError as error:
        raise CheckpointError(f"export: the parents of {run_folder} are needed for its lineage: {error}") from None
    stays = finished(run_folder) or checkpoint.parent != run_folder / "checkpoints"
    with nullcontext() if stays else _kept(run_folder, checkpoint, args.out):
        sha256 = consolidate(recipe, facts, parents, checkpoint, args.out, run=run_folder, codecs=codecs)
    print(f"release:  {args.out} sha256 {sha256[:16]} ({recipe.name}, {checkpoint.name}, EMA weights)")
    return 0


def _check_data(facts: "Facts", checkpoint: Path) -> None:
    """DataError if the data are not those that the checkpoint was trained on."""
    from talkies.checkpoints.loop import read_loop
    from talkies.config import DataError

    trained, found = str(read_loop(checkpoint)["data"]["fingerprint"]), facts.data.fingerprint
    if trained != found:
        raise DataError(
            f"export: {checkpoint} was trained on data {trained[:12]}, the data of its run are now {found[:12]}: put "
            "back the former, or give them with --data FOLDER"
        )


@contextmanager
def _kept(run: Path, checkpoint: Path, out: Path) -> Iterator[None]:
    """Mark the checkpoint, so that an unfinished run keeps it; unmark it if the block fails."""
    from talkies.checkpoints.manifest import read_manifest
    from talkies.runs.retention import mark

    checkpoint_mark = mark(run, read_manifest(checkpoint).step, str(resolved(out)))
    try:
        yield
    except BaseException:
        checkpoint_mark.unlink()
        raise

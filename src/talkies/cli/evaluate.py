"""talkies evaluate SOURCE: metrics per modality, per noise bin and for synchronisation, into the MLflow run."""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from talkies.cli.offload import add_offload
from talkies.cli.place import add_store, lookups, seed_of

if TYPE_CHECKING:
    from talkies.parallel.ranks import Ranks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("source", help="a run, a checkpoint, a release folder, or models:/name@alias")
    parser.add_argument("--data", type=Path, help="prepared data (the run's own); results on other data are not kept")
    parser.add_argument("--heldout", help="the held-out set of the data to use (the recipe's `data.heldout`)")
    parser.add_argument("--clips", type=int, help="held-out clips (the recipe's `validation.final_clips`)")
    parser.add_argument("--seed", type=seed_of, default=0, help="seed of the noise (0)")
    also = "also measure clips made without some conditions, or with those of another clip"
    parser.add_argument("--ablate", action="store_true", help=also)
    add_offload(parser)
    add_store(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate and print the metrics."""
    from talkies.cli.ranks import with_ranks
    from talkies.parallel.world import world_of

    return with_ranks(args.argv, {"evaluate": world_of().size}, partial(_evaluate, args))


def _evaluate(args: argparse.Namespace, ranks: "Ranks") -> int:
    from talkies.config import RecipeError
    from talkies.runs.run_evaluation import evaluate_source

    if args.clips is not None and args.clips < 2:
        raise RecipeError(f"evaluate: --clips {args.clips}: at least 2 are needed")
    metrics = evaluate_source(
        args.source,
        clips=args.clips,
        seed=args.seed,
        data=args.data,
        heldout=args.heldout,
        ablate=args.ablate,
        offload=args.offload,
        ranks=ranks,
        **lookups(args.runs, args.tracking_uri, source=args.source),
    )
    if ranks.main:
        _print(metrics)
    return 0


def _print(metrics: dict[str, float]) -> None:
    from talkies.runs.condition_metrics import ABLATION, ablation_table

    ablated = {key: value for key, value in metrics.items() if key.startswith(f"{ABLATION}/")}
    for key, value in sorted(metrics.items() - ablated.items()):
        print(f"{key:<32} {value:.4f}")
    if ablated:
        print("", *ablation_table(ablated), sep="\n")

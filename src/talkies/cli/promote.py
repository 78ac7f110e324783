"""talkies promote RUN: gates on metrics, then a registry version, an alias and a model card."""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from talkies.cli.place import add_store, lookups

if TYPE_CHECKING:
    from talkies.parallel.ranks import Ranks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("run", type=Path, help="a finished run folder")
    parser.add_argument(
        "--expect", metavar="VERSION", help="refuse unless the alias is at this version now ('none': unset)"
    )
    parser.add_argument("--cards", type=Path, help="where cards/ and MODEL_CARDS.md are written (RUN)")
    parser.add_argument("--data", type=Path, help="prepared data with its held-out clips (the run's own)")
    add_store(parser)


def run(args: argparse.Namespace) -> int:
    """Promote one run."""
    from talkies.cli.ranks import with_ranks
    from talkies.parallel.world import world_of

    return with_ranks(args.argv, {"promote": world_of().size}, partial(_promote, args))


def _promote(args: argparse.Namespace, ranks: "Ranks") -> int:
    from talkies.runs.run_promotion import promote_run

    promote_run(
        args.run,
        expect=args.expect,
        cards=args.cards,
        data=args.data,
        ranks=ranks,
        **lookups(args.runs, args.tracking_uri, source=str(args.run)),
    )
    return 0

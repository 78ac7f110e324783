"""talkies rollback NAME: move the alias back to the version that it held before."""

import argparse
from contextlib import nullcontext
from pathlib import Path

from talkies.cli.place import add_store, named_store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("name", help="the registered model")
    parser.add_argument("--alias", default="champion", help="the alias to move (champion)")
    parser.add_argument("--expect", metavar="VERSION", help="refuse unless the alias is at this version now")
    parser.add_argument("--cards", type=Path, help="where cards/ and MODEL_CARDS.md are, to be rendered again")
    add_store(parser, default="that of --runs")


def run(args: argparse.Namespace) -> int:
    """Roll one alias back."""
    from talkies.recipe.full_scale import full_scale
    from talkies.runs.folders import in_turn
    from talkies.tracking.cards import Shelf
    from talkies.tracking.registry import rollback

    store, _ = named_store(args.runs, args.tracking_uri)
    shelf = None if args.cards is None else Shelf(folder=args.cards, full_scale=full_scale())
    with nullcontext() if shelf is None else in_turn(shelf.cards, hint="then roll back again"):
        done = rollback(args.name, args.alias, store=store, expect=args.expect, shelf=shelf)
    print(f"rolled back: models:/{done.name}@{done.alias} is version {done.version} (was {done.previous})")
    return 0

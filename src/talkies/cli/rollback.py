"""talkies rollback NAME: move the alias back to the version that it held before."""

import argparse

from talkies.cli.place import add_runs, store_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("name", help="the registered model")
    parser.add_argument("--alias", default="champion")
    parser.add_argument("--expect", metavar="VERSION", help="refuse unless the alias is at this version now")
    parser.add_argument("--tracking-uri", help="the registry (the store of --runs)")
    add_runs(parser)


def run(args: argparse.Namespace) -> int:
    """Roll one alias back."""
    from talkies.tracking.registry import rollback

    store, _ = store_of(args.runs, args.tracking_uri)
    version = rollback(args.name, args.alias, store=store, expect=args.expect)
    print(f"rolled back: models:/{args.name}@{args.alias} is version {version}")
    return 0

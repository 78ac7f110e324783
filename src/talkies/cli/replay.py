"""talkies replay RUN: send what a run's spool still holds to MLflow, once."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("run", type=Path, nargs="+", help="run folders")


def run(args: argparse.Namespace) -> int:
    """Replay each run's spool."""
    from talkies.config import CheckpointError
    from talkies.config.records import present
    from talkies.tracking.replay import replay

    for folder in args.run:
        if not present(folder / "spool.jsonl"):
            raise CheckpointError(f"replay: {folder} has no spool.jsonl: give a run folder")
        print(f"{folder}: {replay(folder)}")
    return 0

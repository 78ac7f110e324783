"""talkies cancel RUN|JOB: cancel every job of a submitted run that has not ended."""

import argparse

from talkies.cli.place import add_runs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("run", help="the folder of a run, or the id of one of its jobs")
    add_runs(parser)


def run(args: argparse.Namespace) -> int:
    """Cancel the chain, the last job first. A phase that is training saves before it ends, and can be continued."""
    from talkies.cli.status import chosen
    from talkies.launch.slurm import cancel

    for chain in chosen("cancel", args.run, args.runs):
        active = {job.id for job in chain.active()}
        ids = [id for id in reversed(chain.ids) if id in active]
        if ids:
            cancel(ids)
        print(f"{chain.folder}: cancelled {', '.join(ids)}" if ids else f"{chain.folder}: every job has ended")
    return 0

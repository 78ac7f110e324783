"""talkies cancel RUN|JOB: cancel every job of a submitted run that has not ended."""

import argparse

from talkies.cli.place import add_runs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("run", help="the folder of a run, or the id of one of its jobs")
    add_runs(parser)


def run(args: argparse.Namespace) -> int:
    """Cancel the chain, the last job first; a phase that trains saves before it ends, and can be continued."""
    from talkies.cli.status import chosen
    from talkies.launch.slurm import cancel

    for chain in chosen(args.run, args.runs):
        active = {job.id for job in chain.active()}
        doomed = [known for known in reversed(chain.ids) if known in active]
        if doomed:
            cancel(doomed)
        print(f"{chain.folder}: cancelled {', '.join(doomed)}" if doomed else f"{chain.folder}: every job has ended")
    return 0

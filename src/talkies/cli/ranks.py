"""The processes of a run: those of torchrun or srun are joined; otherwise they are started here."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from talkies.parallel.ranks import Ranks
    from talkies.parallel.world import World

PER_CORE = 4


def with_ranks(argv: Sequence[str], wanted: Mapping[str, int], work: "Callable[[Ranks], int]") -> int:
    """Call `work(ranks)` in every process of a layout of `wanted` (phase name -> ranks); `argv` starts this command
    again.

    Raises RecipeError if the phases want different numbers of ranks, or another number of processes was started.
    """
    from talkies.config import RecipeError, UserError
    from talkies.parallel.world import world_of

    counts = sorted(set(wanted.values()))
    if len(counts) > 1:
        by_phase = ", ".join(f"{name} {count}" for name, count in wanted.items())
        raise RecipeError(
            f"parallel: the phases of a curriculum run in the same processes, but their layouts have {by_phase} ranks: "
            "give all the same number (`replicate`), or train them one by one"
        )
    world = world_of()
    if world.size == 1 and counts[0] > 1:
        return _started_here(argv, counts[0])
    if world.size != counts[0]:
        raise RecipeError(
            f"parallel: the recipe's layout has {counts[0]} ranks (`parallel`), but {world.size} processes were "
            "started: change one of the two"
        )
    import torch.distributed as dist

    from talkies.launch.rendezvous import meet
    from talkies.parallel.mesh import destroy_groups
    from talkies.parallel.ranks import RankError

    if world.size > 1:
        meet()
    from talkies.runs.run_phase import InterruptedRunError
    from talkies.signals.answer import check_signal

    check_signal()
    ranks = _joined(world)
    try:
        return work(ranks)
    except RankError:
        check_signal()  # the other process may have stopped for a signal that this one received, too
        raise
    except InterruptedRunError:
        ranks.gather(None)  # torchrun ends all processes with the first that exits: let the main one report before
        raise
    except RuntimeError as error:
        if world.size == 1 or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        check_signal()
        raise RankError(
            "parallel: another process ended during a collective; its message is above, and the same command continues "
            "from the last checkpoint",
            70,
        ) from None
    except Exception as error:
        known = getattr(error, "reported", False) or getattr(error, "shared", False)
        if not world.main and not known and isinstance(error, UserError | OSError):
            print(f"talkies: rank {world.rank}: {error}", file=sys.stderr)
        raise
    finally:
        destroy_groups()


def _joined(world: "World") -> "Ranks":
    """The processes of the world, once all have met. RankError if they do not; each process says why, since the main
    one may be the one that is missing."""
    from talkies.config.quoting import one_line, shown
    from talkies.parallel.mesh import start
    from talkies.parallel.ranks import RankError, Ranks
    from talkies.signals.answer import check_signal

    try:
        start(world)
        return Ranks(world)
    except (RuntimeError, ValueError, OverflowError) as error:
        check_signal()
        names = ("MASTER_ADDR", "MASTER_PORT")
        place = ", ".join(f"{name} {shown(os.environ[name]) if name in os.environ else 'not set'}" for name in names)
        reason = one_line(next(iter(str(error).splitlines()), type(error).__name__).rstrip("."))
        line = (
            f"parallel: the {world.size} processes have not met ({place}): {reason}; start all of them, with an "
            "address of the node of rank 0 and a port that is free there"
        )
        if not world.main:
            print(f"talkies: rank {world.rank}: {line}", file=sys.stderr)
        raise RankError(line, 70) from None


def _started_here(argv: Sequence[str], count: int) -> int:
    """Start every process on this machine. Each needs a GPU or, on a machine without GPUs, a share of a core."""
    import torch

    from talkies.config import RecipeError
    from talkies.parallel.launch import launch

    gpus, cores = torch.cuda.device_count(), os.cpu_count() or 1
    if count > (gpus or PER_CORE * cores):
        devices = f"{gpus} GPUs" if gpus else f"no GPU and {cores} cores, which allow at most {PER_CORE * cores}"
        raise RecipeError(
            f"parallel: the layout has {count} ranks, this machine has {devices}: start it on enough nodes with "
            "torchrun or srun, or choose a smaller layout"
        )
    return launch([sys.executable, "-m", "talkies.cli.main", *argv], count)

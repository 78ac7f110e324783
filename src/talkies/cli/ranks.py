"""The processes of a run: joined where torchrun or srun started them, started here where nobody did."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from talkies.parallel.ranks import Ranks

PER_CORE = 4


def with_ranks(argv: Sequence[str], wanted: Mapping[str, int], work: "Callable[[Ranks], int]") -> int:
    """`work(ranks)` in every process of a layout of `wanted` (phase name -> ranks); `argv` starts this command again.

    Raises RecipeError where the phases want different numbers, or another number of processes was started.
    """
    from talkies.config import RecipeError, UserError
    from talkies.parallel.world import world_of

    counts = sorted(set(wanted.values()))
    if len(counts) > 1:
        told = ", ".join(f"{name} {count}" for name, count in wanted.items())
        raise RecipeError(
            f"parallel: the phases of a curriculum run in the same processes, but their layouts have {told} ranks: "
            "give each as many (`replicate`), or train them one by one"
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
    from talkies.parallel.mesh import leave, start
    from talkies.parallel.ranks import RankError, Ranks

    if world.size > 1:
        meet()
    from talkies.runs.run_phase import InterruptedRunError
    from talkies.signals.answer import look

    look()
    start(world)
    ranks = Ranks(world)
    try:
        return work(ranks)
    except RankError:
        look()  # the other was told to end, too, and was faster
        raise
    except InterruptedRunError:
        ranks.gather(None)  # torchrun ends the others with the first that leaves: the main process has its say before
        raise
    except RuntimeError as error:
        if world.size == 1 or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        look()
        raise RankError(
            "parallel: another process ended in the middle of an exchange; what it says stands above, and the same "
            "command continues from the last checkpoint",
            70,
        ) from None
    except Exception as error:
        known = getattr(error, "reported", False) or getattr(error, "shared", False)
        if not world.main and not known and isinstance(error, UserError | OSError):
            print(f"talkies: rank {world.rank}: {error}", file=sys.stderr)
        raise
    finally:
        leave()


def _started_here(argv: Sequence[str], count: int) -> int:
    """Every process on this machine; each needs a GPU where there are GPUs at all, or a share of a core."""
    import torch

    from talkies.config import RecipeError
    from talkies.parallel.launch import launch

    gpus, cores = torch.cuda.device_count(), os.cpu_count() or 1
    if count > (gpus or PER_CORE * cores):
        has = f"{gpus} GPUs" if gpus else f"no GPU and {cores} cores, which take {PER_CORE * cores} at most"
        raise RecipeError(
            f"parallel: the layout has {count} ranks, this machine {has}: start it on enough nodes with torchrun or "
            "srun, or choose a smaller layout"
        )
    return launch([sys.executable, "-m", "talkies.cli.main", *argv], count)

"""Real processes over gloo: run a function on every rank and return the answers."""

import faulthandler
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

SAID = 6000
"""Characters of a rank's stderr that an error shows."""
ABORTED = Path(__file__).parents[2] / "aborted_ranks.txt"
"""conftest.py shows it."""


def _rank(rank: int, world: int, folder: str, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    said = os.open(f"{folder}/said-{rank}.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(said, sys.stderr.fileno())
    faulthandler.enable()
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    os.environ |= {"LOCAL_WORLD_SIZE": str(world), "GLOO_SOCKET_IFNAME": "lo"}
    mp.set_start_method("fork", force=True)  # for loader workers, as in a process that torchrun starts
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    try:
        torch.save(function(*args), f"{folder}/answer-{rank}.pt")
    finally:
        dist.destroy_process_group()
    os._exit(0)  # like a rank of talkies: see signals.flag.exit_if_code_set


def on_ranks(folder: Path, world: int, function: Callable[..., Any], *args: Any) -> list[Any]:
    """`function(*args)` in `world` new processes with a process group; the answers in rank order. An error has notes
    of what the ranks said on stderr: libraries that abort a process say why there alone.

    A world in which a library aborted a process (seen once in CI, and in none of 40 runs under load elsewhere) is
    started once more; pytest's summary shows what was said.
    """
    here = folder / f"ranks-{function.__name__}-{world}"
    try:
        return _started(here, world, function, args)
    except mp.ProcessExitedException as error:
        if error.exit_code != -signal.SIGABRT:
            raise
        with ABORTED.open("a") as file:
            file.write("\n".join([f"{here}: {error}", *error.__notes__, ""]))
        return _started(here.with_name(f"{here.name}-again"), world, function, args)


def _started(here: Path, world: int, function: Callable[..., Any], args: tuple[Any, ...]) -> list[Any]:
    here.mkdir(parents=True)
    try:
        mp.start_processes(_rank, (world, str(here), function, args), nprocs=world, start_method="spawn")
    except Exception as error:
        for path in sorted(here.glob("said-*.txt")):
            error.add_note(f"{path.name}:\n{path.read_text(errors='replace')[-SAID:]}")
        raise
    return [torch.load(here / f"answer-{rank}.pt", weights_only=True) for rank in range(world)]


def in_turn(function: Callable[..., Any], cases: Sequence[tuple[Any, ...]]) -> list[Any]:
    """`function(*case)` for all cases in turn, in the same processes; a failure names its case."""
    answers = []
    for case in cases:
        try:
            answers.append(function(*case))
        except Exception as error:
            error.add_note(f"in the turn of {case}")
            raise
    return answers


class CasesOnRanks:
    """Cases by name, each with a world size. Every world is started once, for all its cases, when the first is needed:
    starting it takes longer than most cases."""

    def __init__(
        self, folder: Path, function: Callable[..., Any], cases: dict[str, tuple[int, tuple[Any, ...]]]
    ) -> None:
        self.folder, self.function, self.cases = folder, function, cases
        self._world = cache(self._start)
        self._failed: set[int] = set()

    def answers(self, name: str) -> list[Any]:
        """The answers of a case, by rank."""
        world = self.cases[name][0]
        return [answer[name] for answer in self._world(world)]

    def _start(self, world: int) -> list[dict[str, Any]]:
        if world in self._failed:
            raise RuntimeError(f"the {world} ranks of these cases failed before: see the first error")
        mine = {name: case for name, (size, case) in self.cases.items() if size == world}
        try:
            found = on_ranks(self.folder, world, in_turn, self.function, list(mine.values()))
        except Exception:
            self._failed.add(world)
            raise
        return [dict(zip(mine, answer, strict=True)) for answer in found]

"""Real processes over gloo: run a function on every rank and bring the answers back."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def _rank(rank: int, world: int, folder: str, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    os.environ |= {"LOCAL_WORLD_SIZE": str(world), "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    try:
        torch.save(function(*args), f"{folder}/answer-{rank}.pt")
    finally:
        dist.destroy_process_group()


def on_ranks(folder: Path, world: int, function: Callable[..., Any], *args: Any) -> list[Any]:
    """`function(*args)` in `world` new processes with a process group; the answers in rank order."""
    here = folder / f"ranks-{function.__name__}-{world}"
    here.mkdir(parents=True)
    mp.start_processes(_rank, (world, str(here), function, args), nprocs=world, start_method="spawn")
    return [torch.load(here / f"answer-{rank}.pt", weights_only=True) for rank in range(world)]

"""Checks of a layout against this machine, before a process is started."""

from importlib.util import find_spec

import torch

from talkies.config import RecipeError
from talkies.parallel.config import Layout


def check_machine(layout: Layout, *, bf16: bool) -> None:
    """Raise RecipeError if a package, a GPU or a number format is missing."""
    cuda = torch.cuda.is_available()
    if layout.kind == "deepspeed" and not cuda:
        raise RecipeError(
            "parallel: `parallel.kind` deepspeed needs CUDA GPUs, this machine has none; take fsdp2 (the same shards, "
            "also on CPUs) or ddp"
        )
    if layout.kind == "deepspeed" and find_spec("deepspeed") is None:
        raise RecipeError(
            "parallel: `parallel.kind` deepspeed needs the package deepspeed, which is not installed: "
            "pip install -c constraints.txt -e '.[deepspeed]', or take fsdp2"
        )
    if bf16 and cuda and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise RecipeError(
            f"recipe: `precision` is bf16, which {torch.cuda.get_device_name()} has no arithmetic for (8.0 and newer "
            "have): set precision=fp32"
        )

"""torch.compile for blocks, without what it does quietly: no graph break, no fallback, no growing cache."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from talkies.config import RecipeError

Forward = Callable[..., Tensor]
VARIANTS = 16
"""Graphs of one kind of module: two towers, with and without padding, the first block of a LoRA (whose input needs no
gradient) and the others: that is 8, all that torch would allow."""


def forget() -> None:
    """Drop what was compiled in this process: an earlier phase of a curriculum does not count against the next."""
    torch._dynamo.reset()
    torch._dynamo.config.recompile_limit = VARIANTS


def compiled(forward: Forward) -> Forward:
    """`forward` of a block, compiled for training steps; without gradients (validation, samples: other shapes) it runs
    as it is. Blocks of one class and one size share their code, however many there are.

    Shapes are static: a phase has one geometry. Raises RecipeError where a block cannot be compiled.
    """
    fast: Forward = torch.compile(forward, fullgraph=True, dynamic=False)

    def call(*args: Any) -> Tensor:
        if not torch.is_grad_enabled():
            return forward(*args)
        try:
            return fast(*args)
        except (torch._dynamo.exc.TorchDynamoException, torch._dynamo.exc.FailOnRecompileLimitHit) as error:
            raise RecipeError(
                f"recipe: `compute.compile` is true, but blocks do not compile: {_why(error)}; set it to false"
            ) from error

    return call


def _why(error: BaseException) -> str:
    """The first paragraph of what torch says, on one line, without its hints."""
    limit = error.__cause__ if isinstance(error, torch._dynamo.exc.FailOnRecompileLimitHit) else None
    paragraph = str(limit or error).strip().split("\n\n")[0]
    return " ".join(paragraph.split("Hint:")[0].split())

"""torch.compile for blocks, without silent surprises: no graph break, no fallback, no growing cache."""

from collections.abc import Callable
from typing import Any

import torch

from talkies.config import RecipeError

Forward = Callable[..., Any]
VARIANTS = 16
"""Graphs allowed per kind of module. Two sizes of it, with and without padding, and under LoRA a first block whose
input needs no gradient, make 8: already torch's default limit."""


def reset_compiled() -> None:
    """Drop all compiled graphs of this process, so that an earlier phase does not count towards the limit."""
    torch._dynamo.reset()
    torch._dynamo.config.recompile_limit = VARIANTS


def compiled(forward: Forward) -> Forward:
    """`forward` of a block, compiled for training steps. Without gradients (validation and sampling have other shapes)
    it runs uncompiled. Blocks of the same class and size share their compiled code.

    Shapes are static: a phase has one geometry. Raises RecipeError if a block cannot be compiled.
    """
    fast: Forward = torch.compile(forward, fullgraph=True, dynamic=False)

    def call(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        try:
            return fast(*args, **kwargs)
        except (torch._dynamo.exc.TorchDynamoException, torch._dynamo.exc.FailOnRecompileLimitHit) as error:
            raise RecipeError(
                f"recipe: `compute.compile` is true, but blocks do not compile: {_why(error)}; set it to false"
            ) from error

    return call


def _why(error: BaseException) -> str:
    """The first paragraph of torch's message, on one line, without its hints."""
    limit = error.__cause__ if isinstance(error, torch._dynamo.exc.FailOnRecompileLimitHit) else None
    paragraph = str(limit or error).strip().split("\n\n")[0]
    return " ".join(paragraph.split("Hint:")[0].split())

"""The layers that an adapter changes; without PEFT, so that a plan can check them."""

import difflib

from torch import nn

from talkies.config import RecipeError
from talkies.config.quoting import shown
from talkies.training.config import LoraConfig


def check_targets(model: nn.Module, config: LoraConfig) -> None:
    """RecipeError if a target names no linear layer of `model`."""
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    known = sorted({name.rsplit(".", 1)[-1] for name in linears})
    for target in config.targets:
        if not any(name.endswith(f".{target}") for name in linears):
            near = difflib.get_close_matches(target, known, 3, 0.3) or known
            raise RecipeError(
                f"recipe: `train.targets`: {shown(target)} matches none of {len(linears)} linear layers; nearest: "
                f"{', '.join(near)}"
            )

"""What lies within a speech encoder of transformers: the states of all layers, and the features before them.

Both are reached by hooks: called on its own, an encoder of transformers 5 ignores `output_hidden_states`.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate


def all_states(encoder: Any, run: Callable[[], object]) -> Tensor:
    """The states [N, layers * D] of all layers of `encoder`, the first layer's first, of one sound that `run` passes
    through it. The last layer's are the encoder's output, which in some networks is normalised once more."""
    found: list[Tensor] = []
    with ExitStack() as hooks:
        for layer in encoder.layers[:-1]:
            hooks.enter_context(_hooked(layer, lambda _, __, state: found.append(state)))
        hooks.enter_context(_hooked(encoder, lambda _, __, output: found.append(output.last_hidden_state)))
        run()
    return torch.cat([state[0] for state in found], dim=-1)


@contextmanager
def resampled(extractor: nn.Module, steps: int, *, align_corners: bool) -> Iterator[None]:
    """Within: what `extractor` returns [B, C, N] is interpolated to [B, C, steps]."""

    def resample(_: nn.Module, __: object, found: Tensor) -> Tensor:
        return interpolate(found, size=steps, mode="linear", align_corners=align_corners)

    with _hooked(extractor, resample):
        yield


@contextmanager
def _hooked(module: nn.Module, hook: Callable[[nn.Module, Any, Any], Any]) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()

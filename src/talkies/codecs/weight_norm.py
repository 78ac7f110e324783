"""Weight norm, folded into the weights: the same values in half the tensors."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from talkies.config import DataError


def fold_weight_norm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors with every weight-norm pair replaced by its weight v * g / |v|, the norm per output channel
    (dim 0). Accepts both of torch's spellings: `weight_g`, `weight_v` and `parametrizations.weight.original0/1`."""
    return {name: folded(tensors, stored) for name, stored in weight_norm_pairs(tensors).items()}


def weight_norm_pairs(names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Name of a folded tensor -> the names of what it is made of: itself, or (v, g). DataError for a g without v."""
    found: dict[str, tuple[str, ...]] = {}
    for name in names:
        for g, v in (
            ("weight_g", "weight_v"),
            ("parametrizations.weight.original0", "parametrizations.weight.original1"),
        ):
            if name.endswith(f".{g}"):
                stem = name.removesuffix(g)
                if stem + v not in names:
                    raise DataError(f"weight norm: found {name} without {stem + v}; the file is incomplete")
                found[f"{stem}weight"] = (stem + v, name)
                break
            if name.endswith(f".{v}"):
                break
        else:
            found[name] = (name,)
    return found


def folded(tensors: Mapping[str, Tensor], stored: tuple[str, ...]) -> Tensor:
    """A tensor, or the weight of the pair (v, g), in fp32."""
    values = [tensors[name] for name in stored]
    return values[0] if len(values) == 1 else torch._weight_norm(values[0].float(), values[1].float(), 0)

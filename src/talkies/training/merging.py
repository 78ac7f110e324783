"""A LoRA merged into the weights that it adapts: W + alpha / rank B A, tensor by tensor."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from talkies.config import CheckpointError
from talkies.training.adapter import Adapter
from talkies.weights.pieces import Piece

_WEIGHT = ".weight"


def merged(weight: Tensor, down: Tensor, up: Tensor, scale: float) -> Tensor:
    """`weight` [out, in] + scale * up [out, rank] @ down [rank, in], computed in fp32 and rounded once to its dtype."""
    return torch.addmm(weight.float(), up.float(), down.float(), alpha=scale).to(weight.dtype)


@dataclass(frozen=True, kw_only=True)
class Merging:
    """Merges `adapter` into the tensors of its base."""

    adapter: Adapter

    def check(self, base: Mapping[str, Piece]) -> None:
        """CheckpointError if a layer of the adapter is none of `base` (by the path of the tensor in the network), or of
        another shape."""
        for name, (down, up) in self.adapter.layers.items():
            weight, shape = base.get(name + _WEIGHT), (up.shape[0], down.shape[-1])
            if weight is None or weight.shape != shape or up.shape[-1] != down.shape[0]:
                found = "has no such layer" if weight is None else f"has {weight.shape}"
                raise CheckpointError(
                    f"export: {self.adapter.folder} was made for another architecture: its {name} is {shape}, and "
                    f"the base {found}"
                )

    def chunks(self, name: str, piece: Piece) -> Iterator[bytes]:
        """The bytes of the tensor `name` of the base with what the adapter adds."""
        pair = self.adapter.layers.get(name.removesuffix(_WEIGHT)) if name.endswith(_WEIGHT) else None
        if pair is None:
            yield from piece.chunks()
        else:
            value = merged(piece.tensor(), pair[0].tensor(), pair[1].tensor(), self.adapter.scale)
            yield value.contiguous().view(torch.uint8).numpy().tobytes()

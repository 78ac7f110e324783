"""Bytes that autograd keeps from the forward pass for the backward pass, on one rank.

They are those of eager kernels; torch.compile may keep less. Attention is planned as a flash kernel, like
CUDA's and the CPU's; the plain ("math") kernel would keep all probabilities.
"""

from dataclasses import dataclass

from talkies.planning.profile import Profile


@dataclass(frozen=True, kw_only=True)
class Activations:
    """Bytes. `blocks`: the insides of all units or, with recomputation, of the largest one; `inputs`: what units take,
    such as the tokens between blocks; `ends`: embeddings, heads, losses; `working`: temporary gradients in the largest
    unit, which no hook counts."""

    blocks: int = 0
    inputs: int = 0
    ends: int = 0
    working: int = 0

    @property
    def kept(self) -> int:
        """Bytes that autograd keeps after the forward pass, with the insides of a unit that is recomputed."""
        return self.blocks + self.inputs + self.ends

    @property
    def total(self) -> int:
        """The peak."""
        return self.kept + self.working


def activations(profile: Profile, *, checkpointing: bool) -> Activations:
    """Bytes of one micro-batch on one rank."""
    pieces = profile.pieces
    if checkpointing:
        insides = max((piece.inside for piece in pieces), default=0)
    else:
        insides = sum(piece.count * piece.inside for piece in pieces)
    return Activations(
        blocks=insides,
        inputs=profile.inputs if checkpointing else profile.kept_inputs,
        ends=profile.ends,
        working=max((piece.working for piece in pieces), default=0),
    )

"""Bytes on the fullest rank. Tests compare them with the memory of real processes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from talkies.planning.activations import Activations
from talkies.planning.work import BF16, FP32, MOMENTS, Group, Part, Sizes, Work, active, dealt


@dataclass(frozen=True, kw_only=True)
class Memory:
    """`weights`, `gradients` (of what a step trains), `optimizer` (moments, of inactive parameters, too) and `ema` are
    fp32 (`weights`: or bf16 masters) and, under FSDP, sharded. `half`: autocast's bf16 copy of the active fp32 weights.
    `gathered`: the weights that FSDP
    has unsharded: two units in the dtype of the matmuls, and everything outside of units (inactive parameters, too) in
    fp32. `reduced`: gradients being reduced: those of the largest unit, as computed and in fp32, or all of DDP's
    buckets. `beside`: codecs that encode conditions anew, and the micro-batch's sounds; `working`: while one is
    encoded, before there are activations. `host`: main memory for a copy of the state while it is written; `offloaded`:
    main memory in use all the time; neither is in `total`.
    """

    weights: int
    half: int
    gradients: int
    optimizer: int
    ema: int
    gathered: int
    reduced: int
    activations: Activations
    host: int
    offloaded: int = 0
    beside: int = 0
    working: int = 0

    @property
    def total(self) -> int:
        """The peak, at the start of the backward pass. CUDA's context (about 1 GB) comes on top."""
        state = self.weights + self.half + self.gradients + self.optimizer + self.ema
        return state + self.gathered + self.reduced + self.beside + max(self.activations.total, self.working)


def memory(parts: Sequence[Part], work: Work, kept: Activations) -> Memory:
    """Bytes of a training step that keeps these activations."""
    at_work, lowered = active(parts, work.inactive), BF16 if work.bf16 else FP32
    trained = FP32 * _on_rank(parts, work, lambda group: group.trained)
    return Memory(
        weights=FP32 * _on_rank(parts, work, lambda group: group.wide)
        + BF16 * _on_rank(parts, work, lambda group: group.lowered),
        half=0 if work.sharded or not work.bf16 else BF16 * _whole(at_work),
        gradients=FP32 * _on_rank(at_work, work, lambda group: group.trained),
        optimizer=MOMENTS * trained,
        ema=trained,
        gathered=_gathered(parts, work, lowered) if work.sharded else 0,
        reduced=_reduced(parts, work, lowered),
        activations=kept,
        host=(1 + MOMENTS + 1) * trained,
    )


def _on_rank(parts: Sequence[Part], work: Work, choose: Callable[[Group], Sizes]) -> int:
    """Values on the fullest rank."""
    return sum(group.count * dealt(choose(group), work.layout.shard) for part in parts for group in part.groups)


def _whole(parts: Sequence[Part]) -> int:
    return sum(group.count * dealt(group.wide, 1) for part in parts for group in part.groups)


def _gathered(parts: Sequence[Part], work: Work, lowered: int) -> int:
    ranks = work.layout.shard
    groups = [group for part in parts for group in part.groups]
    block = max((dealt(group.all, ranks) for group in groups if group.block), default=0)
    root = sum(dealt(group.all, ranks) for group in groups if not group.block)
    return ranks * (2 * block * lowered + root * FP32)


def _reduced(parts: Sequence[Part], work: Work, lowered: int) -> int:
    groups = [group for part in parts for group in part.groups]
    if work.sharded:
        return (lowered + FP32) * max((dealt(group.trained, 1) for group in groups if group.block), default=0)
    trained = sum(group.count * dealt(group.trained, 1) for group in groups)
    return FP32 * trained if work.layout.ranks > 1 else 0

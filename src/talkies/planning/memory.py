"""Bytes on the fullest rank. Tests compare them with what real processes hold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from talkies.planning.activations import Activations, activations
from talkies.planning.work import BF16, FP32, MOMENTS, Group, Part, Sizes, Work, active, dealt


@dataclass(frozen=True, kw_only=True)
class Memory:
    """`weights`, `gradients` (of what one step trains: one video expert at a time), `optimizer` (moments, of both) and
    `ema` are fp32 and, under FSDP, shards. `half`: the bf16 copy of the weights at work that autocast makes.
    `gathered`: what FSDP has unsharded: the largest block and the next one in the dtype of the matmuls, and all that
    lies outside of blocks (of the inactive expert, too), fp32. `reduced`: gradients on their way: of the largest block,
    as computed and as fp32 to be reduced, or all of DDP's buckets. `host`: main memory that a copy of the state takes
    while it is written, `offloaded`: what lies there all the time; neither is in `total`.
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

    @property
    def total(self) -> int:
        """The most at once: everything, while the backward pass begins. CUDA's context (about 1 GB) comes on top."""
        state = self.weights + self.half + self.gradients + self.optimizer + self.ema
        return state + self.gathered + self.reduced + self.activations.total


def memory(parts: Sequence[Part], work: Work, *, fused: bool = True) -> Memory:
    """Bytes of a training step; `fused` as in `activations`."""
    at_work, lowered = active(parts), BF16 if work.bf16 else FP32
    trained = FP32 * _held(parts, work, lambda group: group.trained)
    return Memory(
        weights=FP32 * _held(parts, work, lambda group: group.all),
        half=0 if work.sharded or not work.bf16 else BF16 * _whole(at_work),
        gradients=FP32 * _held(at_work, work, lambda group: group.trained),
        optimizer=MOMENTS * trained,
        ema=trained,
        gathered=_gathered(parts, work, lowered) if work.sharded else 0,
        reduced=_reduced(parts, work, lowered),
        activations=activations(work, fused=fused),
        host=(1 + MOMENTS + 1) * trained,
    )


def _held(parts: Sequence[Part], work: Work, choose: Callable[[Group], Sizes]) -> int:
    """Values on one rank."""
    return sum(group.count * dealt(choose(group), work.layout.shard) for part in parts for group in part.groups)


def _whole(parts: Sequence[Part]) -> int:
    return sum(group.count * dealt(group.all, 1) for part in parts for group in part.groups)


def _gathered(parts: Sequence[Part], work: Work, lowered: int) -> int:
    ranks = work.layout.shard
    groups = [group for part in parts for group in part.groups]
    block = max(dealt(group.all, ranks) for group in groups if group.block)
    root = sum(dealt(group.all, ranks) for group in groups if not group.block)
    return ranks * (2 * block * lowered + root * FP32)


def _reduced(parts: Sequence[Part], work: Work, lowered: int) -> int:
    groups = [group for part in parts for group in part.groups]
    if work.sharded:
        return (lowered + FP32) * max(dealt(group.trained, 1) for group in groups if group.block)
    trained = sum(group.count * dealt(group.trained, 1) for group in groups)
    return FP32 * trained if work.layout.ranks > 1 else 0

"""Memory and communication of a rank under DeepSpeed's ZeRO, which shards by value; FSDP shards by row."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

from talkies.parallel.zero_sizes import BUCKET, LIVE
from talkies.planning.activations import Activations
from talkies.planning.communication import Communication, all_reduce, communication, sequence_bytes
from talkies.planning.memory import Memory, memory
from talkies.planning.profile import Profile
from talkies.planning.work import BF16, FP32, MOMENTS, Group, Part, Sizes, Work, active


def rank_memory(parts: Sequence[Part], work: Work, kept: Activations) -> Memory:
    """Bytes on the fullest rank, for any strategy."""
    found, beside = (zero_memory if work.zero else memory)(parts, work, kept), work.beside
    return replace(found, beside=beside.weights + work.micro * beside.sound, working=beside.working)


def rank_communication(parts: Sequence[Part], work: Work, profile: Profile) -> Communication:
    """Bytes that a rank sends per step, for any strategy."""
    return (zero_communication if work.zero else communication)(parts, work, profile)


def zero_memory(parts: Sequence[Part], work: Work, kept: Activations) -> Memory:
    """Bytes of a training step under ZeRO.

    Master weights are a separate copy at every stage, counted with the moments; gradients take the space of all
    parameters. `reduced`: the buckets; for stages 1 and 2 also zeros for inactive parameters and tensors on partition
    borders; for stage 1 also whole gradients. Matmuls read a bf16 copy of each weight, which autograd keeps.
    `offloaded` is in main memory.
    """
    layout, at_work = work.layout, active(parts, work.inactive)
    ranks = layout.shard
    trained = FP32 * _values(parts, lambda group: group.trained, ranks)
    trained_now = FP32 * _values(at_work, lambda group: group.trained, 1)
    inactive = trained - FP32 * _values(at_work, lambda group: group.trained, ranks)
    state = {"gradients": trained, "optimizer": (1 + MOMENTS) * trained, "ema": trained}
    offloaded = sum(state.values()) if work.offload else 0
    if work.offload:
        state = dict.fromkeys(state, 0)
    zeros = 0 if work.zero == 3 or work.offload else inactive + _border(at_work)
    return Memory(
        weights=_bytes(parts, ranks if work.zero == 3 else 1),
        half=_half(at_work, work),
        **state,
        gathered=_live(at_work) if work.zero == 3 else 0,
        reduced=2 * FP32 * BUCKET + zeros + (trained_now if work.zero == 1 else 0),
        activations=kept,
        host=(1 + MOMENTS + 1) * trained,
        offloaded=offloaded,
    )


def _live(at_work: Sequence[Part]) -> int:
    """The gathered weights: LIVE elements, as wide as they are on average."""
    values = _values(at_work, lambda group: group.all, 1)
    return _bytes(at_work, 1) * min(LIVE, values) // max(values, 1)


def _border(at_work: Sequence[Part]) -> int:
    """Stages 1 and 2 keep the whole gradient of a tensor on the border of two ranks' partitions: at most the largest
    tensor of each component."""
    largest = [max((prod(s) for g in part.groups for s in g.trained), default=0) for part in at_work]
    return FP32 * sum(largest)


def _half(at_work: Sequence[Part], work: Work) -> int:
    """bf16 copies of the fp32 weights of all blocks, or of the one that is recomputed."""
    if not work.bf16:
        return 0
    blocks = [group for part in at_work for group in part.groups if group.block]
    if work.checkpointing:
        return BF16 * max((_dealt(group.wide, 1) for group in blocks), default=0)
    return BF16 * sum(group.count * _dealt(group.wide, 1) for group in blocks)


def zero_communication(parts: Sequence[Part], work: Work, profile: Profile) -> Communication:
    """Bytes that one rank sends in all micro-batches of a step. Stages 1 and 2 reduce whole gradients after each, and
    gather all weights after the step; stage 3 gathers the active weights forward and backward, and scatters gradients.
    """
    ranks, at_work = work.layout.shard, active(parts, work.inactive)
    exchange, gather = (work.accumulate * size for size in sequence_bytes(work, profile))
    if work.zero < 3:
        gradients = FP32 * _values(at_work, lambda group: group.trained, 1)
        weights = FP32 * _values(parts, lambda group: group.trained, ranks)
        return Communication(
            all_gather=(ranks - 1) * weights,
            all_reduce=work.accumulate * all_reduce(gradients, ranks),
            exchange=exchange,
            gather=gather,
        )
    return Communication(
        all_gather=work.accumulate * 2 * (ranks - 1) * _bytes(at_work, ranks),
        reduce_scatter=work.accumulate * (ranks - 1) * FP32 * _values(at_work, lambda group: group.trained, ranks),
        exchange=exchange,
        gather=gather,
    )


def _bytes(parts: Sequence[Part], ranks: int) -> int:
    """Bytes of all weights, as they are held, on the fullest of `ranks` ranks."""
    return FP32 * _values(parts, lambda group: group.wide, ranks) + BF16 * _values(
        parts, lambda group: group.lowered, ranks
    )


def _values(parts: Sequence[Part], choose: Callable[[Group], Sizes], ranks: int) -> int:
    """Values on the fullest of `ranks` ranks."""
    return sum(group.count * _dealt(choose(group), ranks) for part in parts for group in part.groups)


def _dealt(sizes: Sizes, ranks: int) -> int:
    return sum(-(-prod(size) // ranks) for size in sizes)

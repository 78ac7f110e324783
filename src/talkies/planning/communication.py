"""Bytes that one rank sends per optimizer step (it receives as many), for ring algorithms. For a tensor of N bytes over
n ranks an all-gather, a reduce-scatter and an all-to-all send (n - 1) / n N, an all-reduce twice that."""

from collections.abc import Sequence
from dataclasses import dataclass

from talkies.planning.profile import Profile
from talkies.planning.work import BF16, FP32, Part, Work, active, dealt


@dataclass(frozen=True, kw_only=True)
class Communication:
    """Bytes. `all_gather`, `reduce_scatter`: FSDP's or ZeRO's, of weights and gradients, within a shard group;
    `all_reduce`: FSDP's gradients between the replicas, or those of ZeRO 1 and 2; `exchange`: all-to-alls of heads for
    tokens, and `gather`: of keys, values and predictions, both within a sequence group; `ddp`: DDP's gradients, also of
    inactive parameters."""

    all_gather: int = 0
    reduce_scatter: int = 0
    all_reduce: int = 0
    exchange: int = 0
    gather: int = 0
    ddp: int = 0

    @property
    def total(self) -> int:
        """Sum of all."""
        return self.all_gather + self.reduce_scatter + self.all_reduce + self.exchange + self.gather + self.ddp


def communication(parts: Sequence[Part], work: Work, profile: Profile) -> Communication:
    """Bytes that one rank sends in all micro-batches of a step. In each, FSDP gathers all active weights twice, forward
    and backward (which includes recomputation), and reduces gradients; DDP reduces only after the last."""
    layout = work.layout
    if not work.sharded:
        trained = sum(group.count * dealt(group.trained, 1) for part in parts for group in part.groups)
        return Communication(ddp=all_reduce(FP32 * trained, layout.ranks))
    lowered, others = BF16 if work.bf16 else FP32, layout.shard - 1
    at_work = [group for part in active(parts, work.inactive) for group in part.groups]
    blocks = sum(group.count * dealt(group.all, layout.shard) for group in at_work if group.block)
    root = sum(dealt(g.all, layout.shard) for part in parts for g in part.groups if not g.block)  # inactive ones', too
    gradients = FP32 * sum(group.count * dealt(group.trained, layout.shard) for group in at_work)
    exchange, gather = sequence_bytes(work, profile)
    return Communication(
        all_gather=work.accumulate * others * 2 * (blocks * lowered + root * FP32),
        reduce_scatter=work.accumulate * others * gradients,
        all_reduce=work.accumulate * all_reduce(gradients, layout.replicate),
        exchange=work.accumulate * exchange,
        gather=work.accumulate * gather,
    )


def all_reduce(size: int, ranks: int) -> int:
    """Bytes of an all-reduce of `size` bytes."""
    return 2 * (ranks - 1) * size // ranks


def sequence_bytes(work: Work, profile: Profile) -> tuple[int, int]:
    """(all-to-all, gathers) of one micro-batch: forward, backward, and forward again if units are recomputed."""
    again = work.checkpointing
    return profile.total("exchange", recomputed=again), profile.total("gather", recomputed=again)

"""FLOPs of one rank and the time of a step, from what a GPU can do and the share of it that is reached."""

from dataclasses import dataclass

from talkies.models.flops import rank_flops
from talkies.planning.cost import Compute
from talkies.planning.work import Work


@dataclass(frozen=True, kw_only=True)
class Rate:
    """FLOP/s of one GPU: `peak`, and what it sustains, as the share `mfu` of the peak that counts recomputation, or as
    a `measured` rate."""

    peak: float = 989e12  # H100, dense bf16
    mfu: float = 0.35  # MOVA's report, counting recomputation
    measured: float | None = None

    @property
    def sustained(self) -> float:
        """FLOP/s."""
        return self.peak * self.mfu if self.measured is None else self.measured


@dataclass(frozen=True, kw_only=True)
class Speed:
    """`flops` of one rank and optimizer step: with what is recomputed, padding, and what every rank of a sequence group
    computes alike (text, patches). `seconds` per step; `mfu_useful` counts what one undivided forward and backward pass
    needs, `mfu_recompute` what is recomputed too; `peak` FLOP/s that both are shares of."""

    flops: int
    seconds: float
    mfu_useful: float
    mfu_recompute: float
    peak: float


def speed(work: Work, compute: Compute, rate: Rate) -> Speed:
    """`compute`: the whole step's FLOPs, undivided. Communication is part of the share that is not reached."""
    once = sum(compute.forward.values()) * work.clips
    own = work.micro * work.accumulate * sum(rank_flops(work.shape, work.held, work.tokens, work.layout.sequence))
    del once, own
    raise NotImplementedError


def _unused() -> None: ...

"""FLOPs of one rank and the time of a step, from the peak rate of a GPU and the share of it that is reached."""

from dataclasses import dataclass

from talkies.planning.cost import H100_FLOPS, H100_FP32, UTILISATION, Compute
from talkies.planning.profile import Profile
from talkies.planning.work import Work


@dataclass(frozen=True, kw_only=True)
class Rate:
    """FLOP/s of one GPU: its `peak`, and what it sustains: the share `mfu` of the peak, counting recomputation, or a
    `measured` rate."""

    peak: float = H100_FLOPS
    mfu: float = UTILISATION
    measured: float | None = None

    @property
    def sustained(self) -> float:
        """FLOP/s."""
        return self.peak * self.mfu if self.measured is None else self.measured


@dataclass(frozen=True, kw_only=True)
class Speed:
    """`flops` of one rank and optimizer step, including recomputation, padding, and work that every rank of a sequence
    group repeats; `seconds` per step at `sustained` FLOP/s, which allows for communication, and at a smaller rate for
    conditions that are encoded anew in fp32. Shares of `peak`:
    `mfu_useful` counts the FLOPs of one undivided forward and backward pass, `mfu_recompute` recomputation, too."""

    flops: int
    seconds: float
    sustained: float
    peak: float
    mfu_useful: float
    mfu_recompute: float


def speed(work: Work, profile: Profile, compute: Compute, rate: Rate) -> Speed:
    """The speed of a step; `profile` of a micro-batch on one rank; `compute`: FLOPs of the whole step, undivided."""
    needed = compute.with_recompute if work.checkpointing else compute.useful
    flops = profile.total("flops", recomputed=work.checkpointing) * work.accumulate
    encoded = work.accumulate * work.micro * work.beside.flops
    seconds = (flops + encoded * H100_FLOPS / H100_FP32) / rate.sustained
    possible = work.layout.ranks * seconds * rate.peak
    return Speed(
        flops=flops + encoded,
        seconds=seconds,
        sustained=rate.sustained,
        peak=rate.peak,
        mfu_useful=compute.useful / possible,
        mfu_recompute=needed / possible,
    )

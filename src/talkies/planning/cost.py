"""The cost of a phase: FLOPs per optimizer step, bytes on disk. Pure arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass

from talkies.planning.profile import Profile
from talkies.planning.work import FP32, MOMENTS, Part

H100_FLOPS, UTILISATION = 989e12, 0.35  # dense bf16; the MFU that arXiv 2602.08794 reports, counting recomputation
H100_FP32 = 67e12  # of its FP32 units: codecs compute in fp32
WRITE_RATE = 5e9  # bytes per second: our assumption, a modest share of a parallel file system
HASH_RATE = 1e9  # bytes per second: sha256 on one core with SHA instructions


@dataclass(frozen=True, kw_only=True)
class Compute:
    """FLOPs (2 per multiply-add). `forward`: per clip and component, of those that are active. `useful` and
    `with_recompute`: per optimizer step over the global batch, without and with recomputed activations."""

    forward: dict[str, int]
    useful: int
    with_recompute: int


@dataclass(frozen=True, kw_only=True)
class Disk:
    """Bytes: one `checkpoint` (weights, moments and EMA of what trains), `peak` with all kept ones and the best while
    one more is written, and the final `release` (the EMA of what trained). All ranks together write `write_rate` bytes
    per second, in the background; they read their shares to hash them, after writing and at resume."""

    checkpoint: int
    write_seconds: float
    hash_seconds: float
    write_rate: float
    peak: int
    release: int


def compute(profile: Profile, clips: int) -> Compute:
    """FLOPs of a step over `clips` clips like that of `profile`, which is undivided. Under an adapter a backward pass
    costs little more than a forward pass, since frozen weights need no gradients; else twice as much."""
    useful, both = (profile.total("flops", recomputed=again) * clips for again in (False, True))
    return Compute(forward=profile.forward, useful=useful, with_recompute=both)


def disk(parts: Sequence[Part], *, keep: int, write_rate: float = WRITE_RATE) -> Disk:
    """Bytes of checkpoints and of the result."""
    trained = sum(part.trained for part in parts)
    checkpoint = (1 + MOMENTS + 1) * FP32 * trained
    return Disk(
        checkpoint=checkpoint,
        write_seconds=checkpoint / write_rate,
        hash_seconds=checkpoint / HASH_RATE,
        write_rate=write_rate,
        peak=(keep + 2) * checkpoint,
        release=FP32 * trained,
    )


def h100_days(flops: float) -> float:
    """Days of one H100 for `flops`, at that peak and MFU."""
    return flops / (H100_FLOPS * UTILISATION) / 86400

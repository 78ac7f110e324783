"""The cost of a phase: FLOPs per optimizer step, bytes on disk. Pure arithmetic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from talkies.models.mova.config import MovaShape
from talkies.models.mova.flops import forward_flops
from talkies.planning.work import FP32, MOMENTS, Part

H100_FLOPS, UTILISATION = 989e12, 0.35  # dense bf16; the MFU that the MOVA paper reports, counting recomputation
WRITE_RATE = 5e9  # bytes per second: our assumption, a modest share of a parallel file system
HASH_RATE = 1e9  # bytes per second: sha256 on one core with SHA instructions


@dataclass(frozen=True, kw_only=True)
class Compute:
    """FLOPs (2 per multiply-add). `forward`: per clip and component, with one video expert active. `useful` and
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


def compute(
    shape: MovaShape, tokens: Mapping[str, int], *, components: Sequence[str], lora: bool, clips: int
) -> Compute:
    """FLOPs of a step over `clips` clips with `tokens` per stream (video, audio, text).

    A backward pass costs two forward passes. Under LoRA it costs one, since frozen weights need no gradients, but two
    in the products of attention, both of whose factors have gradients. The adapter's own share (under 1 %) is left out.
    """
    video, audio, text = tokens.get("video", 0), tokens.get("audio", 0), tokens["text"]
    forward = forward_flops(
        shape, video_tokens=video, audio_tokens=audio, text_tokens=text, bridge="bridge" in components
    )
    once = sum(forward.values())
    backward = once + attention_products(shape, video, audio, text, bridge="bridge" in components) if lora else 2 * once
    useful = (once + backward) * clips
    return Compute(forward=forward, useful=useful, with_recompute=useful + once * clips)


def attention_products(shape: MovaShape, video: int, audio: int, text: int, *, bridge: bool) -> int:
    """FLOPs of q k^T and its product with v, over every attention of one clip's forward pass."""
    total = 0
    for tower, tokens in ((shape.video, video), (shape.audio, audio)):
        total += tower.layers * 4 * tokens * (tokens + text) * tower.dim if tokens else 0
    return total + (shape.bridge.layers * 4 * video * audio * (shape.video.dim + shape.audio.dim) if bridge else 0)


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
    """Days of one H100 for `flops`, at the MFU that the MOVA paper reports."""
    return flops / (H100_FLOPS * UTILISATION) / 86400

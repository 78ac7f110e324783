"""What a phase costs: FLOPs per optimizer step, bytes in memory and on disk. Pure arithmetic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from talkies.models.config import MovaShape
from talkies.models.flops import forward_flops

if TYPE_CHECKING:  # parameters.py imports torch, which the plan of a preparation does without
    from talkies.planning.parameters import Part

FP32, BF16 = 4, 2
MOMENTS = 2  # AdamW keeps two fp32 values per weight
H100_FLOPS, UTILISATION = 989e12, 0.35  # dense bf16; the share that MOVA's report reached, counting recomputation


@dataclass(frozen=True, kw_only=True)
class Compute:
    """FLOPs (2 per multiply-add). `forward`: per clip and component, one video expert at work. `useful` and
    `with_recompute`: per optimizer step over the global batch, without and with activations computed twice."""

    forward: dict[str, int]
    useful: int
    with_recompute: int


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes per rank of what lasts through a step; activations come on top of it.

    `weights` and `optimizer` and `ema` are fp32; `half`: the bf16 copy of the weights that one step uses;
    `gradients`: fp32, of what one step trains (one video expert at a time).
    """

    weights: int
    half: int
    gradients: int
    optimizer: int
    ema: int

    @property
    def total(self) -> int:
        """Sum of all."""
        return self.weights + self.half + self.gradients + self.optimizer + self.ema


@dataclass(frozen=True, kw_only=True)
class Disk:
    """Bytes: one `checkpoint` (weights, moments and EMA of what trains), `peak` with all that are kept while one more
    is written, and the final `release` (the averaged weights of what trained)."""

    checkpoint: int
    peak: int
    release: int


def compute(
    shape: MovaShape, tokens: Mapping[str, int], *, components: Sequence[str], lora: bool, clips: int
) -> Compute:
    """FLOPs of a step over `clips` clips with `tokens` per stream (video, audio, text).

    A backward pass costs two forward passes. Under LoRA the frozen weights need no gradients, so that it costs one,
    and two in the products of attention, whose factors both carry gradients; the adapter's own share (under 1 %) is
    left out.
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


def memory(parts: "Sequence[Part]", *, bf16: bool) -> Memory:
    """Bytes of state in one process."""
    trained = sum(part.trained for part in parts)
    active = [part for part in parts if part.name != "video_low"]  # the experts take turns and are of one size
    return Memory(
        weights=FP32 * sum(part.built + part.adapter for part in parts),
        half=BF16 * sum(part.built for part in active) if bf16 else 0,
        gradients=FP32 * sum(part.trained for part in active),
        optimizer=MOMENTS * FP32 * trained,
        ema=FP32 * trained,
    )


def disk(parts: "Sequence[Part]", *, keep: int) -> Disk:
    """Bytes of checkpoints and of the result."""
    trained = sum(part.trained for part in parts)
    checkpoint = (1 + MOMENTS + 1) * FP32 * trained
    return Disk(checkpoint=checkpoint, peak=(keep + 1) * checkpoint, release=FP32 * trained)


def h100_days(flops: float) -> float:
    """Days of one H100 for `flops`, at the utilisation that MOVA's report reached."""
    return flops / (H100_FLOPS * UTILISATION) / 86400

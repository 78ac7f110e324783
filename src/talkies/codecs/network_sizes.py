"""What the networks of pretrained codecs hold, without their weights."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

FP32 = 4
RELEASED = {"umt5": 11_361_820_672, "mova_dac": FP32 * 371_539_137, "t5": 9_524_621_312}
"""Bytes of the released networks whose size no recipe tells: UMT5-XXL's and T5 v1.1 XXL's encoders in bf16; MOVA's
audio VAE, which computes in fp32."""


def video_network(config: Any) -> nn.Module | None:
    """The VAE of a video codec, as released, on the meta device; None for other codecs."""
    if config.kind not in ("wan", "mochi"):
        return None
    from diffusers import AutoencoderKLMochi, AutoencoderKLWan  # noqa: PLC0415 - seconds

    with torch.device("meta"):
        network: nn.Module = (AutoencoderKLWan if config.kind == "wan" else AutoencoderKLMochi)()
    return network.eval().requires_grad_(False)


def network_bytes(config: Any, network: nn.Module | None) -> int:
    """Bytes of a codec's network: of `network` in fp32, of the files that its `weights` names, or of the released one.
    Of an unknown one, such as a speech encoder without files, 0."""
    if network is not None:
        return FP32 * sum(p.numel() for p in network.parameters())
    files = [] if getattr(config, "weights", None) is None else [*Path(config.weights).glob("**/*.safetensors")]
    if config.medium == "audio" or not files:
        return RELEASED.get(config.kind, sum(path.stat().st_size for path in files))
    return sum(path.stat().st_size for path in files if path.parent.name == "text_encoder")

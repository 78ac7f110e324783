"""What the networks of pretrained codecs hold, without their weights."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from talkies.codecs.config import VideoVaeConfig
from talkies.codecs.load import video_vae_kind
from talkies.config import RecipeError

if TYPE_CHECKING:
    from talkies.codecs.mova_dac import MovaAudioCodec
    from talkies.codecs.sound_vae import SoundVae
    from talkies.codecs.video_vae import VideoVae

FP32 = 4
RELEASED = {
    "umt5": 11_361_820_672,
    "mova_dac": FP32 * 371_539_137,
    "t5": 9_524_621_312,
    "oobleck": FP32 * 156_110_721,
    "byt5": FP32 * 217_657_472,
}
"""Bytes of the released networks whose size no recipe tells: UMT5-XXL's and T5 v1.1 XXL's encoders in bf16, ByT5
small's in fp32; MOVA's audio VAE and a mono Oobleck, which compute in fp32."""


def video_vae(config: Any) -> "VideoVae | None":
    """The VAE of a video codec, as released, on the meta device; None for other codecs. RecipeError for one of other
    channels, whose sizes no recipe tells."""
    if not isinstance(config, VideoVaeConfig):
        return None
    kind = video_vae_kind(config)  # imports diffusers: seconds
    with torch.device("meta"):
        network: nn.Module = kind.model()
    released = kind.sizes(network.config)["channels"]
    if config.channels != released:
        raise RecipeError(
            f"plan: the {config.kind} codec has {config.channels} channels, but the released one, whose memory is "
            f"planned, has {released}: sampling with another one cannot be planned"
        )
    return kind(config, network.eval().requires_grad_(False))


def sound_codec(config: Any) -> "MovaAudioCodec | SoundVae | None":
    """The codec of a sound, with its network as released (Oobleck's mono), on the meta device; None for one without a
    network, and for others."""
    if config.kind == "oobleck":
        from talkies.codecs.oobleck import OobleckAudioCodec  # noqa: PLC0415 - imports diffusers: seconds
        from talkies.codecs.sound_vae import without_weight_norm  # noqa: PLC0415

        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # diffusers makes weight norm in torch's older way
            network: nn.Module = without_weight_norm(OobleckAudioCodec.model(audio_channels=1))
        return OobleckAudioCodec.unfitted(config, network.eval().requires_grad_(False))
    if config.kind != "mova_dac":
        return None
    from talkies.codecs.dac import Dac, DacShape  # noqa: PLC0415
    from talkies.codecs.mova_dac import MovaAudioCodec  # noqa: PLC0415

    with torch.device("meta"):
        return MovaAudioCodec(config, Dac(DacShape()))


def network_bytes(config: Any, vae: "VideoVae | None") -> int:
    """Bytes of a codec's network: of `vae` in fp32, of the files that its `weights` names, or of the released one.
    Of an unknown one, such as a speech encoder or a SAME (of which there are two) without files, 0."""
    if vae is not None:
        parameters: int = sum(p.numel() for p in vae.network.parameters())
        return FP32 * parameters
    files = [] if getattr(config, "weights", None) is None else [*Path(config.weights).glob("**/*.safetensors")]
    if config.medium != "text" or not files:
        return RELEASED.get(config.kind, sum(path.stat().st_size for path in files))
    return sum(path.stat().st_size for path in files if path.parent.name == "text_encoder")

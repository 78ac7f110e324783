"""The Wan2.1 video VAE behind the codec protocol: 16 channels, 4 x 8 x 8, causal (docs/mova.md: Codecs)."""

from functools import cached_property

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from talkies.codecs.config import WanVideoConfig
from talkies.codecs.geometry import still_frames, video_grid
from talkies.codecs.identity import identity
from talkies.codecs.pretrained import check_geometry, load_strictly, read_config, read_tensors, weights_folder
from talkies.config import DataError
from talkies.streams import Grid

KEY = "codecs.video"
HOLDS = (
    "config.json and diffusion_pytorch_model.safetensors of an AutoencoderKLWan, such as video_vae/ of a released MOVA"
)


class WanVideoCodec:
    """Latents are (posterior mode - mean) / std with the VAE's own per-channel statistics. fp32, one clip at a time, so
    that a clip's latent does not depend on its batch; results are on the device of the input."""

    def __init__(self, config: WanVideoConfig, network: AutoencoderKLWan) -> None:
        self.config, self.network = config, network.eval()
        statistics = torch.tensor([network.config.latents_mean, network.config.latents_std], dtype=torch.float32)
        self.mean, self.std = statistics.view(2, 1, -1, 1, 1, 1).to(network.device)

    @classmethod
    def load(cls, config: WanVideoConfig, *, key: str = KEY, device: torch.device | str = "cpu") -> "WanVideoCodec":
        """From `config.weights`. Raises RecipeError for a missing folder or another geometry, DataError for the
        folder's contents."""
        folder = weights_folder(config.weights, key=f"{key}.weights", holds=HOLDS)
        values = read_config(folder)
        if values.get("_class_name") != "AutoencoderKLWan":
            name = values.get("_class_name")
            raise DataError(f"{folder}: needed an AutoencoderKLWan, but its config.json names {name}")
        with torch.device("meta"):
            network = AutoencoderKLWan.from_config(values)
        sizes = network.config
        strides = {
            "stride": (config.stride, sizes.scale_factor_temporal),
            "block": (config.block, sizes.scale_factor_spatial),
        }
        check_geometry(key, {"channels": (config.channels, sizes.z_dim)} | strides)
        load_strictly(network, read_tensors(folder), folder)
        return cls(config, network.to(device))

    @cached_property
    def identity(self) -> str:
        """sha256 over config, weights and latent statistics; computed once."""
        return identity(self.config, {**self.network.state_dict(), "latents_mean": self.mean, "latents_std": self.std})

    def grid(self, frames: int, height: int, width: int, fps: float) -> Grid:
        """Latent geometry of a clip."""
        return video_grid(self.config, frames=frames, height=height, width=width, fps=fps)

    @property
    def still_frames(self) -> int:
        """Frames of a clip in which an image stands still."""
        return still_frames(self.config)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """[B, F, 3, H, W] in [-1, 1] -> [B, C, T, h, w], T = (F - 1) / 4 + 1. DataError if the sizes do not fit."""
        _, count, _, height, width = frames.shape
        self.grid(count, height, width, 1.0)
        clips = frames.transpose(1, 2)
        modes = [self.network.encode(clip[None].to(self.mean)).latent_dist.mode() for clip in clips]
        latent: Tensor = (torch.cat(modes) - self.mean) / self.std
        return latent.to(frames.device)

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """[B, C, T, h, w] -> [B, 4 (T - 1) + 1, 3, 8 h, 8 w] in [-1, 1]."""
        scaled = latent.to(self.mean) * self.std + self.mean
        clips = [self.network.decode(clip[None]).sample for clip in scaled]
        return torch.cat(clips).transpose(1, 2).to(latent.device)

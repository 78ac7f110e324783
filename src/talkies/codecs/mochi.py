"""Mochi 1's video VAE behind the codec protocol: 12 channels, 6 x 8 x 8, in pieces of 25 frames."""

from functools import cached_property
from math import prod

import torch
from diffusers import AutoencoderKLMochi
from torch import Tensor

from talkies.codecs.config import MochiVideoConfig
from talkies.codecs.geometry import still_frames, video_grid
from talkies.codecs.identity import identity
from talkies.codecs.pretrained import check_geometry, load_strictly, read_config, read_tensors, weights_folder
from talkies.config import DataError
from talkies.streams import Grid

KEY = "codecs.video"
HOLDS = (
    "config.json and diffusion_pytorch_model.safetensors of an AutoencoderKLMochi, such as vae/ of a released Mochi 1"
)


class MochiVideoCodec:
    """Latents are (posterior mean - mean) / std with the VAE's own per-channel statistics. Pieces of 25 frames are
    encoded and decoded on their own (Mirage, arXiv 2506.08279, section 3.1), as is a shorter still. fp32, one clip at a
    time, so that a clip's latent does not depend on its batch; results are on the device of the input."""

    def __init__(self, config: MochiVideoConfig, network: AutoencoderKLMochi) -> None:
        self.config, self.network = config, network.eval()
        statistics = torch.tensor([network.config.latents_mean, network.config.latents_std], dtype=torch.float32)
        self.mean, self.std = statistics.view(2, 1, -1, 1, 1, 1).to(network.device)

    @classmethod
    def load(cls, config: MochiVideoConfig, *, key: str = KEY, device: torch.device | str = "cpu") -> "MochiVideoCodec":
        """From `config.weights`. Raises RecipeError for a missing folder or another geometry, DataError for the
        folder's contents."""
        folder = weights_folder(config.weights, key=f"{key}.weights", holds=HOLDS)
        values = read_config(folder)
        if values.get("_class_name") != "AutoencoderKLMochi":
            name = values.get("_class_name")
            raise DataError(f"{folder}: needed an AutoencoderKLMochi, but its config.json names {name}")
        with torch.device("meta"):
            network = AutoencoderKLMochi.from_config(values)
        sizes = network.config
        strides = {
            "stride": (config.stride, prod(sizes.temporal_expansions)),
            "block": (config.block, prod(sizes.spatial_expansions)),
        }
        check_geometry(key, {"channels": (config.channels, sizes.latent_channels)} | strides)
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
        """[B, F, 3, H, W] in [-1, 1] -> [B, C, T, h, w], T = F / 5 or, of a still, (F - 1) / 6 + 1. DataError if the
        sizes do not fit."""
        _, count, _, height, width = frames.shape
        self.grid(count, height, width, 1.0)
        clips = frames.transpose(1, 2)
        means = [torch.cat([self._mean(piece) for piece in clip.split(self._frames, dim=1)], dim=2) for clip in clips]
        latent: Tensor = (torch.cat(means) - self.mean) / self.std
        return latent.to(frames.device)

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """[B, C, T, h, w] -> [B, F, 3, 8 h, 8 w] in [-1, 1]."""
        scaled = latent.to(self.mean) * self.std + self.mean
        pieces = [[self._pixels(piece) for piece in clip.split(self.config.piece, dim=1)] for clip in scaled]
        return torch.cat([torch.cat(clip, dim=2) for clip in pieces]).transpose(1, 2).to(latent.device)

    @property
    def _frames(self) -> int:
        """Of a piece."""
        return (self.config.piece - 1) * self.config.stride + 1

    def _mean(self, piece: Tensor) -> Tensor:
        """[3, F, H, W] -> [1, C, T, h, w]."""
        mean: Tensor = self.network.encode(piece[None].to(self.mean)).latent_dist.mode()
        return mean

    def _pixels(self, piece: Tensor) -> Tensor:
        """[C, T, h, w] -> [1, 3, F, H, W]."""
        pixels: Tensor = self.network.decode(piece[None]).sample.clamp(-1, 1)
        return pixels

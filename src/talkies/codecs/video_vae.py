"""Pretrained video VAEs of diffusers behind the codec protocol."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from talkies.codecs.config import VideoVaeConfig
from talkies.codecs.geometry import frames_of, still_frames, video_grid
from talkies.codecs.identity import identity
from talkies.codecs.pretrained import check_geometry, diffusers_skeleton, load_strictly, read_tensors
from talkies.codecs.tiles import in_tiles
from talkies.streams import Grid

KEY = "codecs.video"
Code = Callable[[Tensor], Tensor]


class VideoVae(ABC):
    """Latents are (posterior mode - mean) / std with the VAE's own per-channel statistics. fp32, one clip at a time, so
    that a clip's latent does not depend on its batch; results are on the device of the input. A config with a `piece`
    encodes and decodes that many latent steps on their own.

    A subclass names diffusers' `model`, a `release` that holds its weights, and its `sizes`; `encodes_tiles`: whether
    the latents of tiles are near enough to those of the whole."""

    model: ClassVar[Any]
    release: ClassVar[str]
    encodes_tiles: ClassVar[bool] = True

    def __init__(self, config: Any, network: Any) -> None:
        self.config: VideoVaeConfig = config
        self.network = network.eval()
        self.mean, self.std = self.statistics(network)

    @staticmethod
    @abstractmethod
    def sizes(config: Any) -> dict[str, int]:
        """`channels`, `stride` and `block` of a network with diffusers' `config`."""

    @classmethod
    def load(cls, config: Any, *, key: str = KEY, device: torch.device | str = "cpu") -> Self:
        """From `config.weights`. Raises RecipeError for a missing folder or another geometry, DataError for the
        folder's contents."""
        network, folder = cls.skeleton(config, key=key)
        load_strictly(network, read_tensors(folder), folder)
        return cls(config, network.to(device))

    @classmethod
    def skeleton(cls, config: Any, *, key: str = KEY) -> tuple[Any, Path]:
        """The network in `config.weights` on the meta device, without values, and the folder. Errors as of `load`."""
        network, folder = diffusers_skeleton(cls.model, config.weights, key=key, release=cls.release)
        check_geometry(key, {size: (getattr(config, size), held) for size, held in cls.sizes(network.config).items()})
        return network, folder

    @staticmethod
    def statistics(network: Any) -> Tensor:
        """[2, 1, C, 1, 1, 1] fp32 on the CPU: mean and std of each channel."""
        found = torch.tensor([network.config.latents_mean, network.config.latents_std], dtype=torch.float32)
        return found.view(2, 1, -1, 1, 1, 1)

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
    def encode(self, frames: Tensor, tiles: tuple[int, int] | None = None) -> Tensor:
        """[B, F, 3, H, W] in [-1, 1] -> [B, C, T, h, w]. DataError if the sizes do not fit. `tiles`: encoded in squares
        of so many pixels, with so many in common (multiples of the block), each of which visits the device on its own;
        one that covers the picture changes nothing. A network that needs the whole picture gets it."""
        _, count, _, height, width = frames.shape
        self.grid(count, height, width, 1.0)
        mode = self._tiled(self._mode, tiles if self.encodes_tiles else None, given=self.config.block)
        mean, std = self._statistics()
        latent = (_pieces(frames.transpose(1, 2), self._frames or count, mode) - mean) / std
        return latent.to(frames.device)

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """[B, C, T, h, w] -> [B, F, 3, H, W] in [-1, 1]."""
        return self._films(latent, partial(self._pixels, device=self.network.device)).to(latent.device)

    @torch.no_grad()
    def film(self, latent: Tensor, tiles: tuple[int, int] | None = None) -> Tensor:
        """As `decode`, on the CPU: pictures leave the device as they are made. `tiles`: as of `encode`."""
        pixels = partial(self._pixels, device="cpu")
        return self._films(latent, self._tiled(pixels, tiles, made=self.config.block))

    def _tiled(self, code: Code, tiles: tuple[int, int] | None, *, given: int = 1, made: int = 1) -> Code:
        """`code`, in tiles if there are any."""
        if tiles is None:
            return code
        size, overlap = (side // self.config.block for side in tiles)
        return partial(in_tiles, code=code, size=size, overlap=overlap, given=given, made=made)

    def _films(self, latent: Tensor, pixels: Code) -> Tensor:
        """[B, F, 3, H, W], where `pixels` decodes a piece."""
        mean, std = self._statistics()
        scaled = latent.to(mean) * std + mean
        return _pieces(scaled, self.config.piece or scaled.shape[2], pixels).transpose(1, 2)

    @property
    def _frames(self) -> int | None:
        """Of a piece; None: a clip is one piece."""
        return None if self.config.piece is None else frames_of(self.config, self.config.piece)

    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and std where the network is now: it may be moved for its use."""
        return self.mean.to(self.network.device), self.std.to(self.network.device)

    def _mode(self, piece: Tensor) -> Tensor:
        """[3, F, H, W] -> [1, C, T, h, w]."""
        mean, _ = self._statistics()
        mode: Tensor = self.network.encode(piece[None].to(mean)).latent_dist.mode()
        return mode

    def _pixels(self, piece: Tensor, device: torch.device | str) -> Tensor:
        """[C, T, h, w] -> [1, 3, F, H, W] on `device`."""
        return _one([part.clamp(-1, 1).to(device) for part in self.pictures(piece)], dim=2)

    def pictures(self, piece: Tensor) -> Iterator[Tensor]:
        """[C, T, h, w] -> [1, 3, f, H, W], one after another."""
        pixels: Tensor = self.network.decode(piece[None]).sample
        yield pixels


def _pieces(clips: Tensor, length: int, code: Code) -> Tensor:
    """What `code` makes of each clip, `length` steps or frames at a time."""
    return _one([_one([code(piece) for piece in clip.split(length, dim=1)], dim=2) for clip in clips])


def _one(parts: list[Tensor], dim: int = 0) -> Tensor:
    """One tensor of all; a single one is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)

"""Pretrained sound VAEs of diffusers behind the codec protocol, with statistics that are fitted.

Their configs have no mean and deviation of the latents. `prepare` fits these on clips, and they are stored as a fitted
codec's folder, in which the hash of the network stands for the network.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils import remove_weight_norm

from talkies.codecs.config import SoundVaeConfig
from talkies.codecs.geometry import audio_grid
from talkies.codecs.identity import identity
from talkies.codecs.long_sound import Piece, cut
from talkies.codecs.pretrained import check_geometry, diffusers_skeleton, load_strictly, read_tensors
from talkies.codecs.weight_norm import fold_weight_norm
from talkies.config import DataError
from talkies.streams import Grid

PIECE = 20
"""Seconds of sound that are encoded and decoded at once, beside what is heard around them."""
FLAT = 1e-6
"""Deviation below which a channel is constant."""


class SoundVae(ABC):
    """Samples [B, S] in [-1, 1] <-> latents [B, C, T], T = ceil(S / hop), of mean 0 and deviation 1 in each channel on
    the clips that were fitted on. fp32, one clip at a time, so that a clip's latent does not depend on its batch;
    results are on the device of the input.

    A network of several channels of sound hears the same on all, and what it makes is averaged. Sound longer than PIECE
    seconds goes through it in pieces that hear what their own steps depend on, so that memory is bounded.

    `weights`: `mean` and `std` [C], and `network` [32], the bytes of the network's hash. A subclass names diffusers'
    `model`, a `release` that holds its weights, and its sizes."""

    model: ClassVar[Any]
    release: ClassVar[str]

    def __init__(self, config: SoundVaeConfig, network: Any, weights: Mapping[str, Tensor]) -> None:
        self.config, self.network, self.weights = config, network, dict(weights)
        self.identity = identity(config, weights)

    @staticmethod
    @abstractmethod
    def sizes(config: Any) -> dict[str, int]:
        """`channels`, `sample_rate` and `hop` of a network with diffusers' `config`. ValueError if no such network can
        encode and decode."""

    @staticmethod
    @abstractmethod
    def reach(config: Any) -> int:
        """How many latent steps away a network with diffusers' `config` hears, at most."""

    @abstractmethod
    def latent(self, sound: Tensor) -> Tensor:
        """[1, C, T] of samples [1, A, T * hop], as the network makes it."""

    @classmethod
    def bare(cls, config: SoundVaeConfig, *, key: str, device: torch.device | str = "cpu") -> Self:
        """The codec in `config.weights` before it is fitted: its latents are the network's.

        Raises RecipeError for a missing folder or other sizes, DataError for the folder's contents.
        """
        network, folder = cls.skeleton(config, key=key)
        load_strictly(network, fold_weight_norm(read_tensors(folder)), folder)
        found = torch.frombuffer(bytearray.fromhex(identity(config, network.state_dict())), dtype=torch.uint8)
        weights = {"mean": torch.zeros(config.channels), "std": torch.ones(config.channels), "network": found}
        return cls(config, cls.completed(network).to(device), weights)

    @classmethod
    def load(
        cls, config: SoundVaeConfig, weights: Mapping[str, Tensor], *, key: str, device: torch.device | str = "cpu"
    ) -> Self:
        """The codec that was fitted with `weights`. Raises as `bare`, and DataError if it was fitted for another
        network than that in `config.weights`."""
        bare = cls.bare(config, key=key, device=device)
        ours, theirs = (found["network"].numpy().tobytes().hex() for found in (bare.weights, weights))
        if ours != theirs:
            raise DataError(
                f"`{key}.weights`: {config.weights} holds network {ours[:12]}, and the statistics of this codec were "
                f"fitted for network {theirs[:12]}: give that one, or run `talkies prepare`, which fits them again"
            )
        return cls(config, bare.network, weights)

    @classmethod
    def skeleton(cls, config: SoundVaeConfig, *, key: str) -> tuple[Any, Path]:
        """The network in `config.weights` on the meta device, without values and weight norm, and the folder. Errors
        as of `bare`."""
        network, folder = diffusers_skeleton(cls.model, config.weights, key=key, release=cls.release)
        try:
            sizes = cls.sizes(network.config)
        except ValueError as error:
            raise DataError(f"{folder}: its config.json: {error}") from None
        check_geometry(key, {size: (getattr(config, size), held) for size, held in sizes.items()})
        return without_weight_norm(network), folder

    @classmethod
    def unfitted(cls, config: SoundVaeConfig, network: Any) -> Self:
        """The codec with a network whose hash is unknown, such as one without values."""
        mean, std = torch.zeros(config.channels), torch.ones(config.channels)
        return cls(config, network, {"mean": mean, "std": std, "network": torch.zeros(32, dtype=torch.uint8)})

    @staticmethod
    def completed(network: Any) -> Any:
        """The network with values for what its file does not hold."""
        return network

    def fit(self, sounds: Sequence[Tensor]) -> Self:
        """This codec with the statistics of one or more clips [S] at its sample rate; each step has the same weight.
        DataError for a channel that is constant on them."""
        latents = torch.cat([self._raw(sound[None])[0].cpu() for sound in sounds], dim=1).double()
        mean, std = latents.mean(1), latents.std(1, correction=0)
        if not float(std.min()) > FLAT:
            raise DataError(
                f"{self.config.kind} codec: channel {int(std.argmin())} of its latents is constant on the "
                f"{len(sounds)} clips that it is fitted on: name sets in `fit_sets` whose sound varies"
            )
        return type(self)(self.config, self.network, {**self.weights, "mean": mean.float(), "std": std.float()})

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self.config.sample_rate

    def grid(self, samples: int) -> Grid:
        """Latent geometry of `samples` samples."""
        return audio_grid(self.config, samples=samples)

    @torch.no_grad()
    def encode(self, samples: Tensor) -> Tensor:
        """Samples [B, S], padded right with silence to whole hops -> latents [B, C, T] fp32."""
        mean, std = self._normal()
        return ((self._raw(samples) - mean) / std).to(samples.device)

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Latents [B, C, T] -> samples [B, T * hop] fp32 in [-1, 1]."""
        mean, std = self._normal()
        scaled = latent.to(mean) * std + mean
        return torch.cat([self._decoded(clip) for clip in scaled]).clamp(-1, 1).to(latent.device)

    def _normal(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation [C, 1] where the network is now: it may be moved for its use."""
        mean, std = (self.weights[name][:, None].to(self.network.device) for name in ("mean", "std"))
        return mean, std

    @torch.no_grad()
    def _raw(self, samples: Tensor) -> Tensor:
        """[B, S] -> [B, C, T], not normalised, where the network is."""
        steps = self.grid(samples.shape[-1]).shape[0]
        whole = pad(samples.float(), (0, steps * self.config.hop - samples.shape[-1]))
        return torch.cat([self._encoded(clip, steps) for clip in whole])

    def _encoded(self, clip: Tensor, steps: int) -> Tensor:
        """[S] in whole hops -> [1, C, T], not normalised."""
        hop, channels = self.config.hop, self.network.config.audio_channels
        sound = clip.to(self.network.device).expand(1, channels, -1)
        pieces = self._pieces(steps)
        return torch.cat([own(self.latent(sound[..., p.first * hop : p.last * hop]), p, 1) for p in pieces], dim=-1)

    def _decoded(self, clip: Tensor) -> Tensor:
        """[C, T], not normalised -> [1, S]."""
        hop, decode = self.config.hop, self.network.decode
        pieces = self._pieces(clip.shape[-1])
        made = [own(decode(clip[None, :, p.first : p.last]).sample, p, hop).mean(1) for p in pieces]
        return torch.cat(made, dim=-1)

    def _pieces(self, steps: int) -> Iterator[Piece]:
        seconds = PIECE * self.config.sample_rate
        return cut(steps, own=-(-seconds // self.config.hop), around=self.reach(self.network.config))


def own(made: Tensor, piece: Piece, hop: int) -> Tensor:
    """Of what was made of a piece, `hop` values for each step: those of its own steps."""
    return made[..., (piece.begin - piece.first) * hop : (piece.end - piece.first) * hop]


def without_weight_norm(network: Any) -> Any:
    """The network, whose convolutions have plain weights."""
    for module in network.modules():
        if hasattr(module, "weight_v"):
            remove_weight_norm(module)
    return network

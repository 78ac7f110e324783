"""MOVA's audio codec: 48 kHz mono <-> [128, T] at 50 Hz through a continuous DAC (docs/mova.md: Codecs)."""

from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from talkies.codecs.config import MovaAudioConfig
from talkies.codecs.dac import Dac, DacShape
from talkies.codecs.geometry import audio_grid
from talkies.codecs.identity import identity
from talkies.codecs.pretrained import (
    check_class,
    check_geometry,
    load_strictly,
    read_config,
    read_tensors,
    weights_folder,
)
from talkies.codecs.weight_norm import fold_weight_norm
from talkies.config import DataError
from talkies.streams import Grid

KEY, CLASS = "codecs.audio", "DAC"
HOLDS = "config.json and diffusion_pytorch_model.safetensors of the DAC, such as audio_vae/ of a released MOVA"


class MovaAudioCodec:
    """Latents are the raw posterior mode: no mean or scale is applied. fp32, one clip at a time, so that a clip's
    latent does not depend on its batch; results are on the device of the input."""

    def __init__(self, config: MovaAudioConfig, network: Dac) -> None:
        self.config, self.network = config, network.eval()

    @classmethod
    def load(cls, config: MovaAudioConfig, *, key: str = KEY, device: torch.device | str = "cpu") -> "MovaAudioCodec":
        """From `config.weights`; weight norm (weight_g, weight_v) is folded into the weights.

        Raises RecipeError for a missing folder or another geometry, DataError for the folder's contents.
        """
        network, folder = cls.skeleton(config, key=key)
        load_strictly(network, fold_weight_norm(read_tensors(folder)), folder)
        return cls(config, network.to(device))

    @classmethod
    def skeleton(cls, config: MovaAudioConfig, *, key: str = KEY) -> tuple[Dac, Path]:
        """The network in `config.weights` on the meta device, without values, and the folder. Errors as of `load`."""
        folder = weights_folder(config.weights, key=f"{key}.weights", holds=HOLDS)
        values = read_config(folder)
        check_class(folder, values.get("_class_name", CLASS), CLASS)
        if values.get("continuous") is not True:
            raise DataError(
                f"{folder}: needed a continuous DAC, but its config.json has continuous {values.get('continuous')}"
            )
        shape = DacShape.from_json(values)
        sizes = {"channels": (config.channels, shape.latent_dim), "hop": (config.hop, shape.hop)}
        check_geometry(key, sizes | {"sample_rate": (config.sample_rate, values.get("sample_rate", 0))})
        with torch.device("meta"):
            return Dac(shape), folder

    @cached_property
    def identity(self) -> str:
        """sha256 over config and weights; computed once."""
        return identity(self.config, self.network.state_dict())

    @property
    def sample_rate(self) -> int:
        """Samples per second that `encode` takes."""
        return self.config.sample_rate

    def grid(self, samples: int) -> Grid:
        """Latent geometry of `samples` samples."""
        return audio_grid(self.config, samples=samples)

    @torch.no_grad()
    def encode(self, samples: Tensor) -> Tensor:
        """[B, S] in [-1, 1] -> [B, C, T], S padded right with silence to whole hops: 386,000 -> 386,880 -> T = 403."""
        grid = self.grid(samples.shape[-1])
        padding = grid.shape[0] * self.config.hop - samples.shape[-1]
        padded = torch.nn.functional.pad(samples.float(), (0, padding))
        device = self.network.post_quant_conv.weight.device
        latents = [self.network.mode(clip[None, None].to(device)) for clip in padded]
        return torch.cat(latents).to(samples.device)

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """[B, C, T] -> [B, T * hop] in [-1, 1]."""
        device = self.network.post_quant_conv.weight.device
        samples = [self.network.samples(clip[None].to(device, torch.float32))[:, 0] for clip in latent]
        return torch.cat(samples).to(latent.device)

"""The continuous DAC network (docs/mova.md: Codecs), without weight norm; keys are the released checkpoint's."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import torch
from torch import Tensor, nn

from talkies.config import DataError


@dataclass(frozen=True, kw_only=True)
class DacShape:
    """Everything that determines the network's parameters; the defaults are the released MOVA's (371,539,137)."""

    encoder_dim: int = 128
    encoder_rates: tuple[int, ...] = (2, 3, 4, 5, 8)
    latent_dim: int = 128
    decoder_dim: int = 2048
    decoder_rates: tuple[int, ...] = (8, 5, 4, 3, 2)

    def __post_init__(self) -> None:
        if prod(self.encoder_rates) != prod(self.decoder_rates):
            raise DataError(
                f"DAC encoder rates {self.encoder_rates} downsample by {prod(self.encoder_rates)}, decoder rates "
                f"{self.decoder_rates} upsample by {prod(self.decoder_rates)}: the products must be equal"
            )

    @property
    def hop(self) -> int:
        """Samples per latent step."""
        return prod(self.encoder_rates)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "DacShape":
        """From the keys of a released config.json; DataError if one is missing."""
        keys = ("encoder_dim", "encoder_rates", "latent_dim", "decoder_dim", "decoder_rates")
        missing = [key for key in keys if key not in values]
        if missing:
            raise DataError(f"the DAC's config.json lacks {', '.join(missing)}; found {', '.join(sorted(values))}")
        return cls(
            encoder_dim=values["encoder_dim"],
            encoder_rates=tuple(values["encoder_rates"]),
            latent_dim=values["latent_dim"],
            decoder_dim=values["decoder_dim"],
            decoder_rates=tuple(values["decoder_rates"]),
        )


class Snake(nn.Module):
    """x + sin^2(alpha x) / (alpha + 1e-9), one learned alpha per channel of [B, C, T]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return x + torch.sin(self.alpha * x).square() / (self.alpha + 1e-9)


class ResidualUnit(nn.Module):
    """Two Snake convolutions, the first one dilated, around a skip connection."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            Snake(channels),
            nn.Conv1d(channels, channels, 7, dilation=dilation, padding=3 * dilation),
            Snake(channels),
            nn.Conv1d(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        out: Tensor = x + self.block(x)
        return out


def _residuals(channels: int) -> list[nn.Module]:
    return [ResidualUnit(channels, dilation) for dilation in (1, 3, 9)]


class EncoderBlock(nn.Module):
    """[B, C, T] -> [B, 2C, T / stride]."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        down = nn.Conv1d(channels, 2 * channels, 2 * stride, stride=stride, padding=ceil(stride / 2))
        self.block = nn.Sequential(*_residuals(channels), Snake(channels), down)

    def forward(self, x: Tensor) -> Tensor:
        """T must be divisible by the stride."""
        out: Tensor = self.block(x)
        return out


class DecoderBlock(nn.Module):
    """[B, C, T] -> [B, C / 2, T * stride]."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        half = channels // 2
        up = nn.ConvTranspose1d(
            channels, half, 2 * stride, stride=stride, padding=ceil(stride / 2), output_padding=stride % 2
        )
        self.block = nn.Sequential(Snake(channels), up, *_residuals(half))

    def forward(self, x: Tensor) -> Tensor:
        """Restores the length that an EncoderBlock of the same stride took."""
        out: Tensor = self.block(x)
        return out


class Encoder(nn.Module):
    """Samples [B, 1, S] -> [B, latent_dim, S / hop]."""

    def __init__(self, shape: DacShape) -> None:
        super().__init__()
        width = shape.encoder_dim
        layers: list[nn.Module] = [nn.Conv1d(1, width, 7, padding=3)]
        for stride in shape.encoder_rates:
            layers.append(EncoderBlock(width, stride))
            width *= 2
        self.block = nn.Sequential(*layers, Snake(width), nn.Conv1d(width, shape.latent_dim, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """S must be divisible by the hop."""
        out: Tensor = self.block(x)
        return out


class Decoder(nn.Module):
    """[B, latent_dim, T] -> samples [B, 1, T * hop] in [-1, 1]."""

    def __init__(self, shape: DacShape) -> None:
        super().__init__()
        width = shape.decoder_dim
        layers: list[nn.Module] = [nn.Conv1d(shape.latent_dim, width, 7, padding=3)]
        for stride in shape.decoder_rates:
            layers.append(DecoderBlock(width, stride))
            width //= 2
        self.model = nn.Sequential(*layers, Snake(width), nn.Conv1d(width, 1, 7, padding=3), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        """Any T."""
        out: Tensor = self.model(x)
        return out


class Dac(nn.Module):
    """Encoder, posterior, decoder. `quant_conv` gives mean | logvar; only the mean (the mode) is used."""

    def __init__(self, shape: DacShape) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = Encoder(shape)
        self.quant_conv = nn.Conv1d(shape.latent_dim, 2 * shape.latent_dim, 1)
        self.post_quant_conv = nn.Conv1d(shape.latent_dim, shape.latent_dim, 1)
        self.decoder = Decoder(shape)

    def mode(self, samples: Tensor) -> Tensor:
        """Samples [B, 1, S], S a multiple of the hop -> posterior mean [B, latent_dim, S / hop], not normalised."""
        mean: Tensor = self.quant_conv(self.encoder(samples)).chunk(2, dim=1)[0]
        return mean

    def samples(self, latent: Tensor) -> Tensor:
        """Latents [B, latent_dim, T] -> samples [B, 1, T * hop] in [-1, 1]."""
        out: Tensor = self.decoder(self.post_quant_conv(latent))
        return out

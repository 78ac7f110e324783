"""Protocols of frozen encoders and decoders, and the media that they encode."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast

from torch import Tensor

from talkies.streams.batch import Text
from talkies.streams.grid import Grid


class VideoCodec(Protocol):
    """Frames [B, F, 3, H, W] fp32 in [-1, 1] <-> normalised latents [B, C, T, h, w] fp32. An image is encoded as a clip
    of `still_frames` equal frames."""

    @property
    def identity(self) -> str: ...

    @property
    def still_frames(self) -> int: ...

    def grid(self, frames: int, height: int, width: int, fps: float) -> Grid: ...

    def encode(self, frames: Tensor) -> Tensor: ...

    def decode(self, latent: Tensor) -> Tensor: ...


class FilmCodec(VideoCodec, Protocol):
    """A VideoCodec that decodes piece by piece, to the CPU; `tiles`: it codes in squares of so many pixels a side, of
    which neighbours have so many in common."""

    def encode(self, frames: Tensor, tiles: tuple[int, int] | None = None) -> Tensor: ...

    def film(self, latent: Tensor, tiles: tuple[int, int] | None = None) -> Tensor: ...


class AudioEncoder(Protocol):
    """Mono samples [B, S] fp32 in [-1, 1] -> features [B, C, T] fp32. S is padded right to a whole number of hops."""

    @property
    def identity(self) -> str: ...

    @property
    def sample_rate(self) -> int: ...

    def grid(self, samples: int) -> Grid: ...

    def encode(self, samples: Tensor) -> Tensor: ...


class AudioCodec(AudioEncoder, Protocol):
    """An AudioEncoder whose features are latents [B, C, T] that it decodes to samples [B, T * hop]."""

    def decode(self, latent: Tensor) -> Tensor: ...


class TextEncoder(Protocol):
    """Captions -> Text; `overflow` counts the units (bytes, tokens) of a caption beyond the encoder's limit."""

    @property
    def identity(self) -> str: ...

    def encode(self, captions: list[str]) -> Text: ...

    def overflow(self, caption: str) -> int: ...


class Demixer(Protocol):
    """Mono samples [S] fp32 of a whole sound, at `sample_rate` -> its tracks [S] fp32 by name, on the same device. One
    whose tracks are files beside the media raises DataError."""

    @property
    def identity(self) -> str: ...

    @property
    def tracks(self) -> tuple[str, ...]: ...

    @property
    def sample_rate(self) -> int: ...

    def demix(self, samples: Tensor) -> dict[str, Tensor]: ...


@dataclass(frozen=True, kw_only=True)
class Codecs:
    """The frozen parts around a denoiser, by name. A phase has only those that it uses."""

    video: Mapping[str, VideoCodec] = field(default_factory=dict)
    audio: Mapping[str, AudioEncoder] = field(default_factory=dict)
    text: Mapping[str, TextEncoder] = field(default_factory=dict)
    demix: Mapping[str, Demixer] = field(default_factory=dict)

    def latent(self, name: str, frames: Tensor, tiles: tuple[int, int] | None = None) -> Tensor:
        """The latents [B, C, T, h, w] of frames, where these are, encoded by the video codec `name`; with `tiles`, by
        one that can do so (checked in recipes)."""
        codec = self.video[name]
        return codec.encode(frames) if tiles is None else cast(FilmCodec, codec).encode(frames, tiles)

    def film(self, name: str, latent: Tensor, tiles: tuple[int, int] | None = None) -> Tensor:
        """The frames [B, F, 3, H, W] of a latent, on the CPU, decoded by the video codec `name`; with `tiles`, by one
        that can do so (checked in recipes)."""
        codec = self.video[name]
        if hasattr(codec, "film"):
            return cast(FilmCodec, codec).film(latent, tiles)
        assert tiles is None, f"{name} decodes no tiles"
        return codec.decode(latent).cpu()

    def sound(self, name: str) -> AudioCodec:
        """The audio codec `name`, of which sound is made: one that decodes (checked in recipes)."""
        codec = self.audio[name]
        assert hasattr(codec, "decode"), f"{name} only encodes"
        return cast(AudioCodec, codec)

    @property
    def identities(self) -> dict[str, str]:
        """Name -> identity of every codec."""
        parts = (self.video, self.audio, self.text, self.demix)
        return {name: codec.identity for part in parts for name, codec in part.items()}


@dataclass(frozen=True, kw_only=True)
class Media:
    """A decoded clip: `frames` [F, 3, H, W] fp32 in [-1, 1] at `fps`; `samples` [S] fp32 in [-1, 1] at
    `sample_rate`."""

    frames: Tensor | None
    fps: float
    samples: Tensor | None
    sample_rate: int

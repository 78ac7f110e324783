"""The size of a clip as a recipe writes it: HEIGHTxWIDTHxFRAMES@FPS, or seconds of sound alone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from talkies.codecs.geometry import grid_of, still_frames
from talkies.config import DataError, RecipeError
from talkies.config.quoting import shown
from talkies.streams import Grid
from talkies.streams.clip_size import FORMS, canonical, spelled
from talkies.streams.system import Stored

FORM = re.compile(r"(\d{1,9})x(\d{1,9})x(\d{1,9})@(\d{1,9}(?:\.\d{1,9})?)", re.ASCII)
SIDE, FRAMES, VOLUME, FPS = 8192, 100_000, 2**31, (0.1, 1000.0)
"""Largest side, number of frames and number of pixels, and the range of frame rates; other values are mistakes."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Pixels, frames and frames per second of a clip, which lasts frames / fps seconds (MOVA: 193 / 24 = 8.04). Sound
    alone has one pixel and a frame per millisecond."""

    height: int
    width: int
    frames: int
    fps: float

    @classmethod
    def parse(cls, text: str, *, key: str) -> "Geometry":
        """Parse e.g. 352x640x193@24, or 10s; 23.976, 29.97 and 59.94 mean the broadcast rates (n * 1000 / 1001).

        Raises RecipeError that names the recipe `key`.
        """
        match = FORM.fullmatch(canonical(text))
        if match is None:
            raise RecipeError(f"recipe: `{key}` is {shown(text)}; needed {FORMS}")
        height, width, frames = (int(number) for number in match.groups()[:3])
        if min(height, width, frames) < 1 or float(match[4]) <= 0:
            raise RecipeError(f"recipe: `{key}` is {shown(text)}; height, width, frames and fps must be above 0")
        small = max(height, width) <= SIDE and frames <= FRAMES and height * width * frames <= VOLUME
        if not (small and FPS[0] <= float(match[4]) <= FPS[1]):
            raise RecipeError(
                f"recipe: `{key}` is {shown(text)}; a side has at most {SIDE} pixels, a clip {FRAMES} frames and "
                f"{VOLUME} pixels in all, and fps lie between {FPS[0]:g} and {FPS[1]:g}"
            )
        return cls(height=height, width=width, frames=frames, fps=_rate(match[4]))

    def __str__(self) -> str:
        """The form that headers and records hold, and `parse` reads."""
        return f"{self.height}x{self.width}x{self.frames}@{self.fps:g}"

    @property
    def spelled(self) -> str:
        """The form for messages: 10s for sound alone."""
        return spelled(str(self))

    @property
    def sound_alone(self) -> bool:
        """Whether it is the geometry of sound, given as seconds."""
        return self.spelled != str(self)

    @property
    def seconds(self) -> Fraction:
        """Duration, exact."""
        return self.frames / Fraction(self.fps).limit_denominator(1001)

    def samples(self, sample_rate: int) -> int:
        """Number of whole samples in the clip: floor(sample_rate * frames / fps)."""
        return int(sample_rate * self.seconds)


def stream_grid(stream: Stored, codecs: Mapping[str, Any], geometry: Geometry) -> Grid:
    """Latent geometry of what a clip stores as `stream`, from its codec's section. DataError if the codec cannot encode
    such a clip."""
    codec = codecs[stream.codec]
    if codec.medium == "video" and geometry.sound_alone:
        raise DataError("seconds are for sound alone, but there are pictures: give HEIGHTxWIDTHxFRAMES@FPS")
    rate = getattr(codec, "sample_rate", 1)
    return grid_of(
        codec,
        frames=still_frames(codec) if stream.of == "reference" else geometry.frames,
        height=geometry.height,
        width=geometry.width,
        fps=geometry.fps,
        samples=geometry.samples(rate),
    )


def _rate(text: str) -> float:
    """Frames per second; a decimal close to n * 1000 / 1001 means exactly that."""
    written = float(text)
    broadcast = round(written) * 1000 / 1001
    return broadcast if written != round(written) and abs(written - broadcast) < 0.005 else written

"""The size of a clip as a recipe writes it: HEIGHTxWIDTHxFRAMES@FPS."""

import re
from dataclasses import dataclass
from fractions import Fraction

from talkies.config import RecipeError

FORM = re.compile(r"(\d+)x(\d+)x(\d+)@(\d+(?:\.\d+)?)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Pixels, frames and frames per second of a clip, which lasts frames / fps seconds (MOVA: 193 / 24 = 8.04)."""

    height: int
    width: int
    frames: int
    fps: float

    @classmethod
    def parse(cls, text: str, *, key: str) -> "Geometry":
        """Read e.g. 352x640x193@24; 23.976, 29.97 and 59.94 mean the broadcast rates (n * 1000 / 1001).

        Raises RecipeError that names the recipe `key`.
        """
        found = FORM.fullmatch(text)
        if found is None:
            raise RecipeError(
                f"recipe: `{key}` is {text!r}; needed HEIGHTxWIDTHxFRAMES@FPS, for example 352x640x193@24"
            )
        height, width, frames = (int(number) for number in found.groups()[:3])
        if min(height, width, frames) < 1 or float(found[4]) <= 0:
            raise RecipeError(f"recipe: `{key}` is {text!r}; height, width, frames and fps must be above 0")
        return cls(height=height, width=width, frames=frames, fps=_rate(found[4]))

    def __str__(self) -> str:
        """The form that `parse` reads."""
        return f"{self.height}x{self.width}x{self.frames}@{self.fps:g}"

    @property
    def seconds(self) -> Fraction:
        """Duration, exact."""
        return self.frames / Fraction(self.fps).limit_denominator(1001)

    def samples(self, sample_rate: int) -> int:
        """Whole samples that the clip lasts: floor(sample_rate * frames / fps)."""
        return int(sample_rate * self.seconds)


def _rate(text: str) -> float:
    """Frames per second; a decimal next to n * 1000 / 1001 is that."""
    written = float(text)
    broadcast = round(written) * 1000 / 1001
    return broadcast if written != round(written) and abs(written - broadcast) < 0.005 else written

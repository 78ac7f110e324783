"""Curves: a picture of how metrics depend on a number."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from talkies.files.durable import UNWRITABLE, replacing, storage_errors

SIZE = (640, 400)
LEFT, TOP, RIGHT, BOTTOM = 56, 40, 20, 52
"""Margins in pixels."""
PAPER, INK, GRID = (255, 255, 255), (70, 83, 107), (225, 229, 236)
COLOURS = ((31, 79, 163), (200, 40, 60), (20, 130, 90), (150, 90, 170))
LEVELS = 5
"""Parts into which the height is ruled."""


def curves(path: Path | str, xs: Sequence[float], lines: Mapping[str, Sequence[float]], *, across: str) -> None:
    """Write a PNG: one curve per name over rising `xs` (at least two), which are `across`. The height goes from 0, or
    the lowest value, to 1, or the highest."""
    values = [value for line in lines.values() for value in line]
    low, high = min(0.0, *values), max(1.0, *values)
    page = Image.new("RGB", SIZE, PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)

    def at(x: float, y: float) -> tuple[float, float]:
        wide, tall = SIZE[0] - LEFT - RIGHT, SIZE[1] - TOP - BOTTOM
        return LEFT + wide * (x - xs[0]) / (xs[-1] - xs[0]), TOP + tall * (high - y) / (high - low)

    for number in range(LEVELS + 1):
        level = low + (high - low) * number / LEVELS
        draw.line([at(xs[0], level), at(xs[-1], level)], fill=GRID)
        draw.text((LEFT - 8, at(xs[0], level)[1]), f"{level:.2f}", fill=INK, font=font, anchor="rm")
    for x in xs:
        draw.text((at(x, low)[0], SIZE[1] - BOTTOM + 8), f"{x:g}", fill=INK, font=font, anchor="ma")
    draw.text((SIZE[0] / 2, SIZE[1] - 12), across, fill=INK, font=font, anchor="ms")
    beside = float(LEFT)
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        draw.line([at(*point) for point in zip(xs, line, strict=True)], fill=colour, width=3, joint="curve")
        draw.text((beside, TOP / 2), name, fill=colour, font=font, anchor="lm")
        beside += draw.textlength(name, font=font) + 24
    with storage_errors(Path(path), refused=UNWRITABLE), replacing(Path(path)) as temporary:
        page.save(temporary, format="PNG")

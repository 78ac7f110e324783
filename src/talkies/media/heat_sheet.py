"""Heat sheets: where in the pictures of a clip something happens."""

from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from talkies.files.durable import UNWRITABLE, replacing, storage_errors

STEPS = 16
"""The most latent steps in a row."""
SIDE = 96
"""Height of a picture on the sheet; smaller ones are enlarged by integer factors."""
TITLE = 18
"""Height of the name above a row."""
PAPER, INK = (255, 255, 255), (70, 83, 107)
COVER = 0.8
"""How much of the picture the greatest heat covers."""


def heat_sheet(path: Path | str, frames: Tensor, heats: Mapping[str, Tensor]) -> None:
    """Write a PNG: frames [F, 3, H, W] in [-1, 1], of every latent step the one in its middle, in a row; below, a row
    for each name with its heat [T, h, w] >= 0 over the same frames in grey, from transparent to yellow at the greatest
    heat of the row."""
    steps = len(next(iter(heats.values())))
    chosen = torch.linspace(0, steps - 1, min(STEPS, steps)).round().long()
    shown = torch.linspace(0, len(frames) - 1, steps).round().long()[chosen]
    pictures = (frames[shown].detach().float().cpu().clamp(-1, 1) + 1) / 2
    factor = max(1, SIDE // pictures.shape[-2])
    pictures = pictures.repeat_interleave(factor, -2).repeat_interleave(factor, -1)
    rows = {"frames": pictures} | {name: _heated(pictures, heat[chosen]) for name, heat in heats.items()}
    height, width = pictures.shape[-2], pictures.shape[-1] * len(chosen)
    page = Image.new("RGB", (width, len(rows) * (height + TITLE)), PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    for number, (name, row) in enumerate(rows.items()):
        top = number * (height + TITLE)
        draw.text((4, top + TITLE / 2), name, fill=INK, font=font, anchor="lm")
        pixels = (torch.cat([*row], 2) * 255).round().byte().permute(1, 2, 0)
        page.paste(Image.fromarray(pixels.contiguous().numpy()), (0, top + TITLE))
    with storage_errors(Path(path), refused=UNWRITABLE), replacing(Path(path)) as temporary:
        page.save(temporary, format="PNG")


def _heated(pictures: Tensor, heat: Tensor) -> Tensor:
    """Pictures [T, 3, H, W] in [0, 1] in grey, below the heat [T, h, w] of their parts."""
    heat = heat.detach().float().cpu()
    share = heat / heat.max().clamp(min=1e-12)
    over = torch.nn.functional.interpolate(share[:, None], size=pictures.shape[-2:], mode="nearest")
    colour = torch.cat((torch.ones_like(over), over, torch.zeros_like(over)), 1)
    grey = pictures.mean(1, keepdim=True).expand_as(pictures)
    return torch.lerp(grey, colour, COVER * over)

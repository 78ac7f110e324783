"""Contact sheets: a picture that summarises a clip."""

from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from talkies.config import DataError
from talkies.files.durable import UNWRITABLE, replacing, storage_errors

FRAMES = 12
SIDE = 96
"""Height of a frame on the sheet; smaller ones are enlarged by integer factors."""
WAVE = 96
WIDTH = 960
"""Width of a sheet without frames."""
PAPER, INK, LOUD = (255, 255, 255), (120, 130, 150), (200, 40, 40)


def contact_sheet(path: Path | str, frames: Tensor | None, samples: Tensor | None, sample_rate: int) -> None:
    """Write a PNG: up to 12 frames [F, 3, H, W] in [-1, 1] in a row, above the waveform (grey) and the loudness (red,
    RMS over 50 ms) of samples [S], each over the whole width. Raises ValueError if both are None."""
    if frames is None and samples is None:
        raise ValueError("a contact sheet needs frames or sound")
    rows = [] if frames is None else [_film(frames)]
    if samples is not None:
        rows.append(_wave(samples, sample_rate, rows[0].shape[1] if rows else WIDTH))
    with storage_errors(Path(path), refused=UNWRITABLE), replacing(Path(path)) as temporary:
        Image.fromarray(np.concatenate(rows)).save(temporary, format="PNG")


def still(path: Path | str, frame: Tensor) -> None:
    """Write a frame [3, H, W] in [-1, 1] as a PNG."""
    pixels = ((frame.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().byte()
    with storage_errors(Path(path), refused=UNWRITABLE), replacing(Path(path)) as temporary:
        Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())).save(temporary, format="PNG")


def reduced(path: Path) -> bytes:
    """A picture of `contact_sheet`, reduced to a JPEG of at most 960 x 480 pixels, for a page. Raises DataError if it
    is damaged."""
    data = BytesIO()
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            small = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"media: {path} is damaged ({error}): remove it and evaluate again") from None
    small.thumbnail((WIDTH, WIDTH // 2))
    small.save(data, format="JPEG", quality=85)
    return data.getvalue()


def _film(frames: Tensor) -> np.ndarray:
    """uint8 [h, w, 3]."""
    count = min(FRAMES, len(frames))
    chosen = frames[torch.linspace(0, len(frames) - 1, count).round().long()]
    pixels = ((chosen.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().byte()
    factor = max(1, SIDE // pixels.shape[-2])
    pixels = pixels.repeat_interleave(factor, -2).repeat_interleave(factor, -1)
    return np.concatenate(list(pixels.permute(0, 2, 3, 1).numpy()), axis=1)


def _wave(samples: Tensor, sample_rate: int, width: int) -> np.ndarray:
    """uint8 [WAVE, width, 3]."""
    values = samples.detach().float().cpu().clamp(-1, 1).numpy()
    row = np.arange(WAVE)[:, None]
    edges = np.linspace(0, len(values), width + 1).round().astype(int)
    parts = [values[a : max(a + 1, b)] for a, b in pairwise(edges)]
    high = np.array([part.max(initial=0.0) for part in parts])
    low = np.array([part.min(initial=0.0) for part in parts])
    picture = np.full((WAVE, width, 3), PAPER, dtype=np.uint8)
    picture[(row >= _row(high)) & (row <= _row(low))] = INK
    window = max(1, round(sample_rate * 0.05))
    power = np.convolve(np.pad(values**2, window // 2), np.full(window, 1 / window), mode="valid")
    at = ((edges[:-1] + edges[1:]) // 2).clip(max=max(0, len(power) - 1))
    picture[_row(np.sqrt(power[at].clip(min=0))), np.arange(width)] = LOUD
    return picture


def _row(value: np.ndarray) -> np.ndarray:
    """Row of a value in [-1, 1]: 1 is at the top."""
    return np.round((1 - value) / 2 * (WAVE - 1)).astype(int)

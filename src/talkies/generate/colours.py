"""Converts a reference image to sRGB: by its ICC profile or PNG's colour chunks, in PNG's order of precedence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from talkies.media.colour import SDR
from talkies.media.pngs import png_chunk
from talkies.media.profiles import to_srgb
from talkies.media.tone_mapping import CHROMATICITIES, HDR, to_bt709

BT709 = 1
DISPLAY = 2.2
"""The usual display exponent; PNG's gAMA has its inverse, 1 / 2.2."""
GAMMAS = 0.1, 4.0
SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
"""cHRM's values: x and y of white, red, green and blue."""
NEAR = 0.01, 0.05
"""Tolerances within which colours count as sRGB: absolute for chromaticities, relative for gAMA."""


def as_srgb(image: Image.Image, path: Path) -> Image.Image:
    """The image in sRGB: unchanged if it already is, else converted to RGB or RGBA; HDR is tone-mapped.

    Raises ValueError for colours that are not supported.
    """
    coded = _cicp(path)
    if coded is not None:
        return _over(image, lambda rgb: _from_code_points(rgb, *coded))
    if "icc_profile" in image.info:
        profile = image.info["icc_profile"]
        if not profile:
            raise ValueError("its colour profile is damaged")
        if image.mode == "CMYK":
            return to_srgb(image, profile)
        return _over(image, lambda rgb: np.asarray(to_srgb(Image.fromarray(rgb), profile)))
    if "srgb" in image.info:
        return image
    _check_primaries(image.info.get("chromaticity", SRGB))
    gamma = image.info.get("gamma", 1 / DISPLAY)
    if not GAMMAS[0] <= gamma <= GAMMAS[1]:
        raise ValueError(f"its gamma (gAMA) is {gamma:g}; convert it to sRGB")
    if abs(gamma * DISPLAY - 1) < NEAR[1]:
        return image
    return _over(image, lambda rgb: _bytes((rgb / 255.0) ** (1 / (gamma * DISPLAY))))


def _over(image: Image.Image, change: Callable[[np.ndarray], np.ndarray]) -> Image.Image:
    """The image with `change` applied to its uint8 [H, W, 3]; transparency is kept."""
    clear = image.has_transparency_data
    values = np.array(image.convert("RGBA" if clear else "RGB"))
    values[..., :3] = change(np.ascontiguousarray(values[..., :3]))
    return Image.fromarray(values)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.asarray((values * 255).round().clip(0, 255).astype(np.uint8))


def _from_code_points(rgb: np.ndarray, primaries: int, transfer: int, matrix: int, full: int) -> np.ndarray:
    """uint8 [H, W, 3] with cICP's four numbers (ITU-T H.273)."""
    known = primaries in CHROMATICITIES and transfer in (*SDR, *HDR)
    if not known or matrix != 0 or full != 1:
        raise ValueError(
            f"its colours (cICP) are {primaries}/{transfer}/{matrix}/{full}, which are not supported; convert it to "
            "sRGB"
        )
    if primaries == BT709 and transfer not in HDR:
        return rgb
    encoded = torch.from_numpy(rgb.astype(np.float32) / 255).permute(2, 0, 1)
    return _bytes(to_bt709(encoded, transfer=transfer, primaries=primaries).permute(1, 2, 0).numpy())


def _check_primaries(found: tuple[float, ...]) -> None:
    if max(abs(value - srgb) for value, srgb in zip(found, SRGB, strict=True)) > NEAR[0]:
        red, green, blue = (f"({found[at]:g}, {found[at + 1]:g})" for at in (2, 4, 6))
        raise ValueError(
            f"its red, green and blue (cHRM) are {red}, {green} and {blue}, not sRGB's; convert it to sRGB"
        )


def _cicp(path: Path) -> tuple[int, int, int, int] | None:
    """PNG's cICP, which Pillow does not expose; None if there is none before the pixels."""
    with path.open("rb") as file:
        body = png_chunk(file, b"cICP")
    if body is None:
        return None
    first, second, third, fourth = body[:4].ljust(4, b"\xff")
    return first, second, third, fourth

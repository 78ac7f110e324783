"""Reads an image that a clip begins with, or shows."""

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from talkies.config import DataError
from talkies.config.regular_files import open_regular
from talkies.generate.colours import as_srgb

# Only these decoders may open the file: Pillow's others include one that starts Ghostscript.
FORMATS = ("PNG", "JPEG", "WEBP")
# Pillow converts these to 8 bits by clipping, which turns a 16-bit image white.
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def load_image(path: Path | str, height: int, width: int) -> Tensor:
    """The image as a first frame: [3, height, width] fp32 in [-1, 1].

    Rotated upright (EXIF), converted to sRGB (`as_srgb`), laid on white where transparent, cropped around its centre to
    the target's aspect, resized (antialiased bilinear, as training frames). Raises DataError if it is not a readable
    8-bit PNG, JPEG or WebP.
    """
    if height < 1 or width < 1:
        raise ValueError(f"image size {height}x{width}: both sides must be at least 1")
    image = _cropped(_decoded(Path(path)), height, width).resize((width, height), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image, dtype=np.float32))
    return pixels.permute(2, 0, 1).contiguous() / 127.5 - 1


def check_image(path: Path) -> None:
    """DataError if `load_image` cannot read it."""
    _decoded(path)


def _decoded(path: Path) -> Image.Image:
    """The whole file as upright RGB."""
    try:
        with os.fdopen(open_regular(path), "rb") as opened, Image.open(opened, formats=FORMATS) as file:
            if file.mode in DEEP_MODES:
                raise DataError(f"image {path} has mode {file.mode}: convert it to 8 bits per channel")
            image = _coloured(ImageOps.exif_transpose(file), path)
            if not image.has_transparency_data:
                return image.convert("RGB")
            image = image.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"image {path} is no PNG, JPEG or WebP file: convert it to one") from None
    # Pillow's decoders report damage with any of these, and a hostile size with its own class.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"image {path} cannot be read ({reason}): use an undamaged PNG, JPEG or WebP file") from error


def _coloured(image: Image.Image, path: Path) -> Image.Image:
    try:
        return as_srgb(image, path)
    except ValueError as error:
        raise DataError(f"image {path}: {error}") from error


def _cropped(image: Image.Image, height: int, width: int) -> Image.Image:
    """The largest centred part with the aspect width : height, in integer pixels."""
    full_width, full_height = image.size
    if full_width * height > width * full_height:
        crop_width, crop_height = max(1, full_height * width // height), full_height
    else:
        crop_width, crop_height = full_width, max(1, full_width * height // width)
    left, top = (full_width - crop_width) // 2, (full_height - crop_height) // 2
    return image.crop((left, top, left + crop_width, top + crop_height))

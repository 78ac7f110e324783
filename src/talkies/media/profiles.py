"""Applies the colour profiles (ICC) of pictures."""

from functools import lru_cache
from io import BytesIO
from typing import Any

from PIL import Image, ImageCms


def to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """A picture without alpha, RGB or CMYK, as sRGB. A grey profile needs equal red, green and blue.

    Raises ValueError for a profile that is damaged or made for another kind of picture.
    """
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if source.profile.xcolor_space.strip() == "GRAY":
            picture = _grey(picture)
        converted = ImageCms.applyTransform(picture, _transform(profile, picture.mode))
    except (ImageCms.PyCMSError, OSError) as error:
        raise ValueError(f"its colour profile cannot be used ({error})") from error
    assert converted is not None, "applyTransform returns None only when it works in place"
    return converted


def _grey(picture: Image.Image) -> Image.Image:
    first, *others = picture.split()
    if any(other.tobytes() != first.tobytes() for other in others):
        raise ValueError("its colour profile is one of grey pictures, and it has colours")
    return first


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> Any:
    source = ImageCms.ImageCmsProfile(BytesIO(profile))
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")

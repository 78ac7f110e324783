import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from talkies.config import DataError
from talkies.generate.image import load_image


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_an_image_of_the_right_size_is_only_rescaled(tmp_path: Path) -> None:
    pixels = noise(6, 10)
    image = load_image(save(tmp_path / "a.png", pixels), 6, 10)
    assert image.dtype == torch.float32
    assert torch.equal(image, torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1)
    assert float(image.abs().max()) <= 1
    assert load_image(save(tmp_path / "b.png", np.full((2, 2, 3), 255, np.uint8)), 2, 2).unique().tolist() == [1.0]
    assert load_image(save(tmp_path / "c.png", np.zeros((2, 2, 3), np.uint8)), 2, 2).unique().tolist() == [-1.0]


def striped(height: int, width: int, axis: int) -> np.ndarray:
    """A quarter red, half green, a quarter blue along `axis`."""
    size = (height, width)[axis]
    colours = np.repeat(np.eye(3, dtype=np.uint8) * 255, [size // 4, size // 2, size // 4], axis=0)
    lines = colours[None] if axis else colours[:, None]
    return np.ascontiguousarray(np.broadcast_to(lines, (height, width, 3)))


@pytest.mark.parametrize(("height", "width", "axis"), [(32, 64, 1), (64, 32, 0)])
def test_the_centre_is_kept(tmp_path: Path, height: int, width: int, axis: int) -> None:
    image = load_image(save(tmp_path / "a.png", striped(height, width, axis)), 8, 8)
    assert torch.equal(image, torch.tensor([-1.0, 1.0, -1.0]).view(3, 1, 1).expand(3, 8, 8))


def test_resizing_averages(tmp_path: Path) -> None:
    board = np.kron(np.indices((32, 32)).sum(0) % 2, np.ones((1, 1))).astype(np.uint8) * 255
    image = load_image(save(tmp_path / "a.png", np.stack([board] * 3, axis=-1)), 4, 4)
    assert float(image.abs().max()) < 0.05
    assert load_image(tmp_path / "a.png", 40, 60).shape == (3, 40, 60)


def test_grey_palette_and_transparent_files(tmp_path: Path) -> None:
    grey = load_image(save(tmp_path / "grey.png", noise(4, 4)[..., 0]), 4, 4)
    assert torch.equal(grey[0], grey[2])
    clear = np.zeros((4, 4, 4), np.uint8)
    clear[:2, :, 3] = 255
    laid = load_image(save(tmp_path / "clear.png", clear), 4, 4)
    assert bool((laid[:, :2] == -1).all())
    assert bool((laid[:, 2:] == 1).all())
    Image.fromarray(striped(8, 8, 1)).quantize(3).save(tmp_path / "palette.png")
    assert torch.equal(load_image(tmp_path / "palette.png", 8, 8)[:, 0, 0], torch.tensor([1.0, -1.0, -1.0]))


def test_a_rotated_photograph_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    path = save(tmp_path / "a.png", striped(8, 16, 1), exif=exif)
    image = load_image(path, 16, 8)
    assert image[:, 0, 0].tolist() == [1, -1, -1]
    assert image[:, -1, -1].tolist() == [-1, -1, 1]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations(tmp_path: Path, orientation: int, suffix: str) -> None:
    """What EXIF says of row 0 and column 0: 1 top left, 2 top right, ... 6 right top (turned by 90 degrees)."""
    quarters = np.array([[[250, 20, 20], [20, 250, 20]], [[20, 20, 250], [220, 220, 220]]], np.uint8)
    stored = quarters.repeat(16, 0).repeat(24, 1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    upright = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.swapaxes(0, 1),
        6: np.rot90(stored, -1),
        7: stored[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(stored),
    }[orientation]
    found = load_image(save(tmp_path / f"a.{suffix}", stored, exif=exif, **options), *upright.shape[:2])
    meant = torch.from_numpy(np.ascontiguousarray(upright)).permute(2, 0, 1) / 127.5 - 1
    assert (found - meant).abs().mean() < 0.03


@pytest.mark.parametrize("alpha", [False, True])
def test_a_colour_profile_is_applied(tmp_path: Path, alpha: bool) -> None:
    """Lab's profile fits no RGB picture; sRGB's changes nothing."""
    pixels = np.full((8, 8, 4 if alpha else 3), 200, np.uint8)
    pixels[..., 3:] = 255
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = load_image(save(tmp_path / "a.png", pixels, icc_profile=srgb), 8, 8)
    assert (image - (200 / 127.5 - 1)).abs().max() < 0.02
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    with pytest.raises(DataError, match="its colour profile cannot be used"):
        load_image(save(tmp_path / "b.png", pixels, icc_profile=lab), 8, 8)


def broken(path: Path, kind: str) -> Path:
    if kind == "text":
        path.write_text("no image")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "deep":
        save(path, np.arange(16, dtype=np.uint16).reshape(4, 4) * 4000)
    elif kind != "missing":
        whole = save(path, noise(64, 64)).read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if kind == "truncated" else whole[:60] + b"x" * 40 + whole[100:])
    return path


@pytest.mark.parametrize("kind", ["text", "empty", "deep", "missing", "truncated", "damaged"])
def test_a_file_that_is_no_image_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataError, match=r"^image .*bad\.png"):
        load_image(broken(tmp_path / "bad.png", kind), 4, 4)


def test_every_truncation_of_a_file_is_refused(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.jpg", noise(16, 16)).read_bytes()
    for length in range(0, len(whole) - 2, 7):
        (tmp_path / "cut.jpg").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut\.jpg"):
            load_image(tmp_path / "cut.jpg", 4, 4)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_damage_gives_an_image_or_a_message(tmp_path: Path, suffix: str) -> None:
    whole = save(tmp_path / f"a.{suffix}", noise(12, 12)).read_bytes()
    path = tmp_path / f"damaged.{suffix}"
    refused = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            assert load_image(path, 4, 4).shape == (3, 4, 4)
        except DataError:
            refused += 1
    assert refused > 8


def test_other_formats_are_not_decoded(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="PNG, JPEG or WebP"):
        load_image(save(tmp_path / "a.bmp", noise(4, 4)), 4, 4)


def test_a_folder_and_an_impossible_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        load_image(tmp_path, 4, 4)
    with pytest.raises(ValueError, match="at least 1"):
        load_image(save(tmp_path / "a.png", noise(4, 4)), 0, 4)


@pytest.mark.timeout(120)
def test_what_is_not_a_regular_file_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "circle.png").symlink_to("circle.png")
    (tmp_path / "folder.png").mkdir()
    said = {
        "pipe": "it is a named pipe, not a regular file",
        "zero": "it is a device, not a regular file",
        "circle": "Too many levels of symbolic links",
        "folder": "it is a folder",
        "nothing": "No such file or directory",
    }
    for name, why in said.items():
        with pytest.raises(DataError, match=rf"{name}\.png cannot be read \({why}\): use an undamaged PNG"):
            load_image(tmp_path / f"{name}.png", 4, 4)

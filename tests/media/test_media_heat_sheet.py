"""Heat over the pictures of a clip."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from talkies.media.heat_sheet import SIDE, STEPS, TITLE, heat_sheet


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_heat_lies_over_its_part_of_its_step(tmp_path: Path) -> None:
    frames = torch.zeros(5, 3, 32, 32)
    heat = torch.zeros(3, 2, 2)
    heat[1, 1, 0] = 4.0
    heat_sheet(tmp_path / "heat.png", frames, {"speech": heat, "effects": heat.flip(0)})
    page = pixels(tmp_path / "heat.png")
    assert page.shape == (3 * (SIDE + TITLE), 3 * SIDE, 3)
    row = page[SIDE + 2 * TITLE : 2 * (SIDE + TITLE)]
    yellow = row[..., 0] - row[..., 2] > 100
    assert yellow[SIDE // 2 :, SIDE : SIDE + SIDE // 2].all()
    assert yellow.sum() == (SIDE // 2) ** 2


def test_no_heat_leaves_grey_pictures_and_long_clips_a_choice(tmp_path: Path) -> None:
    frames = torch.rand(81, 3, 16, 24) * 2 - 1
    heat_sheet(tmp_path / "heat.png", frames, {"speech": torch.zeros(21, 2, 3)})
    page = pixels(tmp_path / "heat.png")
    assert page.shape[1] == STEPS * 24 * (SIDE // 16)
    row = page[SIDE + 2 * TITLE :]
    assert np.ptp(row, axis=-1).max() <= 1
    assert np.ptp(page[TITLE : TITLE + SIDE], axis=-1).max() > 50, "the frames above are in colour"

"""A contact sheet shows the frames and where the sound is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from talkies.media.contact_sheet import FRAMES, INK, LOUD, SIDE, WAVE, WIDTH, contact_sheet


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_frames_stand_over_the_waveform(tmp_path: Path) -> None:
    frames = torch.linspace(-1, 1, 25)[:, None, None, None].expand(25, 3, 32, 32)
    samples = torch.cat([torch.zeros(16000), 0.8 * torch.sin(torch.arange(16000) * 0.3)])
    contact_sheet(tmp_path / "a.png", frames, samples, 16000)
    sheet = picture(tmp_path / "a.png")
    assert sheet.shape == (SIDE + WAVE, FRAMES * SIDE, 3)
    levels = sheet[SIDE // 2, SIDE // 2 :: SIDE, 0].astype(int)
    assert levels[0] == 0
    assert levels[-1] == 255
    assert (np.diff(levels) > 0).all()
    wave = sheet[SIDE:]
    inked = (wave == INK).all(-1).sum(0)
    assert inked[: FRAMES * SIDE // 2 - 20].max() <= 2
    assert inked[FRAMES * SIDE // 2 + 20 :].min() > 40
    height = (wave == LOUD).all(-1).argmax(0)
    assert height[-100] < height[100]


def test_sound_or_pictures_may_be_missing(tmp_path: Path) -> None:
    contact_sheet(tmp_path / "a.png", None, torch.zeros(10), 16000)
    assert picture(tmp_path / "a.png").shape == (WAVE, WIDTH, 3)
    contact_sheet(tmp_path / "b.png", torch.zeros(3, 3, 64, 128), None, 1)
    assert picture(tmp_path / "b.png").shape == (64, 3 * 128, 3)
    with pytest.raises(ValueError, match="needs frames or sound"):
        contact_sheet(tmp_path / "c.png", None, None, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]

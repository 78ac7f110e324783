"""Curves over a number, as a picture."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from talkies.media.curves import BOTTOM, COLOURS, LEFT, RIGHT, SIZE, TOP, curves


def places(path: Path, colour: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels of a colour inside the margins."""
    pixels = np.asarray(Image.open(path).convert("RGB"))[TOP : SIZE[1] - BOTTOM + 1, LEFT : SIZE[0] - RIGHT + 1]
    rows, columns = np.nonzero((pixels == colour).all(-1))
    return rows, columns


def test_each_curve_has_its_own_colour_and_height(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    curves(path, [0, 0.5], {"falls": [1.0, 0.0], "level": [0.5, 0.5]}, across="share")
    rows, columns = places(path, COLOURS[0])
    tall = SIZE[1] - TOP - BOTTOM
    assert rows[columns.argmin()] == pytest.approx(0, abs=4)
    assert rows[columns.argmax()] == pytest.approx(tall, abs=4)
    rows, columns = places(path, COLOURS[1])
    assert np.median(rows) == pytest.approx(tall / 2, abs=3)
    assert np.ptp(columns) > 0.9 * (SIZE[0] - LEFT - RIGHT)


def test_values_below_0_are_inside(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    curves(path, [1, 2, 3], {"low": [-0.5, -0.5, -0.5]}, across="n")
    rows, _ = places(path, COLOURS[0])
    assert np.median(rows) == pytest.approx(SIZE[1] - TOP - BOTTOM, abs=3)

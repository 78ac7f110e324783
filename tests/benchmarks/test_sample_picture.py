"""The README's picture is made from the frames and the sound of a file."""

from pathlib import Path

import numpy as np
from PIL import ImageColor
from sample_picture import LOUDNESS, MOUTH, PAPER, WAVE, WAVEFORM, film, opened, picture

from talkies.media.write import write_mp4
from talkies.world.config import SyntheticSource
from talkies.world.render import draw_scene


def test_frames_stand_above_the_waveform_and_the_two_curves(tmp_path: Path) -> None:
    scene = draw_scene(SyntheticSource(clips=1, size=32, frames=25, fps=12.5), 0, 0)
    write_mp4(tmp_path / "clip.mp4", scene.media, tags={})
    row = film(opened(tmp_path / "clip.mp4")[0])
    page = picture(tmp_path / "clip.mp4")
    assert row.size == (12 * 96, 96)
    assert page.width == row.width
    assert (np.asarray(page)[: row.height] == np.asarray(row)).all()
    below = np.asarray(page)[row.height : row.height + WAVE].reshape(-1, 3)
    shown = {tuple(int(value) for value in colour) for colour in np.unique(below, axis=0)}
    assert {ImageColor.getrgb(colour) for colour in (PAPER, WAVEFORM, LOUDNESS, MOUTH)} <= shown

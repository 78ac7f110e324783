"""Clips to write, and the real clip in the folder beside the repository."""

from pathlib import Path

import pytest
import torch

from talkies.streams.codec import Media

REAL_CLIP = Path(__file__).parents[3] / "shared" / "clips" / "cat_yarn_352x624_24fps.mp4"


@pytest.fixture
def real_clip() -> Path:
    """24 fps, 352x624, 48 kHz, 8.04 s."""
    if not REAL_CLIP.is_file():
        pytest.skip(f"the real clip {REAL_CLIP} is not here")
    return REAL_CLIP


def moving_square(frames: int = 25, size: int = 32, fps: float = 12.0) -> Media:
    """A grey square that moves over a blue-grey ground, with a click at the start of every fifth frame."""
    pixels = torch.empty(frames, 3, size, size)
    pixels[:] = torch.tensor([-0.4, -0.2, 0.1])[None, :, None, None]
    rate = 16000
    samples = torch.zeros(int(rate * frames / fps))
    for i in range(frames):
        pixels[i, :, size // 4 : size // 2, i % (size // 2) : i % (size // 2) + size // 4] = 0.7
        if i % 5 == 0:
            samples[round(i * rate / fps)] = 0.9
    return Media(frames=pixels, fps=fps, samples=samples, sample_rate=rate)


@pytest.fixture
def square() -> Media:
    """25 frames of 32x32 at 12 fps with 16 kHz sound."""
    return moving_square()

"""Sounds whose values no recording has are refused where they are read, in one line."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from talkies.config import DataError
from talkies.generate.given import given_sound
from talkies.generate.given_tracks import read_tracks
from talkies.generate.voice import read_voice
from talkies.media.mux import check_carried

RATE = 16000
READERS: dict[str, Callable[[Path], object]] = {
    "carried": lambda path: given_sound(path, sample_rate=RATE, samples=2 * RATE),
    "resampled": lambda path: given_sound(path, sample_rate=24000, samples=48000, carried=False),
    "tracks": lambda path: read_tracks({"music": path}, ("music",), sample_rate=RATE, samples=2 * RATE, more=0.0),
    "voice": lambda path: read_voice(path, stream="reference", sample_rate=RATE, longest=2 * RATE),
}
VALUES = [
    (math.nan, "has values that are not finite"),
    (-math.inf, "has values that are not finite"),
    (1e30, "reaches 1e"),
    (-2000.0, "reaches 2e"),
]


def damaged(path: Path, value: float, *, at: float = 0.5, kind: str = "float32") -> Path:
    """A tone of 2 s, stereo, with one sample of another value, `at` seconds after its beginning."""
    samples = np.tile(0.3 * np.sin(np.arange(2 * RATE) * 0.3)[:, None], (1, 2))
    samples[round(at * RATE)] = value
    wavfile.write(path, RATE, samples.astype(kind))
    return path


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("value", "message"), VALUES)
def test_it_is_refused_with_the_files_name(tmp_path: Path, reader: str, value: float, message: str) -> None:
    path = damaged(tmp_path / "a.wav", value)
    with pytest.raises(DataError, match=rf"a.wav: its sound {message}"):
        READERS[reader](path)


@pytest.mark.parametrize("reader", READERS)
def test_what_no_narrower_number_holds_warns_of_nothing(tmp_path: Path, reader: str) -> None:
    with pytest.raises(DataError, match=r"a.wav: its sound"):
        READERS[reader](damaged(tmp_path / "a.wav", 1e300, kind="float64"))


def test_what_a_film_would_carry_is_looked_at_to_its_end(tmp_path: Path) -> None:
    path = damaged(tmp_path / "a.wav", math.nan, at=1.9)
    with pytest.raises(DataError, match=r"a.wav: its sound has values that are not finite"):
        check_carried(path, "audio")


def test_a_sound_above_full_scale_is_taken(tmp_path: Path) -> None:
    given = given_sound(damaged(tmp_path / "a.wav", 900.0), sample_rate=RATE, samples=2 * RATE)
    assert bool(torch.isfinite(given.values).all())

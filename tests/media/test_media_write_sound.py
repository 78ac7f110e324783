"""Sound alone as wav and flac: nothing is lost that fp32 had, and tags come back."""

from pathlib import Path

import pytest
import torch

from talkies.config import StorageError
from talkies.media.probe import probe
from talkies.media.sound import read_audio
from talkies.media.write import PROVENANCE, read_tags
from talkies.media.write_sound import LOSSLESS, SOUNDS, write_media
from talkies.streams.codec import Media

RATE = 22050
TAGS = {PROVENANCE: "synthetic; talkies x = y", "title": "Gr\u00fc\u00dfe, \u58f0", "talkies-note": "a=\u00fc"}


def sound(samples: torch.Tensor) -> Media:
    return Media(frames=None, fps=1.0, samples=samples, sample_rate=RATE)


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_samples_come_back_to_within_half_a_step_of_24_bits(tmp_path: Path, suffix: str) -> None:
    path, samples = tmp_path / f"a{suffix}", torch.rand(RATE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    samples[:4] = torch.tensor([1.0, -1.0, 3e-7, 0.0])
    write_media(path, sound(samples), tags={})
    found = read_audio(path, sample_rate=RATE, seconds=2)
    assert found.shape == samples.shape
    assert float((found - samples)[1:].abs().max()) <= 2**-24 + 1e-9
    assert float(found[0]) == pytest.approx(1 - 2**-23, abs=1e-9), "full scale has no step of its own"
    assert read_tags(path) == {}


@pytest.mark.parametrize("suffix", [*SOUNDS, ".mp4"])
def test_tags_come_back_from_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_media(path, sound(torch.zeros(RATE // 2)), tags=TAGS)
    assert read_tags(path) == {**TAGS, "comment": TAGS[PROVENANCE]}
    assert probe(path).audio_rate == RATE


def test_a_comment_of_somebody_else_is_left_as_it_is(tmp_path: Path) -> None:
    for comment in ("a line\nof=two", "talkies-x=1\nand more", "talkies-x"):
        write_media(tmp_path / "a.wav", sound(torch.zeros(99)), tags={"comment": comment})
        assert read_tags(tmp_path / "a.wav") == {"comment": comment}


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_sound_that_cannot_be_written_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    for samples in (torch.zeros(0), torch.tensor([0.0, torch.nan])):
        with pytest.raises(ValueError, match=r"samples of shape .* cannot be written"):
            write_media(path, sound(samples), tags={})
    with pytest.raises(StorageError, match="nowhere"):
        write_media(tmp_path / "nowhere" / path.name, sound(torch.zeros(9)), tags={})
    assert not list(tmp_path.iterdir())

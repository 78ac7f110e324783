"""Tracks of a sound that is demixed: a model that hears some of them must hear something."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from talkies.codecs.demix import BandDemixer
from talkies.codecs.demix_config import BandsConfig
from talkies.config import DataError
from talkies.generate.given import Given
from talkies.generate.given_tracks import GivenTracks, demixed
from talkies.media.write_sound import write_media
from talkies.streams.codec import Media

RATE = 16000
HEARD = ("effects", "music", "speech")
TOY = BandsConfig()


def tone(hertz: float, loud: float = 0.5) -> Tensor:
    """2 s in which a tone fades in and out."""
    time = torch.arange(2 * RATE) / RATE
    fade = torch.minimum(time - 0.5, 0.9 - time).mul(10).clamp(0, 1)
    return loud * fade * torch.sin(2 * torch.pi * hertz * time)


def parted(
    folder: Path, sound: Tensor, names: tuple[str, ...] = HEARD, bands: BandsConfig = TOY
) -> tuple[Given, GivenTracks]:
    path = folder / "mix.wav"
    write_media(path, Media(frames=None, fps=1.0, samples=sound, sample_rate=RATE), tags={})
    return demixed(path, BandDemixer(bands), names, sample_rate=RATE, samples=2 * RATE, more=0.0, device="cpu")


@pytest.mark.parametrize(("hertz", "track"), [(40.0, "music"), (1000.0, "speech"), (5000.0, "effects")])
@pytest.mark.parametrize("loud", [0.5, 0.005])
def test_a_sound_of_one_track_that_is_heard_is_taken(tmp_path: Path, hertz: float, track: str, loud: float) -> None:
    _, tracks = parted(tmp_path, tone(hertz, loud))
    assert max(tracks.tracks, key=lambda name: float(tracks.tracks[name].norm())) == track


def test_a_sound_of_tracks_that_are_not_heard_is_refused(tmp_path: Path) -> None:
    message = r"mix.wav: none of the tracks that the model hears sounds: speech, effects, music; give another file"
    with pytest.raises(DataError, match=message):
        parted(tmp_path, tone(3000.0))
    with pytest.raises(DataError, match=r"model hears sounds: speech; give another file"):
        parted(tmp_path, tone(40.0), ("speech",))


def test_a_short_effect_in_loud_music_is_heard(tmp_path: Path) -> None:
    parted(tmp_path, tone(40.0) + 0.05 * tone(5000.0), ("effects",))


def test_a_speaker_that_no_demixer_finds_is_silent(tmp_path: Path) -> None:
    """All of the speech is the first one's, and the sound stays whole."""
    bands, two = BandsConfig(bands={"speech": (90.0, 7000.0)}), ("speech", "speech2")
    _, tracks = parted(tmp_path, tone(1000.0) + tone(3000.0), two, bands)
    assert tracks.notes == (
        f"{tmp_path / 'mix.wav'}: demixed as the sound of one speaker, speech2 is silent: give --speech and --speech2 "
        "for several",
    )
    assert not bool(tracks.tracks["speech2"].any())
    assert tracks.tracks["speech2"].shape == tracks.tracks["speech"].shape
    assert torch.equal(tracks.mix, tracks.tracks["speech"].clamp(-1, 1))
    _, alone = parted(tmp_path, tone(1000.0) + tone(3000.0), ("speech",), bands)
    assert alone.notes == ()
    assert torch.equal(alone.mix, tracks.mix)
    with pytest.raises(DataError, match=r"none of the tracks that the model hears sounds: speech; give another file"):
        parted(tmp_path, tone(40.0), two, bands)


def test_silence_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mix.wav is silent: none of the tracks .* sounds: speech, effects, music;"):
        parted(tmp_path, torch.zeros(2 * RATE))

"""A demixer that parts no speakers, beside files of a second one, on an HT-Demucs with small random weights."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from torch import Tensor
from track_system import TrackSystem

sys.path.append(str(Path(__file__).parents[1] / "codecs"))
from small_demucs import demucs

from talkies.codecs.demix_config import DemucsConfig
from talkies.codecs.load import load_demixer
from talkies.config import DataError, RecipeError
from talkies.data.shards import ShardSet
from talkies.media.probe import probe
from talkies.media.timeline import Beginning
from talkies.media.write_sound import write_media
from talkies.prepare.config import PrepareConfig
from talkies.prepare.items import Item
from talkies.prepare.pipeline import Report, prepare
from talkies.prepare.plan import plan
from talkies.prepare.reading import Reader
from talkies.prepare.sounds import read_sound
from talkies.prepare.tracks import RawTrack, Window, read_tracks
from talkies.streams.codec import Media

RATE = 16000
NAMES = ("speech", "speech2", "effects", "music")
SYSTEM = TrackSystem(NAMES)
SPEAKERS: dict[str, Any] = {"kind": "demucs", "shifts": 0, "overlap": 0.1, "other_speakers": ["speech2"]}
KEYS: dict[str, Any] = {"source": "media", "split": "all", "modalities": ["audio"], "silence": -120}
ALONE = {"without": ["heard", "speech2"]}
Prepare = Callable[..., Report]


def tone(hertz: float, *, seconds: float = 1.5, rate: int = RATE) -> Tensor:
    """[S]: it swells, so that a shift shows."""
    time = torch.arange(round(rate * seconds)) / rate
    return 0.2 * (0.6 + 0.4 * (6 * torch.pi * time).sin()) * (2 * torch.pi * hertz * time).sin()


def wav(path: Path, samples: Tensor, rate: int = RATE) -> Path:
    path.parent.mkdir(exist_ok=True)
    write_media(path, Media(frames=None, fps=25, samples=samples, sample_rate=rate), tags={})
    return path


@pytest.fixture
def weights(tmp_path: Path) -> str:
    return str(demucs(tmp_path / "weights"))


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """A sound of two voices, a caption, and the file of the second one."""
    path = wav(tmp_path / "media" / "a.wav", tone(1200) + tone(300))
    path.with_suffix(".txt").write_text("two talk")
    wav(path.with_suffix(".speech2.wav"), tone(300))
    return path


def codecs(weights: str, **changes: Any) -> dict[str, Any]:
    waves = {name: {"kind": "waveform", "hop": 640} for name in ("sound", "mix")}
    text = {"kind": "bytes", "dim": 16, "length": 6}
    return {**waves, "text": text, "demix": {**SPEAKERS, "weights": weights, **changes}}


@pytest.fixture
def run(tmp_path: Path, weights: str, recipe: Callable[..., PrepareConfig]) -> Prepare:
    """Prepare the folder; keywords are those of the set."""

    def once(demix: Mapping[str, Any] = MappingProxyType({}), **keys: Any) -> Report:
        made = {**KEYS, "geometry": "1s", "without": ["heard"], **keys}
        found = recipe(codecs=codecs(weights, **demix), sets={"all": made}, fit_sets=[])
        return prepare(found, tmp_path / "root", systems=[SYSTEM], recipe_folder=tmp_path, progress=False)

    return once


def stored(tmp_path: Path) -> dict[str, Tensor]:
    """The streams of the clip, as a waveform codec stored them: [S]."""
    clip = ShardSet.open(tmp_path / "root" / "sets" / "all").read(0)
    return {name: one.values.mT.reshape(-1) for name, one in clip.streams.items()}


@pytest.mark.parametrize("rates", [(RATE, RATE), (44100, RATE), (22050, 48000)])
@pytest.mark.parametrize("seconds", [0.0, 0.04, 0.31371])
def test_tracks_add_up_to_what_was_demixed(
    tmp_path: Path, weights: str, recipe: Callable[..., PrepareConfig], rates: tuple[int, int], seconds: float
) -> None:
    """Wherever the window begins, and around it; without the files, the speech is the network's."""
    file, stem = rates
    path = wav(tmp_path / "a.wav", tone(1200, seconds=2, rate=file) + tone(300, seconds=2, rate=file), file)
    beside = {".speech2.wav": wav(tmp_path / "a.speech2.wav", tone(300, seconds=2, rate=stem), stem)}
    ear = {**codecs(weights), "sound": {"kind": "wav2vec2", "channels": 16}}
    config = DemucsConfig(weights=weights, shifts=0, overlap=0.1)
    reader = Reader(demixers={"codecs.demix": load_demixer(config, key="codecs.demix")})
    info, begin = probe(path), Beginning(seconds=seconds, picture=None, sound=0.0)

    def read(without: list[str], stems: dict[str, Path]) -> dict[str, RawTrack]:
        made = recipe(codecs=ear, sets={"all": {**KEYS, "geometry": "1s", "without": without}}, fit_sets=[])
        at = plan(made, [SYSTEM])["all"]
        sound, item = read_sound(path, at, reader, info, begin), Item(id="a", media=path, caption="x", stems=stems)
        return read_tracks(Window(item=item, plan=at, reader=reader, info=info, begin=begin), sound)

    both, found = read([], beside), read(["speech2"], {})
    assert (both.keys(), found.keys()) == ({*NAMES}, {*NAMES} - {"speech2"})
    for name in ("effects", "music"):
        assert torch.equal(both[name].samples, found[name].samples)
    voice = tone(300, seconds=2)[round(seconds * RATE) :][:RATE]
    heard = slice(800, -800)
    assert (both["speech2"].samples - voice)[heard].norm() < 0.05 * voice[heard].norm()
    torch.testing.assert_close(both["speech"].samples + both["speech2"].samples, found["speech"].samples)
    around = {name: track.around["sound"] for name, track in both.items()}
    assert len({one.first for one in around.values()}) == 1
    length = min(len(one.samples) for one in around.values())
    summed = (around["speech"].samples[:length] + around["speech2"].samples[:length])[: -RATE // 10]
    torch.testing.assert_close(summed, found["speech"].around["sound"].samples[: len(summed)])


@pytest.mark.parametrize("loudness", [{}, {"lufs": -30}])
def test_a_set_that_stores_a_second_speaker_has_the_rest_as_speech(
    run: Prepare, media: Path, tmp_path: Path, loudness: dict[str, float]
) -> None:
    report = run(**loudness)
    assert (report.ignored, report.sets["all"].kept) == ({}, 1)
    both = stored(tmp_path)
    header = ShardSet.open(tmp_path / "root" / "sets" / "all").header
    assert header.codec_configs["demix"]["other_speakers"] == ["speech2"]
    media.with_suffix(".speech2.wav").unlink()
    run(**ALONE, **loudness)
    alone = stored(tmp_path)
    gain = alone["audio"].norm() / (tone(1200) + tone(300))[:RATE].norm()
    assert bool(gain < 0.5) == bool(loudness)
    torch.testing.assert_close(both["speech2"], gain * tone(300)[:RATE], atol=1e-5, rtol=0)
    torch.testing.assert_close(both["speech"] + both["speech2"], alone["speech"], atol=1e-5, rtol=0)
    assert not torch.allclose(both["speech"], alone["speech"], atol=1e-2)


def test_a_missing_file_of_a_speaker_ends_the_preparation_by_its_name(run: Prepare, media: Path) -> None:
    media.with_suffix(".speech2.wav").unlink()
    with pytest.raises(DataError, match=r"a\.wav has no a\.speech2\.wav; .*leave these tracks out \(`sets\.NAME\.with"):
        run()
    assert run(**ALONE).sets["all"].kept == 1


def test_files_of_speakers_are_no_media_where_nothing_reads_them(run: Prepare, media: Path) -> None:
    first = run(**ALONE).sets["all"]
    wav(media.with_suffix(".speech2.wav"), tone(900))
    again = run(**ALONE).sets["all"]
    assert (first.kept, again.kept, again.reused) == (1, 1, True)
    before = run().sets["all"]
    wav(media.with_suffix(".speech2.wav"), tone(300))
    assert run().sets["all"].fingerprint != before.fingerprint


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (tone(300, seconds=1.7), r"lasts 1\.700 s, but its sound lasts 1\.500 s"),
        (torch.zeros(0), r"a\.speech2\.wav\)"),
    ],
)
def test_a_file_of_a_speaker_that_does_not_fit_is_quarantined(
    run: Prepare, media: Path, samples: Tensor, message: str
) -> None:
    path = media.with_suffix(".speech2.wav")
    if len(samples):
        wav(path, samples)
    else:
        path.write_bytes(b"nothing")
    with pytest.raises(DataError, match=rf"tracks: 1: a\.wav \(its speech2 track .*{message}"):
        run()


def test_a_second_demixer_judges_the_speech_of_all(run: Prepare, media: Path, weights: str) -> None:
    """The same networks agree, though one speaker's file is taken off what is stored."""
    other = {"kind": "demucs", "weights": weights, "shifts": 0, "overlap": 0.1}
    assert run(dual_demix={"by": other, "l1": 1e-9}).sets["all"].kept == 1


@pytest.mark.parametrize(
    ("demix", "message"),
    [
        ({"other_speakers": ["speech"]}, r"`codecs\.demix\.other_speakers` names 'speech', which the network finds"),
        (
            {"tracks": ["music", "effects", "voice"], "other_speakers": ["speech2", "speech"]},
            r"taken off the track speech, but `codecs\.demix\.tracks` is music, effects, voice",
        ),
        (
            {"other_speakers": []},
            r"keeps speech2, the track 'speech2', but `codecs\.demix` makes only music, effects, s",
        ),
    ],
)
def test_wrong_keys_are_said_before_any_work(
    run: Prepare, media: Path, tmp_path: Path, demix: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        run(demix)
    assert not (tmp_path / "root").exists()

"""Demixers: bands of a whole sound, files of tracks, and HT-Demucs with small random weights."""

import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_demucs import SOURCES, demucs, network
from torch import Tensor

from talkies.codecs.demix_config import BandsConfig, DemucsConfig, TracksConfig, check_demixer, files_of
from talkies.codecs.demucs import DemucsDemixer
from talkies.codecs.identity import config_values
from talkies.codecs.load import load_codecs, load_demixer
from talkies.config import DataError, RecipeError
from talkies.streams.codec import Demixer

KEY = "codecs.demix"
RATE = 16000


def tone(pitch: float, seconds: float = 2.0) -> Tensor:
    """[S]: it swells and fades, so that it lies in its band."""
    time = torch.arange(round(RATE * seconds), dtype=torch.float64) / RATE
    swell = (torch.pi * time / seconds).sin().square()
    return (0.3 * swell * (2 * torch.pi * pitch * time).sin()).float()


def bands(config: BandsConfig | None = None) -> Demixer:
    return load_demixer(config or BandsConfig(), key=KEY)


@pytest.mark.parametrize(("track", "pitch"), [("music", 50), ("speech", 440), ("speech2", 3000), ("effects", 6000)])
def test_a_tone_is_in_the_track_of_its_band(track: str, pitch: float) -> None:
    found = bands().demix(tone(pitch))
    assert tuple(found) == bands().tracks == ("music", "speech", "speech2", "effects")
    torch.testing.assert_close(found[track], tone(pitch), atol=2e-3, rtol=0)
    assert all(float(one.abs().max()) < 2e-3 for name, one in found.items() if name != track)


def test_bands_that_touch_at_their_edges_add_up_to_the_mix() -> None:
    config = BandsConfig(bands={"low": (0.0, 1000.0), "high": (1010.0, 8000.0)}, edge=10.0)
    noise = torch.randn(2 * RATE, generator=torch.Generator().manual_seed(0))
    found = bands(config).demix(noise)
    torch.testing.assert_close(found["low"] + found["high"], noise, atol=1e-5, rtol=0)


def test_bands_are_linear_phase_and_do_not_wrap() -> None:
    """A click stays where it is, with equal sides; at the end of a sound, nothing comes back at its beginning."""
    click = torch.zeros(RATE + 1)
    click[RATE // 2] = 1
    for one in bands().demix(click).values():
        torch.testing.assert_close(one, one.flip(0), atol=1e-6, rtol=0)
        assert int(one.abs().argmax()) == RATE // 2
    late = torch.zeros(RATE)
    late[-1] = 1
    assert all(float(one[: RATE // 8].abs().max()) < 1e-4 for one in bands().demix(late).values())


def test_every_length_keeps_its_length() -> None:
    for length in (1, 2, 999, 16001):
        assert {len(one) for one in bands().demix(torch.randn(length)).values()} == {length}


def test_files_of_tracks_demix_nothing() -> None:
    files = load_demixer(TracksConfig(label="b"), key=KEY)
    assert files.tracks == ("speech", "effects", "music")
    assert TracksConfig(label="b").suffix("speech") == ".b.speech.wav"
    with pytest.raises(DataError, match=r"`codecs\.demix\.kind` tracks only reads files of tracks"):
        files.demix(torch.zeros(9))


def test_identities_differ_with_what_changes_the_tracks(tmp_path: Path) -> None:
    one, two = demucs(tmp_path / "one"), demucs(tmp_path / "two", networks=2)
    moved = demucs(tmp_path / "moved")
    configs = [
        BandsConfig(), BandsConfig(edge=20.0), BandsConfig(sample_rate=32000), TracksConfig(), TracksConfig(label="b"),
        DemucsConfig(weights=str(one)), DemucsConfig(weights=str(two)), DemucsConfig(weights=str(one), shifts=2),
        DemucsConfig(weights=str(one), other_speakers=("speech2",)),
    ]  # fmt: skip
    found = [load_demixer(config, key=KEY).identity for config in configs]
    assert len({*found}) == len(found)
    assert load_demixer(DemucsConfig(weights=str(moved)), key=KEY).identity == found[5]
    values = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps({**values, "segment": 0.4}))
    assert load_demixer(DemucsConfig(weights=str(moved)), key=KEY).identity not in found


def test_a_recipes_demixers_are_codecs_like_others() -> None:
    codecs = load_codecs({"demix": BandsConfig(), "other": TracksConfig()}, None, names=("demix",))
    assert codecs.demix.keys() == codecs.identities.keys() == {"demix"}
    assert codecs.identities["demix"] == bands().identity


def test_demucs_names_its_tracks_in_the_networks_order(tmp_path: Path) -> None:
    """Without shifts and overlap, a sound of a segment is what the network makes of it, heard on both channels."""
    config = DemucsConfig(weights=str(demucs(tmp_path / "w")), shifts=0, overlap=0.0)
    demixer = load_demixer(config, key=KEY)
    sound = 0.1 * torch.randn(22050, generator=torch.Generator().manual_seed(1))
    found = demixer.demix(sound)
    with torch.no_grad():
        made = network()(sound.expand(1, 2, -1))[0].mean(1)
    assert (demixer.sample_rate, tuple(found)) == (44100, ("music", "effects", "speech"))
    for number, name in enumerate(found):
        torch.testing.assert_close(found[name], made[number], atol=1e-5, rtol=1e-4)


def test_other_speakers_are_tracks_that_no_network_finds(tmp_path: Path) -> None:
    """A demixer without any has the identity that it had before there were some."""
    plain, other = DemucsConfig(weights=str(demucs(tmp_path / "w"))), ("speech2",)
    assert config_values(plain).keys() == {"kind", "tracks", "shifts", "overlap"}
    config = replace(plain, other_speakers=other)
    demixer, sound = load_demixer(config, key=KEY), 0.1 * torch.randn(22050)
    assert config.all_tracks == ("music", "effects", "speech", *other)
    assert tuple(demixer.demix(sound)) == demixer.tracks == plain.all_tracks == plain.tracks
    assert files_of(config, config.all_tracks) == {"speech2": ".speech2.wav"}
    assert files_of(plain, config.all_tracks) == {}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"other_speakers": ("speech2", "speech2")},
            r"other_speakers` is speech2, speech2: name one or more tracks, each",
        ),
        ({"other_speakers": ("speech",)}, r"names 'speech', which the network finds \(`codecs\.demix\.tracks`\): drop"),
        (
            {"tracks": ("music", "effects", "voice"), "other_speakers": ("speech2",)},
            r"taken off the track speech, but `codecs\.demix\.tracks` is music, effects, voice: name it there",
        ),
    ],
)
def test_other_speakers_are_named_once_and_need_speech(keys: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        check_demixer(DemucsConfig(**keys), KEY)  # type: ignore[arg-type]


def test_demucs_takes_the_mean_of_its_networks(tmp_path: Path) -> None:
    both = demucs(tmp_path / "both", networks=2)
    alone = []
    for number in (0, 1):
        folder = demucs(tmp_path / str(number))
        save_file(load_file(both / f"{number}.safetensors"), folder / "0.safetensors")
        alone.append(folder)
    sound = 0.1 * torch.randn(30000, generator=torch.Generator().manual_seed(2))
    mean, *each = (load_demixer(DemucsConfig(weights=str(one)), key=KEY).demix(sound) for one in (both, *alone))
    assert not torch.allclose(each[0]["music"], each[1]["music"], atol=1e-5)
    for name, one in mean.items():
        torch.testing.assert_close(one, (each[0][name] + each[1][name]) / 2, atol=1e-6, rtol=1e-4)


def test_demucs_makes_the_same_of_the_same_sound(tmp_path: Path) -> None:
    """Its shifts do not depend on Python's generator, and leave it alone."""
    demixer = load_demixer(DemucsConfig(weights=str(demucs(tmp_path / "w"))), key=KEY)
    sound = 0.1 * torch.randn(40000, generator=torch.Generator().manual_seed(3))
    random.seed(5)
    state = random.getstate()
    first = demixer.demix(sound)
    assert random.getstate() == state
    random.seed(6)
    second = demixer.demix(sound)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert {len(one) for one in first.values()} == {40000}


def test_demucs_without_its_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "demucs_infer.htdemucs", None)
    with pytest.raises(RecipeError, match=r"`codecs\.demix\.kind` is demucs, .*pip install 'talkies\[demucs\]'"):
        DemucsDemixer.load(DemucsConfig(weights=str(demucs(tmp_path / "w"))))


def test_demucs_needs_weights_that_fit(tmp_path: Path) -> None:
    def load(**keys: object) -> None:
        load_demixer(DemucsConfig(**keys), key=KEY)  # type: ignore[arg-type]

    with pytest.raises(RecipeError, match=r"`codecs\.demix\.weights` is not set"):
        load()
    with pytest.raises(RecipeError, match=r"`codecs\.demix\.weights`: .*gone is not a folder"):
        load(weights=str(tmp_path / "gone"))
    folder = demucs(tmp_path / "w")
    with pytest.raises(RecipeError, match=r"names speech, music, but the network in .* makes 3: music, effect, dialog"):
        load(weights=str(folder), tracks=("speech", "music"))
    values = {"sources": SOURCES, **json.loads((folder / "config.json").read_text())}
    for changes, why in (
        ({"depht": 4}, r"describes no HT-Demucs"),
        ({"channels": 32}, r"has other shapes for"),
        ({"samplerate": 48000}, r"hears sound at 48000 Hz, needed one for 44100"),
    ):
        (folder / "config.json").write_text(json.dumps({**values, **changes}))
        with pytest.raises(DataError, match=why):
            load(weights=str(folder))
    (folder / "0.safetensors").rename(folder / "0.onnx")
    with pytest.raises(DataError, match=r"needed weights as \*\.safetensors, found none"):
        load(weights=str(folder))
    (folder / "97d170e1.th").write_bytes(b"x")
    with pytest.raises(DataError, match=r"found 97d170e1\.th, pickles .*`talkies import .* --as htdemucs --pickle"):
        load(weights=str(folder))

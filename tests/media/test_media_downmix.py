"""Channels are mixed to mono with the standard coefficients, or one is chosen."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from talkies.media.downmix import Channel, NoChannelError, mix_weights
from talkies.media.phase_cancellation import find_cancellation
from talkies.media.sound import ChannelError, read_audio

RATE = 16000


def write(path: Path, values: np.ndarray, layout: str, codec: str = "pcm_s16le", rate: int = RATE) -> Path:
    """A file with sound [C, S]."""
    packed = np.ascontiguousarray((values * 32767).astype(np.int16).T).reshape(1, -1)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        out.mux([*stream.encode(frame), *stream.encode(None)])
    return path


def tones(channels: int) -> np.ndarray:
    """[C, S]: a different tone in every channel."""
    time = np.arange(RATE) / RATE
    return np.stack([0.5 * np.sin(2 * np.pi * (300 + 100 * i) * time) for i in range(channels)])


@pytest.mark.parametrize(
    ("layout", "coefficients"),  # ITU-R BS.775-3, table 2: front 0.7071, centre 1, surround 0.5; no LFE
    [
        ("mono", [1]),
        ("stereo", [0.7071, 0.7071]),
        ("3.0", [0.7071, 0.7071, 1]),
        ("quad", [0.7071, 0.7071, 0.5, 0.5]),
        ("5.0", [0.7071, 0.7071, 1, 0.5, 0.5]),
        ("5.1", [0.7071, 0.7071, 1, 0, 0.5, 0.5]),
        ("5.1(side)", [0.7071, 0.7071, 1, 0, 0.5, 0.5]),
        ("7.1", [0.7071, 0.7071, 1, 0, 0.5, 0.5, 0.5, 0.5]),
    ],
)
def test_the_mix_has_the_standard_coefficients(layout: str, coefficients: list[float], tmp_path: Path) -> None:
    """Divided by their sum, so that no mix exceeds full scale."""
    wanted = np.array(coefficients) / sum(coefficients)
    np.testing.assert_allclose(mix_weights(layout), wanted, atol=1e-4)
    values = tones(len(coefficients))
    heard = read_audio(write(tmp_path / "a.wav", values, layout), sample_rate=RATE, seconds=1)
    np.testing.assert_allclose(heard.numpy(), wanted @ values, atol=1e-3)


def test_dialogue_of_a_film_is_five_decibels_above_the_mean_of_its_channels() -> None:
    assert 20 * np.log10(mix_weights("5.1")[2] * 6) == pytest.approx(4.9, abs=0.05)


def test_channels_without_names_have_the_default_layout() -> None:
    np.testing.assert_array_equal(mix_weights("6 channels"), mix_weights("5.1"))
    np.testing.assert_array_equal(mix_weights("2 channels"), [0.5, 0.5])


@pytest.mark.parametrize("codec", ["pcm_s16le", "flac"])
@pytest.mark.parametrize(("channel", "number"), [("left", 0), ("right", 1), (0, 0), (1, 1), (2, 2), (5, 5)])
def test_a_channel_can_be_chosen(channel: Channel, number: int, codec: str, tmp_path: Path) -> None:
    values = tones(6)
    path = write(tmp_path / "a.mkv", values, "5.1", codec)
    heard = read_audio(path, sample_rate=RATE, seconds=1, channel=channel)
    np.testing.assert_allclose(heard.numpy(), values[number], atol=1e-3)


@pytest.mark.parametrize(
    ("layout", "channel", "words"),
    [("mono", "left", "has no left channel"), ("stereo", 2, "has 2 channels .*the first is 0; `channel` is 2")],
)
def test_a_channel_that_is_not_there_is_named(layout: str, channel: Channel, words: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tones(len(mix_weights(layout))), layout)
    with pytest.raises(ChannelError, match=f"its sound {words}"):
        read_audio(path, sample_rate=RATE, seconds=1, channel=channel)


def test_a_layout_without_a_mix_asks_for_a_channel() -> None:
    with pytest.raises(NoChannelError, match="without a standard mix; choose one channel by `channel`"):
        mix_weights("ambisonic 1")


@pytest.mark.parametrize(("rest", "cancel"), [(0.0, True), (0.05, True), (0.5, False)])
def test_antiphase_channels_cancel(*, rest: float, cancel: bool, tmp_path: Path) -> None:
    left = tones(2)[0]
    path = write(tmp_path / "a.wav", np.stack([left, -left * (1 - rest)]), "stereo")
    found = find_cancellation(path, begin=0.0, seconds=1)
    assert (found is not None) == cancel
    if found is not None:
        assert (found.channel, found.level) == (0, pytest.approx(0.354, abs=0.01))


@pytest.mark.parametrize("codec", ["libopus", "aac"])
def test_antiphase_channels_cancel_whatever_a_codec_makes_of_hiss(codec: str, tmp_path: Path) -> None:
    """Codecs replace hiss by noise that differs between channels and does not cancel in the mix."""
    time = np.arange(48000) / 48000
    hiss = np.diff(np.random.default_rng(1).normal(size=48001))
    voice = 0.1 * np.sin(2 * np.pi * 313 * time) * np.sin(2 * np.pi * 4 * time) + 0.02 * hiss
    path = write(tmp_path / "a.mkv", np.stack([voice, -voice]), "stereo", codec, 48000)
    found = find_cancellation(path, begin=0.0, seconds=1)
    assert found is not None
    assert found.level == pytest.approx(0.057, rel=0.2)
    same = write(tmp_path / "b.mkv", np.stack([voice, voice]), "stereo", codec, 48000)
    assert find_cancellation(same, begin=0.0, seconds=1) is None


@pytest.mark.parametrize("sounding", range(6))
def test_one_channel_alone_does_not_cancel(sounding: int, tmp_path: Path) -> None:
    values = tones(6)
    values[[i for i in range(6) if i != sounding]] = 0
    assert find_cancellation(write(tmp_path / "a.wav", values, "5.1"), begin=0.0, seconds=1) is None

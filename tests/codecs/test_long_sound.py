"""Features of windows are slices of a sound's, in bounded memory."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import pytest
import torch
from small_speech import voice, written

from talkies.codecs.config import LogMelConfig, Wav2Vec2Config
from talkies.codecs.geometry import samples_of, steps_of
from talkies.codecs.load import load_codecs
from talkies.codecs.log_mel import LogMelEncoder
from talkies.codecs.long_sound import features, pieces, steps_needed
from talkies.codecs.speech_config import SpeechConfig
from talkies.streams.codec import AudioEncoder

CONFIG = Wav2Vec2Config(channels=32, piece=1, context=1)
"""Sound of more than 3 s is encoded in pieces of 25 steps that hear 25 steps on each side."""
HOP = CONFIG.hop


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> AudioEncoder:
    folder = written(tmp_path_factory.mktemp("wav2vec2"), "wav2vec2")
    return load_codecs({"sound": replace(CONFIG, weights=str(folder))}, None).audio["sound"]


@pytest.mark.parametrize("seconds", [2.0, 4.83])
@pytest.mark.parametrize("window", [range(10), range(20, 45), range(7, 50)])
def test_a_window_is_a_slice_of_the_file(encoder: AudioEncoder, seconds: float, window: range) -> None:
    sound = voice(seconds)
    whole = features(encoder, CONFIG, sound)
    assert whole.shape == (32, encoder.grid(len(sound)).shape[0])
    found = features(encoder, CONFIG, sound, window=window)
    assert torch.equal(found, whole[:, window.start : window.stop])
    needed = sound[: steps_needed(CONFIG, window) * HOP]  # what a reader must read
    assert torch.equal(features(encoder, CONFIG, needed, window=window), found)


@pytest.mark.parametrize("window", [range(10), range(23, 47), range(100, 115)])
def test_a_window_is_a_slice_where_a_step_is_no_whole_number_of_samples(tmp_path: Path, window: range) -> None:
    config = replace(CONFIG, rate=24, weights=str(written(tmp_path, "wav2vec2")))
    encoder, sound = load_codecs({"sound": config}, None).audio["sound"], voice(4.83)
    whole = features(encoder, config, sound)
    assert whole.shape == (32, 116)
    found = features(encoder, config, sound, window=window)
    assert torch.equal(found, whole[:, window.start : window.stop])
    needed = sound[: samples_of(config, steps_needed(config, window))]
    assert torch.equal(features(encoder, config, needed, window=window), found)
    torch.testing.assert_close(whole[:, :24], encoder.encode(sound[None, :32000])[0, :, :24])


@pytest.mark.parametrize("rate", [10, 24, 25, 50])
def test_samples_and_steps_agree(rate: Literal[10, 24, 25, 50]) -> None:
    """Also where a clip's samples were rounded down: 49 frames of 1 / 24 s are 32,666 samples."""
    config = SpeechConfig(rate=rate)
    for steps in (1, 2, 3, 49, 720, 721):
        filled = samples_of(config, steps)
        exact = Fraction(steps * 16000, rate)
        assert 0 <= filled - exact < 1
        assert steps_of(config, filled) == steps_of(config, int(exact)) == steps
        assert steps_of(config, filled + 1) == steps + 1


def test_a_window_depends_on_what_is_around_it(encoder: AudioEncoder) -> None:
    """And a short sound is encoded as one."""
    sound, window = voice(2.0), range(20, 30)
    found = features(encoder, CONFIG, sound, window=window)
    torch.testing.assert_close(features(encoder, CONFIG, sound), encoder.encode(sound[None])[0])
    alone = encoder.encode(sound[None, 20 * HOP : 30 * HOP])[0]
    assert (found - alone).abs().max() > 1e-2


def test_a_piece_hears_its_context_and_no_more(encoder: AudioEncoder) -> None:
    sound, first = voice(5.0), range(25)
    near, far = sound.clone(), sound.clone()
    near[40 * HOP : 45 * HOP] = 0.1
    far[50 * HOP :] = 0.1
    found = features(encoder, CONFIG, sound, window=first)
    assert torch.equal(features(encoder, CONFIG, far, window=first), found)
    assert (features(encoder, CONFIG, near, window=first) - found).abs().max() > 1e-3


def test_at_most_the_longest_sound_is_encoded_at_once() -> None:
    config = SpeechConfig()
    assert config.longest == 30
    assert [(p.begin, p.end, p.first, p.last) for p in pieces(config, 750)] == [(0, 750, 0, 750)]
    found = [*pieces(config, 1300)]
    assert [(p.begin, p.end) for p in found] == [(0, 500), (500, 1000), (1000, 1300)]
    assert [(p.first, p.last) for p in found] == [(0, 625), (375, 1125), (875, 1300)]
    assert steps_needed(config, range(100)) == 751
    assert steps_needed(config, range(700, 800)) == 1125


def test_silence_follows_a_sound_that_ends_before_its_window(encoder: AudioEncoder) -> None:
    sound = voice(0.8)
    found = features(encoder, CONFIG, sound, window=range(5, 22))
    padded = torch.nn.functional.pad(sound, (0, 2 * HOP))
    assert torch.equal(found, features(encoder, CONFIG, padded)[:, 5:])


def test_an_encoder_without_context_encodes_the_window_alone() -> None:
    config = LogMelConfig(channels=12)
    encoder, sound = LogMelEncoder(config), voice(1.0)
    found = features(encoder, config, sound, window=range(5, 9))
    assert torch.equal(found, encoder.encode(sound[None, 5 * 640 : 9 * 640])[0])
    torch.testing.assert_close(found, features(encoder, config, sound)[:, 5:9])

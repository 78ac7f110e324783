"""Log-mel features and the exact audio codec."""

import math

import pytest
import torch

from talkies.codecs.config import LogMelConfig, WaveformConfig
from talkies.codecs.load import load_codecs
from talkies.codecs.log_mel import FLOOR, LogMelEncoder
from talkies.codecs.waveform import WaveformCodec
from talkies.config import DataError, RecipeError

CONFIG = LogMelConfig(channels=32)


def tone(frequency: float, amplitude: float = 0.5, seconds: float = 0.4) -> torch.Tensor:
    return amplitude * torch.sin(2 * torch.pi * frequency * torch.arange(round(16000 * seconds)) / 16000)[None]


def test_features_have_the_loudness_and_the_pitch() -> None:
    encoder = LogMelEncoder(CONFIG)
    loud, soft, high = (encoder.encode(x) for x in (tone(300.0), tone(300.0, 0.05), tone(3000.0)))
    assert loud.shape == (1, *encoder.grid(6400).latent_shape) == (1, 32, 10)
    assert (loud >= soft).all()
    assert loud.mean(2).argmax() < high.mean(2).argmax()
    assert not encoder.encode(torch.zeros(1, 6400)).any()
    whole = (torch.expm1(loud) * FLOOR).square().sum(1).sqrt()
    torch.testing.assert_close(whole, torch.full_like(whole, 0.5), rtol=0.35, atol=0)
    assert float(loud.max()) <= math.log1p(0.51 / FLOOR)


def test_features_of_a_window_are_those_of_the_sound() -> None:
    encoder, sound = LogMelEncoder(CONFIG), tone(300.0) + tone(1111.0)
    torch.testing.assert_close(encoder.encode(sound[:, 640:3200]), encoder.encode(sound)[:, :, 1:5])
    torch.testing.assert_close(encoder.encode(sound[:, :700])[:, :, :1], encoder.encode(sound)[:, :, :1])


def test_the_configuration_is_the_identity() -> None:
    configs = [CONFIG, LogMelConfig(channels=33), LogMelConfig(channels=32, hop=320)]
    assert len({LogMelEncoder(config).identity for config in configs}) == 3
    assert LogMelEncoder(CONFIG).identity == LogMelEncoder(LogMelConfig(channels=32)).identity


def test_what_cannot_be_encoded_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"`codecs\.sound\.channels` is 80: some mel bands of a step of 64 "):
        load_codecs({"sound": LogMelConfig(hop=64)}, None)
    with pytest.raises(DataError, match=r"639 audio samples: at least 640 \(a step of log_mel, 40 ms\) are needed"):
        LogMelEncoder(CONFIG).encode(torch.zeros(1, 639))


def test_a_waveform_comes_back_bit_for_bit() -> None:
    codec = load_codecs({"audio": WaveformConfig(hop=64)}, None).sound("audio")
    sound = torch.rand(2, 1000, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latent = codec.encode(sound)
    assert latent.shape == (2, *codec.grid(1000).latent_shape) == (2, 64, 16)
    assert torch.equal(codec.decode(latent)[:, :1000], sound)
    assert not codec.decode(latent)[:, 1000:].any()
    assert torch.equal(codec.encode(sound[:, 128:256]), latent[:, :, 2:4])
    assert codec.identity != WaveformCodec(WaveformConfig(hop=32)).identity
